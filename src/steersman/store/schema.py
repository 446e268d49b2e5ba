"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two.

`seq` is the order of insertion and never leaves the database; `id` is what the outside sees.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Double, ForeignKey, Index, MetaData, String, Text, TypeDecorator, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware UTC time. SQLite stores no zone, so the zone is removed on writing and added on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "times are aware"
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def iso(value: dt.datetime) -> str:
    """ISO 8601 to the millisecond, such as 2026-01-31T09:30:00.125Z."""
    return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy declares the type
        dt.datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class TaskRow(Base):
    """A prompt with K answers, waiting to be ranked. `id` is a hash of round, prompt and answers."""

    __tablename__ = "ranking_tasks"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    round: Mapped[int] = mapped_column(index=True)
    prompt: Mapped[dict[str, Any]]
    answers: Mapped[list[Any]]
    """Objects {text, finish_reason, policy_version}, in the order that rankings refer to."""
    sampling: Mapped[dict[str, Any]]
    salt: Mapped[str] = mapped_column(String(32))
    """Random secret from which each labeler's keys and their order are derived."""
    created: Mapped[dt.datetime]
    conversation_id: Mapped[str | None] = mapped_column(String(32), index=True)
    """The chat in which the answers were compared side by side: the task goes with it, and nobody else is asked."""


class RankingRow(Base):
    """One submission. A labeler's later one for the same task and objective is a new row; the largest `seq` counts."""

    __tablename__ = "rankings"
    __table_args__ = (Index(None, "task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("ranking_tasks.id", ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    simulated: Mapped[bool]
    ranks: Mapped[list[Any] | None]
    grades: Mapped[list[Any] | None]
    all_bad: Mapped[bool]
    seconds: Mapped[float | None] = mapped_column(Double)
    created: Mapped[dt.datetime]
    objective: Mapped[str] = mapped_column(String(100), server_default="")


class SkipRow(Base):
    """A labeler did not want to rank this task and is not asked again."""

    __tablename__ = "ranking_skips"
    __table_args__ = (Index(None, "task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("ranking_tasks.id", ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    created: Mapped[dt.datetime]


class ConversationRow(Base):
    """A chat. `system_prompt` is kept, since the dialogue depends on it."""

    __tablename__ = "conversations"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    system_prompt: Mapped[str] = mapped_column(Text)
    created: Mapped[dt.datetime]
    updated: Mapped[dt.datetime] = mapped_column(index=True)
    owner: Mapped[str] = mapped_column(String(32), server_default="", index=True)
    """A user's id; '' of a chat that was begun without accounts."""
    settings: Mapped[dict[str, Any] | None]
    """How the chat's answers are made where that differs from the server's settings."""
    folder: Mapped[str] = mapped_column(String(100), server_default="")
    pinned: Mapped[bool] = mapped_column(server_default=false())


class MessageRow(Base):
    """A node of a chat's tree. Children of one parent are alternatives: regenerated answers, reworded questions."""

    __tablename__ = "messages"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)
    """The message's text."""
    policy_version: Mapped[str] = mapped_column(String(200))
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    sampling: Mapped[dict[str, Any] | None]
    tokens: Mapped[int | None]
    created: Mapped[dt.datetime]
    parts: Mapped[list[Any] | None]
    """Content with more than text: texts, images and citations in OpenAI's form; else null."""


class FeedbackRow(Base):
    """One reaction to an answer. Nothing is overwritten; queries take the latest."""

    __tablename__ = "feedback"

    seq: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """A FeedbackKind, or "clear", which takes a like or dislike back, or "withdraw", which takes an edit back."""
    edited: Mapped[str | None] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    user: Mapped[str] = mapped_column(String(100))
    created: Mapped[dt.datetime]
