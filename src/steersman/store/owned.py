"""All that one person owns: counted, as a file of theirs, and deleted. One transaction each.

Every column that names a person is in `NAMING`; a test compares it with the tables. What a person said of others' chats
and tasks is theirs; answers in their chats go with the chats. The audit log stays, without saying who it was.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, delete, event, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from steersman.artifact.files import mode_of
from steersman.parts import IMAGE_PATH, Image
from steersman.store import desk_tasks, erasing, schema_desk
from steersman.store.accounts import keep_one_admin, to_user, user_row
from steersman.store.database import Database, Writing
from steersman.store.refusals import Deleted
from steersman.store.roles import Role
from steersman.store.said import images_of, without_named
from steersman.store.schema import (
    ConversationRow,
    FeedbackRow,
    MessageRow,
    RankingRow,
    SkipRow,
    TaskRow,
    iso,
)
from steersman.store.schema_accounts import USER_ID, ApiKeyRow, AuditRow, InvitationRow, SessionRow, UsageRow, UserRow
from steersman.store.schema_api import ResponseRow
from steersman.store.schema_chat import DuelRow, ShareRow

NAMING: dict[str, InstrumentedAttribute[Any]] = {
    "chats": ConversationRow.owner,
    "responses": ResponseRow.owner,
    "feedback": FeedbackRow.user,
    "rankings": RankingRow.labeler,
    "skipped": SkipRow.labeler,
    "labels": schema_desk.DeskLabelRow.labeler,
    "drafts": schema_desk.DeskDraftRow.labeler,
    "leases": schema_desk.DeskLeaseRow.labeler,
    "suggestions": schema_desk.DeskSuggestionRow.labeler,
    "assignments": schema_desk.DeskAssignmentRow.labeler,
    "guidelines_read": schema_desk.DeskReadRow.labeler,
    "keys": ApiKeyRow.user_id,
    "sessions": SessionRow.user_id,
    "invitations": InvitationRow.user_id,
    "usage": UsageRow.user_id,
    "audit": AuditRow.who,
}
"""Name in counts and exports -> the column that names the person."""
_SECRET = frozenset({"seq", "digest", "password"})
"""Columns that no export has."""


@event.listens_for(Writing, "before_flush")
def _of_nobody_gone(session: Session, _context: object, _instances: object) -> None:
    """Deleted where a new row names a person who was deleted: a request that began before, or one that another web
    process let in, would leave words that nobody owns and nobody deletes."""
    new = list(session.new)
    columns = {column.class_: column.key for name, column in NAMING.items() if name != "audit"}
    named = {getattr(row, columns[type(row)]) or "" for row in new if type(row) in columns}
    named = {value for value in named if USER_ID.fullmatch(value)} - {row.id for row in new if isinstance(row, UserRow)}
    if named:
        with session.no_autoflush:
            there = set(session.scalars(select(UserRow.id).where(UserRow.id.in_(named))))
        if named - there:
            raise Deleted("This account was deleted; nothing was kept", "not_signed_in")


class Owned:
    def __init__(self, database: Database) -> None:
        self._db = database

    def counts(self, user_id: str) -> dict[str, int]:
        """How much of what there is; what there is none of is left out."""
        with self._db.read() as session:
            user_row(session, user_id)
            return _counts(session, user_id)

    def records(self, user_id: str) -> list[str]:
        """Ids of feedback and rankings that go with the person: their own, and those in their chats."""
        with self._db.read() as session:
            user_row(session, user_id)
            found = erasing.records(session, user_id, (), None)
            for chat in session.scalars(select(ConversationRow.id).where(ConversationRow.owner == user_id)):
                found += erasing.records(session, None, (), chat)
            return list(dict.fromkeys(found))

    def export(self, user_id: str, target: Path, media: Path | None = None) -> dict[str, int]:
        """Write a ZIP: everything.json, and the images of the person's chats from the folder `media`."""
        with self._db.read() as session:
            told: dict[str, Any] = {"account": _account(session, user_id)}
            for name, (column, way) in _ways(user_id).items():
                told[name] = _rows(session, column, way)
            counts = _counts(session, user_id)
        images = dict.fromkeys(found[0] for found in IMAGE_PATH.finditer(json.dumps(told["messages"])))
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, mode_of(target, words=True)))
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("everything.json", json.dumps(told, ensure_ascii=False, indent=1))
            there = [image for image in images if media is not None and (media / image).is_file()]
            for image in there:
                file.write(Path(str(media)) / image, image)
        return counts | ({"images": len(there)} if there else {})

    def handed_back(self, user_id: str) -> tuple[int, int]:
        """(tasks that were for the person alone and will be for all, tasks that only they decided and will be open)"""
        with self._db.read() as session:
            return desk_tasks.left_alone(session, user_id), desk_tasks.decided_by(session, user_id)

    def check_leaving(self, user_id: str) -> None:
        """StoreError where no admin would remain."""
        with self._db.read() as session:
            row = user_row(session, user_id)
            if row.role == Role.ADMIN.word:
                keep_one_admin(session, row)

    def delete(self, user_id: str) -> tuple[dict[str, int], list[Image]]:
        """Delete the person for good; returns what there was, and images that nothing names any more.

        StoreError where no admin would remain.
        """
        with self._db.write() as session:
            row = user_row(session, user_id)
            counts = _counts(session, user_id)
            images = [i for chat in list(session.scalars(_chats(user_id))) for i in images_of(session, chat)]
            session.execute(delete(TaskRow).where(TaskRow.conversation_id.in_(_chats(user_id))))
            for name, column in NAMING.items():
                if name != "audit":
                    session.execute(delete(column.class_).where(column == user_id))
            desk_tasks.reopen(session)
            invited = update(InvitationRow).where(InvitationRow.invited_by == user_id)
            session.execute(invited.values(invited_by=""))
            _hide(session, user_id)
            if row.role == Role.ADMIN.word:
                keep_one_admin(session, row)
            session.delete(row)
            unnamed = without_named(session, images)
        self._db.deleted()
        return counts, unnamed


