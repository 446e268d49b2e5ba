"""Whose chats, messages and images are whose: queries on an open session."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from steersman.parts import IMAGE_PATH
from steersman.store.refusals import NotFound
from steersman.store.schema import ConversationRow, MessageRow, TaskRow


def check_owner(session: Session, kind: str, id_: str, owners: Collection[str]) -> None:
    """NotFound, in the words for what does not exist, where the chat or message is another's."""
    if kind == "conversation":
        query = select(ConversationRow.owner).where(ConversationRow.id == id_)
    else:
        chat = select(MessageRow.conversation_id).where(MessageRow.id == id_).scalar_subquery()
        query = select(ConversationRow.owner).where(ConversationRow.id == chat)
    if session.scalar(query) not in owners:
        raise NotFound(f"no {kind} {id_!r}")


def shows(session: Session, path: str, owners: Collection[str], tasks: bool) -> bool:
    """Whether a message in a chat of these owners, or with `tasks` a ranking task, names the image."""
    if IMAGE_PATH.fullmatch(path) is None:
        return False
    named = sa.cast(MessageRow.parts, sa.Text).contains(path, autoescape=True)
    chats = sa.select(ConversationRow.id).where(ConversationRow.owner.in_(owners))
    found = sa.select(MessageRow.seq).where(MessageRow.conversation_id.in_(chats), MessageRow.parts.is_not(None), named)
    if session.scalar(found.limit(1)) is not None:
        return True
    asked = sa.select(TaskRow.seq).where(sa.cast(TaskRow.prompt, sa.Text).contains(path, autoescape=True))
    return tasks and session.scalar(asked.limit(1)) is not None
