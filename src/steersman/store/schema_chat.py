"""Tables of the chat page besides chats and messages: links that share a chat, and answers side by side."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from steersman.store.schema import Base


class ShareRow(Base):
    """A link to a chat as it stood: down to message `last_id`. Deleting the row takes the link back."""

    __tablename__ = "shares"

    seq: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    last_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    created: Mapped[dt.datetime]


class DuelRow(Base):
    """Two answers to one question, shown side by side without names until somebody chooses."""

    __tablename__ = "duels"

    seq: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    question_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), unique=True)
    left_id: Mapped[str] = mapped_column(String(32))
    """The answers' ids; they are messages once something of them is stored."""
    right_id: Mapped[str] = mapped_column(String(32))
    left_model: Mapped[str] = mapped_column(String(200))
    right_model: Mapped[str] = mapped_column(String(200))
    choice: Mapped[str] = mapped_column(String(8))
    """left, right, tie or bad; '' before anybody chose, and 'off' where the answers were not compared."""
    task_id: Mapped[str | None] = mapped_column(ForeignKey("ranking_tasks.id", ondelete="SET NULL"))
    """The ranking task that the choice was stored as."""
    created: Mapped[dt.datetime]
