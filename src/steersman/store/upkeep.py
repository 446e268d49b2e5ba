"""Backups, restoring, migrating and checking a store, each as one call; `steersman store` and tests use them."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session, aliased

from steersman.store import copying, migrating
from steersman.store.database import Database
from steersman.store.ranking_tasks import to_tasks
from steersman.store.said import read
from steersman.store.schema import FeedbackRow, MessageRow, TaskRow


@dataclass(frozen=True)
class Migrated:
    before: str
    """The schema's version; '' where the database was empty."""
    after: str
    steps: tuple[migrating.Step, ...]
    backup: Path | None


@dataclass(frozen=True)
class Checked:
    schema: str
    rows: dict[str, int]
    bytes: int
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def new_backup(root: Path) -> Path:
    """A name for a backup made now, in the workspace's folder of backups."""
    return root / "backups" / f"store-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S-%f}.db"


def _opened(place: str | Path) -> contextlib.closing[Database]:
    if isinstance(place, Path) and not place.is_file():
        raise ValueError(f"{place}: no such file; expected a store: steersman serve, or steersman rank, makes one")
    return contextlib.closing(Database(place, migrate=False))


def backup(place: str | Path, target: Path) -> dict[str, int]:
    """Write the store's state to a file that does not exist; returns how many rows of each table it holds."""
    if target.exists():
        raise ValueError(f"{target} exists already; expected the name of a new file")
    with _opened(place) as database:
        database.missing()  # a newer version's tables are not copied by guess
        target.parent.mkdir(parents=True, exist_ok=True)
        copying.write_copy(database, target)
    with contextlib.closing(Database(target, migrate=False)) as copy, copy.engine.connect() as connection:
        return copying.counts(connection)


def restore(place: str | Path, file: Path, before: Path | None) -> tuple[dict[str, int], Path | None]:
    """Fill the store from a backup: (rows of each table, where what it held is kept).

    `before` names that file; without it a store that holds something is refused.
    """
    with contextlib.closing(Database(place)) as database:
        with database.engine.connect() as connection:
            held = any(copying.counts(connection).values())
        if before and held:
            before.parent.mkdir(parents=True, exist_ok=True)
            copying.write_copy(database, before)
        rows = copying.read_copy(database, file, replace=before is not None)
        return rows, before if before and held else None


def migrate(place: str | Path, root: Path, *, keep: bool = True) -> Migrated:
    """Apply what is missing, after a backup; without `keep` try it and take it back."""
    with _opened(place) as database:
        before, steps = database.missing()
        backup = None
        if steps and before and keep:
            backup = database.place_of_backup(before) or new_backup(root)
            backup.parent.mkdir(parents=True, exist_ok=True)
        with database.telling():
            made = database.migrate(backup, keep=keep) if steps else None
        return Migrated(before, migrating.head(), steps, made)


def check(place: str | Path) -> Checked:
    with _opened(place) as database, database.telling():
        current, lacks = database.missing()
        sizes = copying.sizes(database)
        problems = [] if database.path is None else _of_file(database)
        if lacks:
            problems.append(f"its schema is {current or 'none'}, expected {migrating.head()}: steersman store migrate")
        else:
            with Session(database.engine) as session:
                problems += _of_rows(session)
    return Checked(current, sizes["rows"], sizes["bytes"], tuple(problems))


def _of_file(database: Database) -> list[str]:
    def lines(connection: Connection, pragma: str) -> list[str]:
        return [" ".join(map(str, row)) for row in connection.execute(text(f"PRAGMA {pragma}"))]

    with database.engine.connect() as connection:
        problems = [line for line in lines(connection, "integrity_check") if line != "ok"]
        return problems + [f"row without what it refers to: {line}" for line in lines(connection, "foreign_key_check")]


def _of_rows(session: Session) -> list[str]:
    """What no database looks at: chats that hang together, and columns that can be read."""
    problems = []
    parent = aliased(MessageRow)
    wrong = (parent.conversation_id != MessageRow.conversation_id) | (parent.role == MessageRow.role)
    torn = select(MessageRow.id).join(parent, parent.id == MessageRow.parent_id).where(wrong)
    problems += [f"message {id_}: follows one of another chat, or of the same side" for id_ in session.scalars(torn)]
    about = select(FeedbackRow.message_id).join(MessageRow, MessageRow.id == FeedbackRow.message_id)
    asked = session.scalars(about.where(MessageRow.role == "user").distinct())
    problems += [f"message {id_}: has feedback and is no answer" for id_ in asked]
    for row in session.scalars(select(MessageRow).where(MessageRow.parts.is_not(None))):
        with _noting(problems, f"message {row.id}"):
            read(row)
    for task in session.scalars(select(TaskRow)):
        with _noting(problems, f"ranking task {task.id}"):
            list(to_tasks([task]))
    return problems


@contextlib.contextmanager
def _noting(problems: list[str], where: str) -> Any:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        problems.append(f"{where}: cannot be read: {error}")
