"""Stored responses of `/v1/responses`: whose they are, what they go on from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from steersman.store.database import Database
from steersman.store.schema import utc_now
from steersman.store.schema_api import ResponseRow

KEPT = dt.timedelta(days=30)
"""How long a response is kept, as OpenAI does; older ones go when another is stored."""
MOST_BEFORE = 1000
"""Most responses that one goes on from."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    id: str
    owner: str
    """Person.id, '' without accounts."""
    previous: str | None
    body: dict[str, Any]
    """The response as it was answered."""
    items: list[Any]
    """The input items of its own request."""


class Responses:
    """The responses in a store. Nobody sees another's."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, response: StoredResponse) -> None:
        now = utc_now()
        with self._db.write() as session:
            session.execute(delete(ResponseRow).where(ResponseRow.created < now - KEPT))
            session.add(
                ResponseRow(
                    id=response.id,
                    owner=response.owner,
                    previous=response.previous,
                    body=response.body,
                    items=response.items,
                    created=now,
                )
            )

    def get(self, id_: str, owner: str) -> StoredResponse | None:
        with self._db.read() as session:
            return _get(session, id_, owner)

    def chain(self, id_: str, owner: str) -> list[StoredResponse] | None:
        """The response and all that it goes on from, earliest first; None where one of them is gone."""
        out: list[StoredResponse] = []
        at: str | None = id_
        with self._db.read() as session:
            while at is not None:
                one = _get(session, at, owner)
                if one is None or len(out) == MOST_BEFORE:
                    return None
                out.append(one)
                at = one.previous
        return out[::-1]

    def delete(self, id_: str, owner: str) -> None:
        with self._db.write() as session:
            session.execute(delete(ResponseRow).where(ResponseRow.id == id_, ResponseRow.owner == owner))


def _get(session: Session, id_: str, owner: str) -> StoredResponse | None:
    row = session.execute(
        select(ResponseRow).where(ResponseRow.id == id_[:64], ResponseRow.owner == owner)
    ).scalar_one_or_none()
    return None if row is None else StoredResponse(row.id, row.owner, row.previous, row.body, row.items)
