"""What people said, counted by day, and how many chats there are: queries on an open session."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from steersman.store.ranking_tasks import says_something
from steersman.store.schema import ConversationRow, FeedbackRow, RankingRow, utc_now

COUNTED = ("like", "dislike", "edit", "flag")
"""Kinds of feedback that are shown by day, beside rankings by people and by a program."""


def said_by_day(session: Session, days: int, east: int) -> list[dict[str, Any]]:
    """The last `days` days, the oldest first, days without a word included: {day, like, dislike, ..., ranking,
    simulated}. `east`: minutes by which the reader's clock is ahead of UTC. What was taken back later counts too."""
    zone = dt.timezone(dt.timedelta(minutes=east))
    today = utc_now().astimezone(zone).date()
    first = today - dt.timedelta(days=days - 1)
    since = dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC)
    counts: Counter[tuple[dt.date, str]] = Counter()
    said = sa.select(FeedbackRow.created, FeedbackRow.kind).where(FeedbackRow.created >= since)
    for created, kind in session.execute(said):
        counts[created.astimezone(zone).date(), kind] += 1
    for row in filter(says_something, session.scalars(sa.select(RankingRow).where(RankingRow.created >= since))):
        counts[row.created.astimezone(zone).date(), "simulated" if row.simulated else "ranking"] += 1
    every = [first + dt.timedelta(days=i) for i in range(days)]
    kinds = (*COUNTED, "ranking", "simulated")
    return [{"day": day.isoformat(), **{kind: counts[day, kind] for kind in kinds}} for day in every]


def chats_counted(session: Session, days: int) -> tuple[int, int]:
    """All chats, and those that somebody wrote in within the last days."""
    since = utc_now() - dt.timedelta(days=days)
    count = sa.select(sa.func.count()).select_from(ConversationRow)
    every, recent = session.scalar(count), session.scalar(count.where(ConversationRow.updated >= since))
    return int(every or 0), int(recent or 0)
