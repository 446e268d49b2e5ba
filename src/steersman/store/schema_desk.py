"""The labeling desk's tables. A change here needs a migration in `migrations/versions`.

Every ranking task has a row in `desk_tasks` of the same id; what the other kinds of tasks ask stands in `content`.
A label is never overwritten: of one labeler's labels of a task the largest `seq` counts. A ranking is a row of
`rankings`, as before, to which its label refers.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from steersman.store.schema import Base

_TASK = "desk_tasks.id"


class DeskTaskRow(Base):
    """Something to label."""

    __tablename__ = "desk_tasks"
    __table_args__ = (Index(None, "kind", "round"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    """ranking, demonstration, edit, flag or vote."""
    round: Mapped[int]
    """A ranking task's; 0 for the others, which are of no round."""
    content: Mapped[dict[str, Any] | None]
    """See `desk_values`; null for a ranking, whose prompt and answers lie in `ranking_tasks`."""
    gold: Mapped[dict[str, Any] | None]
    """The known answer of an item that measures labelers and is never trained on."""
    needed: Mapped[int]
    """How many labelers; 0: as many as `rank.overlap` says."""
    unsure: Mapped[float | None] = mapped_column(Double)
    """How unsure the last reward model is of the order of the answers, in nats; the larger the sooner it is asked."""
    scores: Mapped[dict[str, Any] | None]
    """{by, values}: which model gave the answers which scores."""
    closed: Mapped[bool]
    """Decided by a manager; not offered any more."""
    created: Mapped[dt.datetime]


class DeskAssignmentRow(Base):
    """A task that is for this person. A task without such a row is for all."""

    __tablename__ = "desk_assignments"
    __table_args__ = (UniqueConstraint("task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey(_TASK, ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)


class DeskLabelRow(Base):
    """What somebody said of a task."""

    __tablename__ = "desk_labels"
    __table_args__ = (Index(None, "task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey(_TASK, ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    said: Mapped[str] = mapped_column(String(16))
    """label, bad_prompt or skip."""
    value: Mapped[dict[str, Any] | None]
    """The label, by the task's kind; null for a ranking."""
    ranking: Mapped[int | None] = mapped_column(ForeignKey("rankings.seq", ondelete="CASCADE"), index=True)
    objective: Mapped[str] = mapped_column(String(100))
    comment: Mapped[str] = mapped_column(Text)
    guidelines: Mapped[str] = mapped_column(String(64))
    """Hash of the guidelines that were shown; empty where there were none."""
    seconds: Mapped[float | None] = mapped_column(Double)
    adjudicated: Mapped[bool]
    """A manager's decision, which counts in place of all labelers' labels."""
    created: Mapped[dt.datetime]


class DeskLeaseRow(Base):
    """A task in somebody's hands until `expires`. It stays after that: they may still submit what they began."""

    __tablename__ = "desk_leases"
    __table_args__ = (UniqueConstraint("task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey(_TASK, ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    expires: Mapped[dt.datetime]


class DeskDraftRow(Base):
    """A person's unfinished work on a task."""

    __tablename__ = "desk_drafts"
    __table_args__ = (UniqueConstraint("task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey(_TASK, ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    value: Mapped[dict[str, Any]]
    updated: Mapped[dt.datetime]


class DeskSuggestionRow(Base):
    """An answer that the model suggested to somebody who writes a dialogue; tells who wrote a turn."""

    __tablename__ = "desk_suggestions"
    __table_args__ = (Index(None, "task_id", "labeler"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey(_TASK, ondelete="CASCADE"))
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    text: Mapped[str] = mapped_column(Text)
    policy_version: Mapped[str] = mapped_column(String(200))
    created: Mapped[dt.datetime]


class DeskGuidelinesRow(Base):
    """A version of the workspace's guidelines, as it was when first shown."""

    __tablename__ = "desk_guidelines"

    seq: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[dt.datetime]


class DeskReadRow(Base):
    """Somebody said that they have read a version of the guidelines."""

    __tablename__ = "desk_reads"
    __table_args__ = (UniqueConstraint("labeler", "guidelines"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    labeler: Mapped[str] = mapped_column(String(100), index=True)
    guidelines: Mapped[str] = mapped_column(ForeignKey("desk_guidelines.hash", ondelete="CASCADE"))
    created: Mapped[dt.datetime]
