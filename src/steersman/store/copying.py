"""A database's rows as one SQLite file, and back, whichever database it is: backups, moves, trials.

Tables are taken as the database has them, so that one of an earlier version is copied before it is migrated.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, URL, Boolean, Connection, DateTime, MetaData, Table, delete, func, insert, select, text

from steersman.store import migrating, sqlite

if TYPE_CHECKING:
    from steersman.store.database import Database

VERSION = "alembic_version"
_ROWS = 500


def tables(connection: Connection) -> list[Table]:
    """The database's own tables, those that others refer to first."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != VERSION)
    for table in found.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return found.sorted_tables


def counts(connection: Connection) -> dict[str, int]:
    """Rows of each table."""
    return {t.name: int(connection.scalar(select(func.count()).select_from(t)) or 0) for t in tables(connection)}


def write_copy(database: Database, target: Path) -> None:
    """Write the database's present state to the SQLite file `target`, whole or not at all, while others write.

    The caller may hold the writers' lock: it is read by another connection.
    """
    with database.telling():
        if database.path is not None:
            sqlite.online_copy(database.path, target)
            return
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            file = Path(folder) / "copy.db"
            _into_new_file(database, file)
            sqlite.online_copy(file, target)


def _into_new_file(database: Database, file: Path) -> None:
    from steersman.store.database import make_engine

    sqlite.keep_private(file)
    engine = make_engine(URL.create("sqlite", database=str(file)))
    try:
        writer = engine.execution_options(steersman_write=True)
        with database.engine.connect() as source, writer.begin() as target:
            migrating.upgrade(target, migrating.version(source))
            copy_rows(source, target)
    finally:
        engine.dispose()


def copy_rows(source: Connection, target: Connection) -> dict[str, int]:
    """Copy all rows into the target's empty tables of the same schema; returns how many of each table."""
    into = {table.name: table for table in tables(target)}
    copied = {}
    for table in tables(source):
        order = [*table.primary_key.columns]
        rows = source.execution_options(yield_per=_ROWS).execute(select(table).order_by(*order)).mappings()
        copied[table.name] = 0
        for part in rows.partitions(_ROWS):
            target.execute(insert(into[table.name]), [_row(into[table.name], row) for row in part])
            copied[table.name] += len(part)
    if target.dialect.name == "postgresql":
        _set_sequences(target, into.values())
    return copied


def _row(table: Table, row: Mapping[Any, Any]) -> dict[str, Any]:
    return {column.name: _value(column.type, row[column.name]) for column in table.columns if column.name in row}


def _value(kind: Any, value: Any) -> Any:
    if isinstance(kind, DateTime) and isinstance(value, dt.datetime):
        aware = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        return aware if kind.timezone else aware.replace(tzinfo=None)
    return bool(value) if isinstance(kind, Boolean) and value is not None else value


def _set_sequences(target: Connection, into: Any) -> None:
    """Rows bring their numbers; the next ones come after them."""
    for table in into:
        for column in table.primary_key.columns:
            of = {"table": table.name, "column": column.name}
            name = target.scalar(text("SELECT pg_get_serial_sequence(quote_ident(:table), :column)"), of)
            last = target.scalar(select(func.max(column))) if name else None
            if last is not None:
                target.execute(text("SELECT setval(CAST(:name AS regclass), :last)"), {"name": name, "last": last})


def read_copy(database: Database, file: Path, *, replace: bool = False) -> dict[str, int]:
    """Fill the database with what a copy holds, at once for whoever uses it; returns how many rows of each table.

    A copy of an earlier version is migrated on the way, not in its file. ValueError where the database holds
    something already and `replace` does not say that this is to go, or where the file is no copy of a store.
    """
    from steersman.store.database import Database

    if not file.is_file():
        raise ValueError(f"{file}: no such file; expected what `steersman store backup` wrote")
    with tempfile.TemporaryDirectory(prefix="steersman-store-") as folder, contextlib.ExitStack() as stack:
        present = Path(folder) / "copy.db"
        sqlite.online_copy(file, present)
        source = stack.enter_context(contextlib.closing(Database(present, migrate=False)))
        if not source.missing()[0]:
            raise ValueError(f"{file}: expected what `steersman store backup` wrote, got a database without its tables")
        source.migrate()
        with database.telling(), source.engine.connect() as rows, database.writer.begin() as target:
            held = {name: n for name, n in counts(target).items() if n}
            if held and not replace:
                told = ", ".join(f"{n} {name}" for name, n in held.items())
                raise ValueError(f"store: {database.shown} holds {told}; expected an empty one, or --replace")
            for table in reversed(tables(target)):
                target.execute(delete(table))
            return copy_rows(rows, target)


def sizes(database: Database) -> dict[str, Any]:
    """What the database takes: {rows by table, bytes}."""
    with database.telling(), database.engine.connect() as connection:
        rows = counts(connection)
        if database.path is not None:
            return {"rows": rows, "bytes": database.path.stat().st_size}
        return {"rows": rows, "bytes": int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)}
