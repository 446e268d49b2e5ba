"""A stage's working folder and its resume points: what it needs to go on after a kill and end with the same bits.

A stage works in `OUTPUT.partial/`; a finished one replaces OUTPUT. A resume point is one safetensors file of tensors
with the JSON state in its metadata; it replaces the one before atomically. All randomness of a stage comes from
(seed, step), so no random states are kept. A point made under another configuration or from other inputs is not used.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steersman import progress
from steersman.config import NO_MATTER
from steersman.models import parallel, sharded_point
from steersman.workspace import finish, fsync_dir, hash_json, write_manifest

POINT = ".resume.safetensors"
FINGERPRINT = ".fingerprint"


def partial_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


class StageFolder:
    """The working folder of one stage run, and its resume point."""

    def __init__(
        self, output: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], save_seconds: float = 90.0
    ) -> None:
        self.output, self.stage, self.config, self.inputs = output, stage, dict(config), dict(inputs)
        self.path = partial_of(output)
        self.save_seconds = save_seconds
        self._saved_at = time.monotonic()
        # what a stage saves when, and how long it trains, must not make its result another one
        if parallel.is_first():
            self._open(hash_json([stage, {k: v for k, v in self.config.items() if k not in NO_MATTER}, self.inputs]))
        parallel.wait()

    def _open(self, mark: str) -> None:
        """Go on in the folder that carries this mark, or start an empty one."""
        if self.path.is_dir():
            seen = self.path / FINGERPRINT
            if not seen.is_file() or seen.read_text() != mark:
                progress.note(f"{self.path}: unfinished work of another configuration or other inputs; starting over")
                shutil.rmtree(self.path)
        if not self.path.is_dir():
            self.path.mkdir(parents=True)
            (self.path / FINGERPRINT).write_text(mark)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, state) of the last resume point, or None."""
        points = [p for p in (self.path / POINT, self.path / sharded_point.NAME) if p.is_file()]
        if not points:
            return None
        point = max(points, key=lambda p: p.stat().st_mtime_ns)  # two: a kill came before the older was removed
        if point.name == sharded_point.NAME:
            return sharded_point.load(self.path)
        try:
            with safe_open(point, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(metadata["state"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{point}: damaged resume point ({error}); remove {self.path} to start over") from None

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the resume point. Several processes call it together and write a sharded one."""
        temporary = self.path / f"{POINT}.tmp"
        try:
            if parallel.size() > 1:
                sharded_point.save(self.path, tensors, state)
                (self.path / POINT).unlink(missing_ok=True)
                self._saved_at = time.monotonic()
                return
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"state": json.dumps(state)})
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self.path / POINT)
        except (SafetensorError, OSError) as error:
            temporary.unlink(missing_ok=True)
            raise _disk_error(error, temporary) from None
        fsync_dir(self.path)
        sharded_point.remove(self.path)
        self._saved_at = time.monotonic()

    @property
    def save_is_due(self) -> bool:
        due = time.monotonic() - self._saved_at >= self.save_seconds
        return bool(*parallel.add(due and parallel.is_first()))  # the first process's clock counts

    def finish(self, metrics: Mapping[str, Any], notes: tuple[str, ...] = ()) -> None:
        """Hash the files, write the manifest, give the folder its name; the resume point goes last."""
        if parallel.is_first():
            self._close(metrics, notes)
        parallel.wait()

    def _close(self, metrics: Mapping[str, Any], notes: tuple[str, ...]) -> None:
        write_manifest(self.path, self.stage, self.config, self.inputs, metrics, notes)
        finish(self.path, self.output)
        for name in (POINT, f"{POINT}.tmp", FINGERPRINT):
            (self.output / name).unlink(missing_ok=True)
        sharded_point.remove(self.output)


def _disk_error(error: Exception, where: Path) -> Exception:
    """safetensors hides the errno of a full disk in its text."""
    if isinstance(error, OSError) and error.errno:
        return error
    if "No space left" in str(error) or "os error 28" in str(error):
        return OSError(28, "No space left on device", str(where))
    return error
