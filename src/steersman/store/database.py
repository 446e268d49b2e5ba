"""Opening a database: engine, SQLite's settings, migrations, transactions."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.orm import Session

from steersman.artifact.files import mode_of, private
from steersman.progress import note
from steersman.store.refusals import DiskError

DISK_CODES = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EROFS,
}
SMALL_DISK = 1 << 18
"""Bytes free below which a disk counts as full."""
BUSY_SECONDS = 30.0
"""Seconds that a writer waits for others before the error 'database is locked'."""

MIGRATIONS = Path(__file__).with_name("migrations")
_POSTGRES_LOCK = 0x57EE25  # any number will do, as long as every version of this code agrees on it
_ALEMBIC_LOCK = threading.Lock()  # Alembic hands its context to env.py through a global


def database_url(path_or_url: str | Path) -> URL:
    """A path becomes SQLite's URL; what contains '://' is taken as a URL."""
    if isinstance(path_or_url, str) and "://" in path_or_url:
        try:
            url = make_url(path_or_url)
        except ArgumentError as error:
            raise ValueError(f"store: {error}") from None
    else:
        url = URL.create("sqlite", database=str(path_or_url))
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("store: expected a file; a database in memory is lost when the program ends")
        parent = Path(str(url.database)).parent
        if not parent.is_dir():
            raise ValueError(f"store: {url.database}: the folder {parent} does not exist")
    return url


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions on its own, and too late for a lock taken up front; we say BEGIN below.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={int(BUSY_SECONDS * 1000)}",
            "foreign_keys=ON",
            # With WAL this survives a killed process; only a power cut can lose the last moments.
            "synchronous=NORMAL",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A transaction that first reads and then writes cannot wait for its turn in SQLite: it fails at once.
        # Writers therefore queue for the lock at the start.
        write = connection.get_execution_options().get("steersman_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _enable_wal(path: str) -> None:
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


def migrate(connection: Connection) -> None:
    """Bring the schema to this code's version, inside the caller's transaction. Does nothing where it is."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC_LOCK:
        command.upgrade(config, "head")


def _file_of(url: URL) -> Path | None:
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _keep_private(path: Path) -> None:
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


def _can_be_written(path: Path) -> bool:
    place = path if path.exists() else path.parent
    return os.access(place, os.W_OK) and os.access(path.parent, os.W_OK)


def _copied(path: Path, into: Path) -> Path:
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        if source.exists():
            shutil.copyfile(source, into / source.name)
    return into / path.name


def _not_opened(shown: str, error: Exception) -> ValueError:
    reason = getattr(error, "orig", None) or error
    hint = (
        ""
        if isinstance(error, OperationalError)
        else "; expected a database that Steersman made. Restore a copy of it, or move it away (with its -wal) to "
        "begin anew; `sqlite3 store.db .recover` may save what is in it"
    )
    return ValueError(f"store: {shown} cannot be opened: {reason}{hint}")


class Database:
    """A pool of connections to a migrated database. Thread-safe; a child process must open its own.

    One that cannot be written to, as on a read-only disk, is read from a copy: SQLite would want to write beside it.
    """

    def __init__(self, path_or_url: str | Path) -> None:
        url = database_url(path_or_url)
        self._path, self._copy = _file_of(url), None
        if self._path and self._path.exists() and not _can_be_written(self._path):
            self._copy = tempfile.TemporaryDirectory(prefix="steersman-store-")
            url = url.set(database=str(_copied(self._path, Path(self._copy.name))))
        shown = self._path or url.render_as_string(hide_password=True)
        # Text stays readable in the file; ASCII escapes would double the size of Chinese.
        dumps = functools.partial(json.dumps, ensure_ascii=False, sort_keys=True)
        self.engine = create_engine(url, json_serializer=dumps, pool_timeout=BUSY_SECONDS, hide_parameters=True)
        try:
            if self._path:
                if not self._copy:
                    _keep_private(self._path)
                _enable_wal(str(url.database))
                _configure_sqlite(self.engine)
            self.writer = self.engine.execution_options(steersman_write=True)
            with self.writer.begin() as connection:
                migrate(connection)
            if self._copy:
                self.engine.dispose()
                event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
        except CommandError as error:
            self.close()
            raise ValueError(
                f"store: {shown} was written by a newer version of Steersman, upgrade it ({error})"
            ) from None
        except OSError as error:
            self.close()
            raise DiskError(error.errno, error.strerror, str(shown)) from None
        except (sqlite3.Error, DatabaseError) as error:
            self.close()
            raise self._disk_error(error) or _not_opened(str(shown), error) from None

    def _disk_error(self, error: Exception) -> DiskError | None:
        """SQLite's error as a DiskError; None where it is not about the disk."""
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
        if self._path is None or code not in DISK_CODES:
            return None
        reason = DISK_CODES[code]
        if self._copy:
            reason = errno.EROFS
        elif reason != errno.ENOSPC and shutil.disk_usage(self._path.parent).free < SMALL_DISK:
            reason = errno.ENOSPC  # a full disk causes various errors
        elif code == sqlite3.SQLITE_CANTOPEN and _can_be_written(self._path):
            return None
        return DiskError(reason, os.strerror(reason), str(self._path))

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading. Raises DiskError for errors of the disk; so does `write`."""
        with self._telling(), Session(self.engine) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end and rolled back on any error. Keep it short: others wait."""
        with self._telling(), Session(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            if (told := self._disk_error(error)) is not None:
                raise told from None
            raise

    def close(self) -> None:
        self.engine.dispose()
        if self._copy:
            self._copy.cleanup()

    def pragma(self, name: str) -> Any:
        """The value of one of SQLite's settings, for diagnosis."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()
