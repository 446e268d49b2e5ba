"""Progress of long work, on stderr: a bar with ETA on a terminal, a plain line every ten seconds elsewhere.

stdout is left to results, so that `steersman VERB --json | jq` works while this talks to the person.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Metric = float | int | str

EVERY_SECONDS = 10.0
"""Seconds between plain lines."""

plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
"""True asks for plain lines even on a terminal (the command line sets it with --json)."""


_current: contextvars.ContextVar[Progress | None] = contextvars.ContextVar("_current", default=None)


def duration(seconds: float) -> str:
    """1h05m, 1m20s or 12s."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def metric_text(metrics: dict[str, Metric]) -> str:
    """'loss 2.31  lr 5e-05': names and values, floats to four digits."""
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()
    )
    return "  ".join(parts)


class Progress:
    """What `progress(...)` yields. `update` is cheap enough to call on every step."""

    def __init__(self, title: str, total: int | None, start: int, unit: str, bar: RichProgress | None) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.metrics = start, ""
        self._start, self._began, self._last = start, time.monotonic(), time.monotonic()
        self._bar = bar
        self._task = bar.add_task(title, total=total, completed=start, metrics="") if bar else None

    def update(self, done: int, **metrics: Metric) -> None:
        """`done` of `total` units are finished; the metrics shown are those of the last call that gave any."""
        self.done = done
        if metrics:
            self.metrics = metric_text(metrics)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, metrics=self.metrics)
        elif time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            self._line(f"{self.unit} {self._count()}", f"ETA {self.eta()}" if self.eta() else "")

    def note(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def eta(self) -> str:
        """Time to go at the pace so far; '' while unknown. Work done before a resume does not count as pace."""
        here = self.done - self._start
        if self.total is None or here <= 0:
            return ""
        return duration((time.monotonic() - self._began) / here * max(0, self.total - self.done))

    def close(self, finished: bool) -> None:
        if self._bar is None:
            word = "done" if finished else "stopped at"
            self._line(f"{word} {self._count()}", f"in {duration(time.monotonic() - self._began)}")

    def _count(self) -> str:
        return f"{self.done}/{self.total}" if self.total is not None else str(self.done)

    def _line(self, head: str, tail: str) -> None:
        print("  ".join(part for part in (self.title, head, self.metrics, tail) if part), file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(title: str, total: int | None, start: int = 0, unit: str = "step") -> Iterator[Progress]:
    """Show work of `total` units (None: unknown), `start` of which were done before this run.

    with progress("sft", 120) as p:
        p.update(40, loss=2.31)   # sft  step 40/120  loss 2.31  ETA 1m20s
    """
    bar = None if plain.get() or not sys.stderr.isatty() else _bar()
    with bar or contextlib.nullcontext():
        shown = Progress(title, total, start, unit, bar)
        token = _current.set(shown)
        try:
            yield shown
        except BaseException:
            shown.close(finished=False)
            raise
        finally:
            _current.reset(token)
        shown.close(finished=True)


def note(text: str) -> None:
    """A remark on stderr, above the bar where one is shown."""
    shown = _current.get()
    if shown is not None:
        shown.note(text)
    else:
        print(text, file=sys.stderr, flush=True)


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[metrics]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    return Rich(*columns, console=Console(stderr=True))
