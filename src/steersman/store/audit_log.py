"""Who did what, when: appended, never changed, but for the count of refused sign-ins. No texts that people wrote."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from steersman.store.database import Database
from steersman.store.schema import iso, utc_now
from steersman.store.schema_accounts import USER_ID, AuditRow, UserRow

_MINUTE = dt.timedelta(minutes=1)
_LOOKED = 200
"""Lines of a minute among which one is looked for."""
SIGNED_IN, REFUSED, GROUPS = "signed in", "sign-in refused", "groups"
"""Actions, and a refusal's reason: the provider names no group that has a role."""


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    at: str
    who: str
    """A user's id; '' for the command line, and for whoever was not signed in."""
    action: str
    about: str
    details: Mapping[str, Any]


def shut_out(session: Session, who: str) -> bool:
    """Whether a person's last way in was refused by the provider's groups."""
    ways = select(AuditRow).where(AuditRow.who == who, AuditRow.action.in_((SIGNED_IN, REFUSED)))
    last = session.scalar(ways.order_by(AuditRow.seq.desc()).limit(1))
    return last is not None and last.action == REFUSED and last.details.get("why") == GROUPS


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, who: str, action: str, about: str = "", **details: str | int | bool) -> None:
        row = AuditRow(at=utc_now(), who=who, action=action, about=about[:200], details=details)
        known = select(UserRow.seq).where(UserRow.id == who)
        with self._db.write() as session:
            if USER_ID.fullmatch(who) and session.scalar(known) is None:  # deleted while they did it
                row.who = ""
            session.add(row)

    def refused(self, who: str, **details: str) -> None:
        """A sign-in that failed: a line a minute for the same person, address and reason, with their number."""
        action, time = REFUSED, utc_now()
        recent = select(AuditRow).where(AuditRow.action == action, AuditRow.who == who, AuditRow.at > time - _MINUTE)
        with self._db.write() as session:
            for row in session.scalars(recent.order_by(AuditRow.seq.desc()).limit(_LOOKED)):
                if {name: value for name, value in row.details.items() if name != "times"} == details:
                    row.details = {**row.details, "times": row.details.get("times", 1) + 1}
                    return
            session.add(AuditRow(at=time, who=who, action=action, about="", details=details))

    def page(self, before: int | None = None, most: int = 100) -> list[Entry]:
        """The last entries, or those before a number, the newest first."""
        query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(most)
        if before is not None:
            query = query.where(AuditRow.seq < before)
        with self._db.read() as session:
            rows = list(session.scalars(query))
        return [Entry(r.seq, iso(r.at), r.who, r.action, r.about, r.details) for r in rows]
