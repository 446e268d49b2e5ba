"""Ctrl-C, SIGTERM and SIGHUP: a run stops where its work can be kept, and says where that was.

The first signal raises `Stop` in the main thread: at once, or inside `deferred` where the code next calls `check`.
The second one ends the process on the spot. Without `install` nothing is done here, and Ctrl-C is Python's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform != "win32":  # Windows has no hang-up of terminals
    SIGNALS += (signal.SIGHUP,)

_received = 0
_deferred = _held = False


class Stop(KeyboardInterrupt):
    """A signal to stop. Callers that know what was stopped and kept add to `where`."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.where: list[str] = []

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


def _on_signal(signum: int, _frame: FrameType | None) -> None:
    global _received
    if _received:
        os._exit(128 + signum)
    _received = signum
    if not _deferred:
        raise Stop(signum)


def install(handler: Callable[[int, FrameType | None], None] | signal.Handlers = _on_signal) -> None:
    """Handle the signals, except for ignored ones (as by nohup)."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def requested() -> int:
    """The signal that came, or 0; 0 inside `held`."""
    return 0 if _held else _received


def check() -> None:
    """Raises Stop if a signal has come."""
    if requested():
        raise Stop(_received)


@contextlib.contextmanager
def deferred(wanted: bool = True) -> Iterator[None]:
    """Inside, a signal waits for `check` or the end; with `wanted` False, nested, it raises at once again."""
    global _deferred
    before, _deferred = _deferred, wanted
    try:
        if not wanted:
            check()
        yield
    finally:
        _deferred = before
    if not before:
        check()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Inside (and inside `deferred`) not even `check` raises: the block must run as a whole."""
    global _held
    before, _held = _held, True
    try:
        yield
    finally:
        _held = before
