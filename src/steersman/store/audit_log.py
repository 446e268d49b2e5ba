"""Who did what, when: appended, never changed. No texts that people wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from steersman.store.database import Database
from steersman.store.schema import iso, utc_now
from steersman.store.schema_accounts import AuditRow


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    at: str
    who: str
    """A user's id; '' for the command line, and for whoever was not signed in."""
    action: str
    about: str
    details: Mapping[str, Any]


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, who: str, action: str, about: str = "", **details: str | int | bool) -> None:
        row = AuditRow(at=utc_now(), who=who, action=action, about=about[:200], details=details)
        with self._db.write() as session:
            session.add(row)

    def page(self, before: int | None = None, most: int = 100) -> list[Entry]:
        """The last entries, or those before a number, the newest first."""
        query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(most)
        if before is not None:
            query = query.where(AuditRow.seq < before)
        with self._db.read() as session:
            rows = list(session.scalars(query))
        return [Entry(r.seq, iso(r.at), r.who, r.action, r.about, r.details) for r in rows]
