"""Bringing a database's schema up to date: which version it has, under which lock, with a copy made before."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

MIGRATIONS = Path(__file__).with_name("migrations")
_ALEMBIC_LOCK = threading.Lock()  # Alembic hands its context to env.py through a global


@dataclass(frozen=True, slots=True)
class Step:
    """One migration: the version that it leads to, and what it does."""

    version: str
    does: str


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@functools.lru_cache(maxsize=1)
def steps() -> tuple[Step, ...]:
    """All migrations, the first first."""
    found = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(Step(script.revision, script.doc) for script in found)[::-1]


def head() -> str:
    """The schema's version that this code works with."""
    return steps()[-1].version


def version(connection: Connection) -> str:
    """The schema's version that the database has; '' where nothing has been made in it."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def missing(current: str) -> tuple[Step, ...]:
    """The migrations from version `current` on. ValueError where this code does not know that version."""
    known = [step.version for step in steps()]
    if current and current not in known:
        raise ValueError(f"its schema is {current}, this version of Steersman knows those up to {known[-1]}")
    return steps()[known.index(current) + 1 if current else 0 :]


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a version, inside the caller's transaction. Does nothing where it is."""
    with _ALEMBIC_LOCK:
        command.upgrade(_config(connection), to)
