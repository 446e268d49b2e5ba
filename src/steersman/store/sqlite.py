"""What is SQLite's alone: its settings, its file and who may read that, its errors of the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, event

from steersman.artifact.files import mode_of, private
from steersman.progress import note
from steersman.store.refusals import BUSY_SECONDS, DiskError

DISK_CODES = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EROFS,
}
SMALL_DISK = 1 << 18
"""Bytes free below which a disk counts as full."""


def configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions on its own, and too late for a lock taken up front; we say BEGIN below.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={int(BUSY_SECONDS * 1000)}",
            "foreign_keys=ON",
            # With WAL this survives a killed process; only a power cut can lose the last moments.
            "synchronous=NORMAL",
            # Deleted words are written over; some builds of SQLite leave them in the file.
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A transaction that first reads and then writes cannot wait for its turn in SQLite: it fails at once.
        # Writers therefore queue for the lock at the start.
        write = connection.get_execution_options().get("steersman_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def enable_wal(path: Path) -> None:
    """Switch the file to write-ahead logging, so that readers and the writer do not block each other.

    SQLite does not wait for its busy timeout when the mode changes, so waiting is done here.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def empty_log(path: Path) -> None:
    """Take what was deleted out of the log beside the file, where it would stay until that is written over; it does
    stay where somebody reads for longer than a moment."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=1)) as connection,
        contextlib.suppress(sqlite3.OperationalError),
    ):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def keep_private(path: Path) -> None:
    """Make the file and its companions readable for their owner only, unless `project.private` is off."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode_of(path, words=True)))
    if not private.get():
        return
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with contextlib.suppress(OSError):  # the file is gone, or belongs to another user
            if (mode := file.stat().st_mode & 0o777) & 0o077:
                file.chmod(mode & 0o700)
                note(f"{file}: could be read by others, now by its owner alone (project.private = false leaves it)")


def can_be_written(path: Path) -> bool:
    place = path if path.exists() else path.parent
    return os.access(place, os.W_OK) and os.access(path.parent, os.W_OK)


def copied(path: Path, into: Path) -> Path:
    """A copy of the file and its log, for a file that cannot be opened where it is."""
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        if source.exists():
            shutil.copyfile(source, into / source.name)
    return into / path.name


def online_copy(source: Path, target: Path) -> None:
    """Write a file's present state to `target`, whole or not at all, while others write to it.

    Opened as any reader opens it: read-only, SQLite would leave its -wal and -shm lying.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode_of(target, words=True)))
        with contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as database:
            with contextlib.closing(sqlite3.connect(temporary)) as copy:
                database.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def disk_error(error: Exception, path: Path, *, read_only: bool) -> DiskError | None:
    """SQLite's error as a DiskError; None where it is not about the disk."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
    if code not in DISK_CODES:
        return None
    reason = DISK_CODES[code]
    if read_only:
        reason = errno.EROFS
    elif reason != errno.ENOSPC and shutil.disk_usage(path.parent).free < SMALL_DISK:
        reason = errno.ENOSPC  # a full disk causes various errors
    elif code == sqlite3.SQLITE_CANTOPEN and can_be_written(path):
        return None
    return DiskError(reason, os.strerror(reason), str(path))
