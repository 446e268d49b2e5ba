"""From many threads into the event loop: what comes while the loop is busy goes in by one call.

A batch gives each of its streams a piece at the same moment. A call into the loop for each takes a lock, a write to the
loop's own socket that wakes it, and a turn of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from steersman.server import logs

_Call = tuple[Callable[..., object], tuple[Any, ...]]
_ways: WeakKeyDictionary[asyncio.AbstractEventLoop, IntoLoop] = WeakKeyDictionary()


class IntoLoop:
    """The calls that wait for one loop, in the order in which they came."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._lock = threading.Lock()

    def call(self, loop: asyncio.AbstractEventLoop, act: Callable[..., object], *given: Any) -> None:
        """`act(*given)` in the loop, soon. RuntimeError where the loop is closed."""
        with self._lock:
            self._calls.append((act, given))
            if len(self._calls) > 1:  # they go in with the first, which is on its way
                return
        try:
            loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            with self._lock:
                self._calls.clear()
            raise

    def _run(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for act, given in calls:
            try:
                act(*given)
            except Exception as error:  # the others' must not be lost with it
                logs.failed("a call into the event loop failed", error)


def into(loop: asyncio.AbstractEventLoop) -> IntoLoop:
    """The one way into this loop. From the loop itself."""
    return _ways.setdefault(loop, IntoLoop())
