"""Progress of long work, on stderr: a bar on a terminal, plain lines elsewhere.

    with progress("sft", 41) as bar:     # steps of known number; a line as each begins and ends
        bar.update(4, loss=2.31)
    with activity("loading the model"):  # what takes a while; shown only while it does

stdout is left to results, so that `steersman VERB --json | jq` works while this talks to the person. Inside
`heartbeat`, a thread sees to it that something is said every three seconds, whatever the work itself does. Before the
first unit is done, the time to go is what the same activity took the last time on this machine (`waits`).

Why so: decision 3 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from steersman import stopping, terminal, waits

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.text import Text

Metric = float | int | str
T = TypeVar("T")

EVERY_SECONDS = 2.5
"""Seconds between plain lines; with what a busy machine adds, something comes every three."""
FIRST_SECONDS = 0.6
"""A command that has said nothing after this says that it works."""
IMPORTS = "loading libraries"
"""Said while modules are being imported; a command that computes imports thousands, which takes seconds."""
MANY = 100
"""Modules imported within `EVERY_SECONDS` that make it so."""
MODULES = 3000
"""Modules of a command that trains, where it was not run on this machine yet."""

# A context: how the command that runs was asked to speak, which nothing that computes should have to hand on.
plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
"""True asks for plain lines even on a terminal (the command line sets it with --json)."""

_stack: list[Progress] = []
"""The running activities, the innermost last. The heartbeat's thread reads it too."""
_said_at = time.monotonic()


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
    """The object that `progress(...)` yields. `update` is cheap enough to call on every step."""

    def __init__(self, title: str, total: int | None, start: int, unit: str, bar: RichProgress | None) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.metrics = start, ""
        self.about = 0.0
        """Seconds that all of it may take, where this machine has not done it yet."""
        self.probe: Callable[[], int] | None = None
        """Asked for `done` between two updates, by another thread."""
        self._start, self._began = start, time.monotonic()
        self._done_at = self._began
        self._bar = bar
        self._task = bar.add_task(title, total=total, completed=start, shown=self) if bar else None

    def update(self, done: int, **metrics: Metric) -> None:
        """`done` of `total` units are finished; the metrics shown are those of the last call that gave any."""
        if done != self.done:
            self.done, self._done_at = done, time.monotonic()
        if metrics:
            self.metrics = metric_text(metrics)
        self.show()

    def counted(self, items: Iterable[T]) -> Iterator[T]:
        """The items; each is a unit that is finished when the next is asked for."""
        for done, item in enumerate(items, self.done + 1):
            yield item
            self.update(done)

    def show(self) -> None:
        """Move the bar; without one, a line where the last was long enough ago."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - _said_at >= EVERY_SECONDS:
            self.line()

    def line(self) -> None:
        """Print the activity and its progress as a line; of an enclosing one, its progress and time to go before."""
        counted = self.total is not None or self.done != self._start
        outer = next((p for p in _stack if p is not self and p.total is not None), None)
        within = (
            (outer.title, f"{outer.unit} {outer.count()}", f"ETA {outer.eta()}" * bool(outer.eta())) if outer else ()
        )
        _line(*within, self.title, f"{self.unit} {self.count()}" if counted else "", self.metrics, self.clock())

    def eta(self) -> str:
        """Time to go at the pace so far, before at that of the last time; '' while unknown.

        Of answers that are sampled together (`probe`) few are done at first: until a quarter is, the last time counts
        for what is missing of that. Units that come one by one count in part while they are computed: else the time to
        go would grow from each to the next. Work done before a resume does not count as pace.
        """
        here, gone = self.done - self._start, time.monotonic() - self._began
        units = 1 if self.total is None else max(1, self.total - self._start)
        before = waits.last(self.title) * units or self.about
        if self.total is not None and here > 0:
            lent = max(0.0, units / 4 - here) if before and self.probe is not None else 0.0
            part = 0.0 if self.probe is not None else self._part_of_one(here)
            pace = (gone + before * lent / units) / (here + lent + part)
            return duration(pace * max(0.0, self.total - self.done - part))
        return duration(before - gone) if before > gone else ""

    def _part_of_one(self, here: int) -> float:
        """How much of the unit that is being computed is done, by the pace of the `here` before; never all of it."""
        each = (self._done_at - self._began) / here
        return min(0.9, (time.monotonic() - self._done_at) / each) if each > 0 else 0.0

    def clock(self) -> str:
        """The time to go, or while that is unknown the time that has gone."""
        return f"ETA {self.eta()}" if self.eta() else f"for {duration(time.monotonic() - self._began)}"

    def count(self) -> str:
        return f"{self.done}/{self.total}" if self.total is not None else str(self.done)

    def place(self) -> str:
        """'step 4 of 41'."""
        return f"{self.unit} {self.done}" + (f" of {self.total}" if self.total is not None else "")

    def close(self, finished: bool) -> None:
        """The last line, where there is no bar to be seen."""
        if self._bar is None:
            word = "done" if finished else "stopped at"
            far = word if self.total == 0 else f"{word} {self.count()}"
            _line(self.title, far, self.metrics, f"in {duration(time.monotonic() - self._began)}")

    def note(self, text: str) -> None:
        """A line of its own, above the bar."""
        note(text)

    def remember(self) -> None:
        """Keep the pace for the next time, where all was done."""
        here = self.done - self._start
        if self.total is None or here > 0:
            waits.took(self.title, time.monotonic() - self._began, 1 if self.total is None else here)

    def leave(self) -> None:
        if self._bar is not None and self._task is not None and len(_stack) > 1:
            self._bar.remove_task(self._task)


def _print(text: str) -> None:
    global _said_at
    _said_at = time.monotonic()
    print(text, file=sys.stderr, flush=True)


def _line(*parts: str) -> None:
    _print("  ".join(part for part in parts if part))


@contextlib.contextmanager
def progress(title: str, total: int | None, start: int = 0, unit: str = "step") -> Iterator[Progress]:
    """Show work of `total` units (None: unknown), `start` of which were done before this run."""
    with _shown(title, total, start, unit) as shown:
        if start:
            note(f"{title}: going on at {shown.place()}")
        try:
            yield shown
        except BaseException as error:
            shown.close(finished=False)
            if isinstance(error, stopping.Stop):
                error.where.append(f"{title} stopped at {shown.place()}")
            raise
        shown.close(finished=True)


@contextlib.contextmanager
def activity(title: str, total: int | None = None, unit: str = "", about: float = 0.0) -> Iterator[Progress]:
    """Show an activity that takes a while and may have no countable progress; on a terminal its bar goes with it.

    `about`: seconds that it may take, shown until this machine has done it once.
    """
    with _shown(title, total, 0, unit, passing=True) as shown:
        shown.about = about
        yield shown


@contextlib.contextmanager
def _shown(title: str, total: int | None, start: int, unit: str, passing: bool = False) -> Iterator[Progress]:
    outer = next((p._bar for p in reversed(_stack) if p._bar is not None), None)
    bar = None if outer or plain.get() or not sys.stderr.isatty() else _bar(passing)
    with bar or contextlib.nullcontext():
        shown = Progress(title, total, start, unit, bar or outer)
        _stack.append(shown)
        try:
            yield shown
            shown.remember()
        finally:
            shown.leave()
            _stack.remove(shown)


@contextlib.contextmanager
def heartbeat(title: str) -> Iterator[None]:
    """Say that `title` is at work soon after the start, and then every three seconds the running activity.

    A separate thread prints, so that no computation can delay it.
    """
    global _said_at
    ended = threading.Event()
    _said_at = time.monotonic() - EVERY_SECONDS + FIRST_SECONDS
    base, counted = Progress(title, None, 0, "", None), f"{title}: modules"
    libraries = Progress(IMPORTS, int(waits.last(counted)) or MODULES, len(sys.modules), "module", None)

    def beat() -> None:
        seen: deque[int] = deque([libraries.done], maxlen=round(EVERY_SECONDS / 0.1))
        while not ended.wait(0.1):
            with contextlib.suppress(Exception):  # the activity may end meanwhile
                now = _stack[-1]
                seen.append(len(sys.modules))
                if now is base and seen[-1] - seen[0] >= MANY:
                    now = libraries
                    now.done = seen[-1]
                    if now.total is not None and now.done > now.total:
                        now.total = None  # more than the last time
                if now.probe is not None:
                    now.done = max(now.done, now.probe())
                now.show()

    _stack.append(base)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if base in _stack:
            _stack.remove(base)
        waits.count(counted, len(sys.modules))
        waits.keep()


def quiet() -> None:
    """Silence `heartbeat` from now on, since the user talks with the command."""
    _stack.clear()


def note(text: str) -> None:
    """A remark on stderr, above the bar where one is shown."""
    bar = next((p._bar for p in reversed(_stack) if p._bar is not None), None)
    text = terminal.safe(text)
    if bar is not None:
        bar.console.print(text, markup=False, highlight=False, emoji=False)
    else:
        _print(text)


def picture(text: Text) -> None:
    """Coloured text on stderr where that is a terminal, nothing elsewhere."""
    if not plain.get() and sys.stderr.isatty():
        from rich.console import Console

        Console(stderr=True).print(text)


def _bar(passing: bool) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.progress import Progress as Rich
    from rich.text import Text

    class Column(ProgressColumn):
        """A column with our own text: rich shows an unknown remaining time as -:--:--."""

        def render(self, task: Task) -> Text:
            shown: Progress = task.fields["shown"]
            counted = shown.total is not None or shown.done
            return Text("  ".join(p for p in (shown.count() if counted else "", shown.metrics, shown.clock()) if p))

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), Column())
    return Rich(*columns, console=Console(stderr=True), transient=passing)