def _chats(user_id: str) -> Any:
    return select(ConversationRow.id).where(ConversationRow.owner == user_id)


_OF_CHATS: dict[str, InstrumentedAttribute[Any]] = {
    "messages": MessageRow.conversation_id,
    "shares": ShareRow.conversation_id,
    "side_by_side": DuelRow.conversation_id,
}


def _ways(user_id: str) -> dict[str, tuple[InstrumentedAttribute[Any], ColumnElement[bool]]]:
    ways = {name: (column, column == user_id) for name, column in NAMING.items()}
    return ways | {name: (column, column.in_(_chats(user_id))) for name, column in _OF_CHATS.items()}


def _counts(session: Session, user_id: str) -> dict[str, int]:
    ways = _ways(user_id).items()
    found = {
        name: session.scalar(select(func.count()).select_from(column.class_).where(way)) or 0
        for name, (column, way) in ways
    }
    return {name: n for name, n in found.items() if n}


def _account(session: Session, user_id: str) -> dict[str, Any]:
    user = to_user(user_row(session, user_id))
    return {"id": user.id, "name": user.name, "role": user.role.word, "created": user.created}


def _rows(session: Session, column: InstrumentedAttribute[Any], way: ColumnElement[bool]) -> list[dict[str, Any]]:
    table: Any = column.class_
    return [_shown(row) for row in session.scalars(select(table).where(way).order_by(table.seq))]


def _shown(row: Any) -> dict[str, Any]:
    values = {column.key: getattr(row, column.key) for column in row.__table__.columns if column.key not in _SECRET}
    if isinstance(row, DuelRow) and not row.choice:  # nobody may know yet which model wrote which
        values |= {"left_model": None, "right_model": None}
    if isinstance(row, MessageRow) and (row.sampling or {}).get("blind"):
        values |= {"policy_version": None, "sampling": {"blind": True}}
    return {name: iso(value) if isinstance(value, dt.datetime) else value for name, value in values.items()}


def _hide(session: Session, user_id: str) -> None:
    """In the audit log the person becomes somebody: one and the same, but nobody knows who, and from where."""
    somebody = f"deleted-{secrets.token_hex(6)}"
    named = or_(AuditRow.who == user_id, AuditRow.about == user_id, cast(AuditRow.details, Text).contains(user_id))
    for row in session.scalars(select(AuditRow).where(named)):
        hidden = {key: somebody if value == user_id else value for key, value in row.details.items()}
        if row.who == user_id:
            hidden.pop("address", None)
        row.details = hidden
        row.who = somebody if row.who == user_id else row.who
        row.about = somebody if row.about == user_id else row.about
