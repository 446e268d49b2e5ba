"""Starting the engine's process, and starting it again when it dies."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from steersman.engine.apart.client import ApartEngine, Link
from steersman.engine.apart.shelf import Shelf
from steersman.engine.apart.wire import Wanted
from steersman.engine.protocol import Engine

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a process that died is started again: twice as many each time, until it has lived for long."""
LONG = 60.0
"""Seconds that a process must live for its next death to count as the first."""
END_SECONDS = 10.0
"""Seconds that a process has to end before it is killed."""


class Kept:
    """A process that is started again when it dies, after pauses that grow. `start` gives one that runs.

    Its standard input stays open as long as this process lives, so that it can end when this one does.
    """

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[Any]]) -> None:
        self.name, self._start = name, start
        self._over = threading.Event()
        self.process = start()
        self._thread = threading.Thread(target=self._keep, name=f"keep {name}", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = self.process.wait()
            if self._over.is_set():
                return
            pause = FIRST_PAUSE if time.monotonic() - began > LONG else pause
            log.error("%s ended (%s); it is started again in %g s", self.name, _word(code), pause)
            if self._over.wait(pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE)
            _close(self.process.stdin)
            self.process = self._start()
            log.error("%s was started again (process %d)", self.name, self.process.pid)

    def stop(self, seconds: float = END_SECONDS, signum: int | None = None) -> None:
        """End it by the end of its input, or by a signal; where that takes longer than `seconds`, kill it."""
        self._over.set()
        if signum is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signum)
        else:
            _close(self.process.stdin)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %g s and is killed", self.name, seconds)
            self.process.kill()
            self.process.wait()
        _close(self.process.stdin)
        self._thread.join(1)


def _close(stream: IO[Any] | None) -> None:
    with contextlib.suppress(OSError):
        if stream is not None:
            stream.close()


def _word(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def started(command: list[str], told: dict[str, Any], **more: Any) -> subprocess.Popen[Any]:
    """A process in a session of its own, which a terminal's Ctrl-C does not reach, told one line of JSON."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True, **more)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
    return process


Open = Callable[[Wanted, bool], Engine]
"""The engine of a model; the second argument says whether somebody holds on to it."""


@contextlib.contextmanager
def engines(apart: bool) -> Iterator[Open]:
    """What opens engines while the block runs: in a process of their own, or in this one."""
    if not apart:
        from steersman.engine.apart.host import load

        yield here(Shelf(load))
        return
    process = EngineProcess()
    try:
        yield opener(process.link())
    finally:
        process.stop()


def here(shelf: Shelf) -> Open:
    """Engines of this process, each loaded once. The shelf makes room for them and keeps none: the memory of a model is
    freed when nobody here uses it any more."""
    known: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()
    opening = threading.Lock()

    def opened(wanted: Wanted, _held: bool) -> Engine:
        with opening:
            engine = known.get(wanted.key)
            if engine is None:
                engine = known[wanted.key] = shelf.open(wanted, opening)
                shelf.release(opening)
            return engine

    return opened


def opener(link: Link) -> Open:
    return lambda wanted, held: ApartEngine(link, wanted, pinned=held)


class EngineProcess:
    """The engine's process, kept alive until `stop`."""

    def __init__(self, module: str = "steersman.engine.apart.host", **environment: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="steersman-"))
        self.address = str(self._folder / "engine")
        if sys.platform == "win32":
            self.address = rf"\\.\pipe\{self._folder.name}"
        self.key = secrets.token_bytes(32)
        self._command, self._environment = [sys.executable, "-m", module], environment
        self.kept = Kept("the engine's process", self._start)

    def _start(self) -> subprocess.Popen[Any]:
        with contextlib.suppress(OSError):
            Path(self.address).unlink()
        return started(self._command, self.told(), stdout=subprocess.DEVNULL, env={**os.environ, **self._environment})

    def link(self) -> Link:
        return Link(self.address, self.key)

    def told(self) -> dict[str, str]:
        """What another process needs for a link of its own."""
        return {"address": self.address, "key": self.key.hex()}

    def stop(self) -> None:
        self.kept.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
