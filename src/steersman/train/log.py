"""metrics.jsonl of a stage, and the same numbers for its trackers.

metrics.jsonl holds only what is determined by the stage's inputs, so that a resumed run writes the same file; times
go to the trackers alone, whose files are in hidden folders that are no part of the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, naming
from steersman.artifact.names import METRICS
from steersman.config import ProjectConfig
from steersman.distributed import parallel
from steersman.terminal import finite
from steersman.train.trackers import open_trackers


@dataclass(frozen=True)
class Observers:
    """Receivers of a stage's numbers besides its metrics.jsonl."""

    project: ProjectConfig = field(default_factory=ProjectConfig)
    """The project whose `trackers` receive the numbers, under its `name`."""
    watch: Callable[[Path, Mapping[str, Any]], None] | None = None
    """Called with the stage's working folder and each line that was written; what it raises ends the stage."""


NOBODY = Observers()
# A context and no parameter of each stage's run(): observers change no number, are no input that a manifest records,
# and stay in the process that set them when a stage is computed by several.
observers: ContextVar[Observers] = ContextVar("observers", default=NOBODY)
"""The observers of stages that begin in this context."""


class MetricsLog:
    """Appends one JSON object per step; on resume, lines from `start` on are dropped first.

    Where there are several processes, only the first writes.
    """

    def __init__(self, folder: Path, key: str, start: int) -> None:
        self.path, self.key = folder / METRICS, key
        self._writes = parallel.is_first()
        if not self._writes:
            parallel.wait()
            return
        kept = [line for line in self._lines() if _place(line, key, self.path) < start] if start else []
        with atomic_write(self.path) as file:
            file.writelines(f"{line}\n" for line in kept)
        observing = observers.get()
        self._watch = observing.watch
        self._trackers = open_trackers(observing.project, folder, start, resumed=bool(kept))
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        parallel.wait()  # lines are dropped before another process reads the file

    def _lines(self) -> list[str]:
        """The file's whole lines; a last line that a kill cut short is dropped."""
        if not self.path.is_file():
            return []
        return [line.decode() for line in self.path.read_bytes().split(b"\n")[:-1] if line.endswith(b"}")]

    def write(self, step: int, metrics: dict[str, Any], timing: dict[str, float] | None = None) -> dict[str, Any]:
        """Append a line; returns it as `read_metrics` will."""
        row = {self.key: step, **_rounded(metrics)}
        if not self._writes:
            return row
        with naming(self.path):
            self._file.write(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
        numbers = {k: v for k, v in {**metrics, **(timing or {})}.items() if isinstance(v, int | float)}
        for tracker in self._trackers:
            tracker.log(numbers, step)
        if self._watch is not None:
            self._watch(self.path.parent, metrics)
        return row

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._writes:
            return
        self._file.close()
        for tracker in self._trackers:
            tracker.finish()


def _place(line: str, key: str, path: Path) -> float:
    """The step or iteration of a line."""
    try:
        return float(json.loads(line)[key])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"{path}: expected lines with a number '{key}', got {line[:80]!r}; move its folder away to start over"
        ) from None


def _rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in metrics.items()}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a stage's metrics.jsonl, or [] where there are none. ValueError names a line that is no object."""
    path, rows = folder / METRICS, []
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.is_file() else [], 1):
        try:
            row = json.loads(line) if line.strip() else {}
            assert isinstance(row, dict)
        except (ValueError, AssertionError, RecursionError):
            raise ValueError(f"{path}:{number}: expected a JSON object of metrics, got {line[:80]!r}") from None
        rows += [row] if row else []
    return rows
