"""Opening a database: engine, transactions, its schema brought up to date."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.orm import Session

from steersman.progress import note
from steersman.store import migrating, postgresql, sqlite
from steersman.store.refusals import BUSY_SECONDS, DiskError, Unreachable

_DRIVERS_ERRORS = (sqlite3.Error, DatabaseError, InterfaceError, NoConnectionLeft)


def database_url(path_or_url: str | Path) -> URL:
    """A path becomes SQLite's URL; what contains '://' is taken as a URL."""
    if isinstance(path_or_url, str) and "://" in path_or_url:
        try:
            url = make_url(path_or_url)
        except ArgumentError as error:
            raise ValueError(f"store: {error}") from None
    else:
        url = URL.create("sqlite", database=str(path_or_url))
    kind = "postgresql" if url.drivername == "postgres" else url.drivername.partition("+")[0]
    if kind == "postgresql":
        return postgresql.with_driver(url)
    if kind != "sqlite":
        raise ValueError(f"store: expected sqlite:///FILE or postgresql://USER@HOST/NAME, got {kind}://")
    if url.database in (None, "", ":memory:"):
        raise ValueError("store: expected a file; a database in memory is lost when the program ends")
    parent = Path(str(url.database)).parent
    if not parent.is_dir():
        raise ValueError(f"store: {url.database}: the folder {parent} does not exist")
    return url


def make_engine(url: URL) -> Engine:
    """A pool of connections in which `steersman_write` as execution option says who will write."""
    # Text stays readable in the file; ASCII escapes would double the size of Chinese.
    dumps = functools.partial(json.dumps, ensure_ascii=False, sort_keys=True)
    kind = postgresql if url.get_backend_name() == "postgresql" else sqlite
    more: dict[str, Any] = postgresql.options() if kind is postgresql else {}
    engine = create_engine(url, json_serializer=dumps, pool_timeout=BUSY_SECONDS, hide_parameters=True, **more)
    kind.configure(engine)
    return engine


def _not_opened(shown: str, error: Exception) -> ValueError:
    reason = getattr(error, "orig", None) or error
    hint = (
        ""
        if isinstance(error, OperationalError)
        else "; expected a database that Steersman made. Restore a copy of it, or move it away (with its -wal) to "
        "begin anew; `sqlite3 store.db .recover` may save what is in it"
    )
    return ValueError(f"store: {shown} cannot be opened: {reason}{hint}")


class Writing(Session):
    """A session of a transaction that writes; what is asked of every row is asked of these sessions."""


class Database:
    """A pool of connections to a migrated database. Thread-safe; a child process must open its own.

    A file that cannot be written to, as on a read-only disk, is read from a copy: SQLite would want to write beside it.
    With `migrate=False` the schema is left as it is.
    """

    def __init__(self, path_or_url: str | Path, *, migrate: bool = True) -> None:
        self.url = url = database_url(path_or_url)
        self.path = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        if self.path and self.path.exists() and not sqlite.can_be_written(self.path):
            self._copy = tempfile.TemporaryDirectory(prefix="steersman-store-")
            url = url.set(database=str(sqlite.copied(self.path, Path(self._copy.name))))
        self.shown = str(self.path) if self.path else url.render_as_string(hide_password=True)
        self.engine = make_engine(url)
        self.writer = self.engine.execution_options(steersman_write=True)
        try:
            if self.path:
                if not self._copy:
                    sqlite.keep_private(self.path)
                sqlite.enable_wal(Path(str(url.database)))
            if migrate:
                self._bring_up_to_date()
            if self._copy:
                self.engine.dispose()
                event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
        except (DiskError, Unreachable):
            self.close()
            raise
        except OSError as error:
            self.close()
            raise DiskError(error.errno, error.strerror, self.shown) from None
        except _DRIVERS_ERRORS as error:
            self.close()
            raise self._outage(error) or _not_opened(self.shown, error) from None
        except BaseException:
            self.close()
            raise

    def missing(self) -> tuple[str, tuple[migrating.Step, ...]]:
        """(the schema's version, migrations that it lacks). ValueError where a newer Steersman made it."""
        with self.engine.connect() as connection:
            current = migrating.version(connection)
        try:
            return current, migrating.missing(current)
        except ValueError as error:
            told = f"store: {self.shown} was written by a newer version of Steersman, upgrade it ({error})"
            raise ValueError(told) from None

    def _bring_up_to_date(self) -> None:
        current, lacks = self.missing()
        if lacks and current and self.path is None:
            raise ValueError(
                f"store: {self.shown}: its schema is {current}, this version wants {migrating.head()}; expected: "
                "steersman store migrate (--dry-run first), which makes a backup"
            )
        if lacks and (kept := self.migrate(None if self._copy else self.place_of_backup(current))):
            note(f"{self.shown}: schema {current} is {migrating.head()} now; as it was before: {kept}")

    def place_of_backup(self, current: str) -> Path | None:
        """A new name beside the file for what it holds at schema `current`; None where it holds nothing."""
        if not current or self.path is None:
            return None
        stem, suffix = f"{self.path.stem}.schema-{current}", self.path.suffix
        names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        return next(place for name in names if not (place := self.path.with_name(name + suffix)).exists())

    def migrate(self, backup: Path | None = None, *, keep: bool = True) -> Path | None:
        """Apply missing migrations under the writers' lock, after a copy to `backup`, which is returned if it was made.

        Without `keep` they are tried and taken back.
        """
        from steersman.store.copying import write_copy

        made = None
        with self.writer.connect() as connection, connection.begin() as transaction:
            if migrating.missing(migrating.version(connection)):  # another process may have been faster
                try:
                    if backup:
                        write_copy(self, backup)
                        made = backup
                    migrating.upgrade(connection)
                except BaseException:
                    if made:
                        made.unlink(missing_ok=True)
                    raise
            if not keep:
                transaction.rollback()
        return made

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading one state. DiskError for errors of the disk, Unreachable for a server that is gone;
        so does `write`."""
        with self.telling(), Session(self.engine) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end and rolled back on any error. Keep it short: others wait."""
        with self.telling(), Writing(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    def _outage(self, error: Exception) -> OSError | None:
        if self.path is None:
            return postgresql.unreachable(error, self.shown)
        return sqlite.disk_error(error, self.path, read_only=self._copy is not None)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Turns a driver's error about disk or server into one that says so."""
        try:
            yield
        except _DRIVERS_ERRORS as error:
            if (told := self._outage(error)) is not None:
                raise told from None
            raise

    def deleted(self) -> None:
        """Call after words were deleted for good: the file's log has none of them any more."""
        if self.path is not None:
            sqlite.empty_log(self.path)

    def close(self) -> None:
        self.engine.dispose()
        if self._copy:
            self._copy.cleanup()

    def pragma(self, name: str) -> Any:
        """The value of one of SQLite's settings, for diagnosis."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()
