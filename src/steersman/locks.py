"""Locks for several processes that work in one workspace.

Beside a folder NAME lie `.NAME.lock`, held by the process that makes NAME (`making`), and `.NAME.PID.using`, held by a
process that reads NAME for some time (`using`). Both are locks of the operating system (flock, by the filelock
library): they end with their process, however it ends, so a kill leaves only a file without a lock. On a network file
system flock works between machines where the server supports it (NFS since Linux 2.6.12 does); where a file system has
none at all, filelock falls back to a file that exists or does not, warns, and takes over one whose process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

# Context variables: how the running command treats locks held by others, for every lock that it takes.
waits: ContextVar[bool | None] = ContextVar("waits", default=None)
"""True: wait for another process's lock instead of refusing (--wait). None: the command has no such option."""
tell: ContextVar[Callable[[str], None]] = ContextVar("tell", default=lambda _text: None)
"""Called once with a description of the awaited lock."""
_kept = contextlib.ExitStack()
_held: set[Path] = set()
"""Folders that this process makes; its own locks do not block it."""
BRIEF_SECONDS = 60.0
POLL_SECONDS = 0.2
PROBE_SECONDS = 0.3
"""Seconds after which a lock that another process only probed is free again."""


class Busy(ValueError):
    """Another process holds it; the text says which, since when and with what command."""


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _take(path: Path) -> FileLock | None:
    """The lock at `path`, held by this process from now on, with who we are written into it; None where it is held."""
    lock = FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=PROBE_SECONDS)
    except Timeout:
        return None
    who = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(["steersman", *sys.argv[1:]]),
    }
    # on a full disk, or on Windows where a locked file is closed to all, it is held all the same and nobody is named
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(who), encoding="utf-8")
    return lock


def _drop(lock: FileLock, path: Path) -> None:
    """Remove the lock's file, then release it, so that nobody takes what is about to go."""
    with contextlib.suppress(PermissionError):  # Windows removes no open file: it is left, free to be taken
        path.unlink(missing_ok=True)
    lock.release()


def _holder(path: Path) -> str:
    """The process that wrote the lock file, in words."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        there = "" if said["host"] == socket.gethostname() else f" on {said['host']}"
        return f"process {said['pid']}{there} since {said['since']} ({said['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _until_free(attempt: Callable[[], FileLock | str]) -> FileLock:
    """The lock that `attempt` takes; where it returns a holder, raise Busy, or wait until there is none."""
    told = False
    while isinstance(found := attempt(), str):
        if not waits.get():
            raise Busy(f"{found}; wait for it{'' if waits.get() is None else ' (--wait does)'}, or end it")
        if not told:
            tell.get()(f"waiting: {found}")
        told = True
        time.sleep(POLL_SECONDS)
    return found


@contextlib.contextmanager
def making(folder: Path) -> Iterator[None]:
    """Hold the exclusive right to make `folder`. Raises Busy where another process makes or uses it."""
    folder = folder.absolute()
    if folder in _held:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)

    def attempt() -> FileLock | str:
        lock = _take(_lock_of(folder))
        if lock is None:
            return f"{folder} is being made by {_holder(_lock_of(folder))}"
        for reader in folder.parent.glob(f".{folder.name}.*.using"):
            found = _take_over(reader)
            if found is not None:
                lock.release()
                return f"{folder} is in use by {found}"
        return lock

    lock = _until_free(attempt)
    _held.add(folder)
    try:
        yield
    finally:
        _held.remove(folder)
        lock.release()


def maker(folder: Path) -> str:
    """The process that is making `folder`, in words; '' for none."""
    path = _lock_of(folder)
    if not path.exists():
        return ""
    lock = FileLock(path, is_singleton=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return _holder(path)
    lock.release()
    return ""


def keep(folder: Path) -> None:
    """`making` until the process ends."""
    _kept.enter_context(making(folder))


def forget(folder: Path) -> None:
    """Remove the lock's file of a folder that nobody else will make."""
    _lock_of(folder).unlink(missing_ok=True)


def _take_over(reader: Path) -> str | None:
    """Remove an ended reader's lock file; for a living reader return its description. Our own counts as ended."""
    if reader.name.split(".")[-2] == str(os.getpid()):
        return None
    with contextlib.suppress(FileNotFoundError):
        said = _holder(reader)
        lock = FileLock(reader, is_singleton=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return said
        _drop(lock, reader)
    return None


@contextlib.contextmanager
def using(*folders: Path) -> Iterator[None]:
    """Keep others from replacing `folders` while they are read. Raises Busy where one is being made."""
    with contextlib.ExitStack() as held:
        for folder in folders:
            if folder.absolute() not in _held:
                held.enter_context(_using(folder))
        yield


@contextlib.contextmanager
def _using(folder: Path) -> Iterator[None]:
    mine = folder.with_name(f".{folder.name}.{os.getpid()}.using")

    def attempt() -> FileLock | str:
        # both sides announce themselves before they look for the other, so that at least one sees the other
        lock = _take(mine)
        assert lock is not None, mine
        maker = FileLock(_lock_of(folder), is_singleton=False)
        try:
            maker.acquire(timeout=PROBE_SECONDS)
        except Timeout:
            _drop(lock, mine)
            return f"{folder} is being made by {_holder(_lock_of(folder))}"
        maker.release()
        return lock

    lock = _until_free(attempt)
    try:
        yield
    finally:
        _drop(lock, mine)


def holder(root: Path) -> str | None:
    """A process that makes or uses anything below `root`, in words; None for none."""
    for path in sorted(p for pattern in ("*.lock", "*.using") for p in root.rglob(pattern)):
        said, lock = _holder(path), FileLock(path, is_singleton=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return said
        except OSError:  # the reader has just ended
            continue
        lock.release()
    return None


@contextlib.contextmanager
def brief(path: Path) -> Iterator[None]:
    """Hold `.NAME.lock` beside the file `path` while it is read, changed and written; others wait for that moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(path), is_singleton=False)
    try:
        lock.acquire(timeout=BRIEF_SECONDS)
    except Timeout:
        raise Busy(f"{path}: another process has held it for {BRIEF_SECONDS:.0f} s; end it and try again") from None
    try:
        yield
    finally:
        lock.release()
