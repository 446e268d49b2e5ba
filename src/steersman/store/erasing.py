"""Finding and deleting what a person said: queries on an open session.

A record's id is that of the answer or ranking task that it is about, and its number: MESSAGE-SEQ, TASK-SEQ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, or_, select
from sqlalchemy.orm import Session

from steersman.store import desk_labels, desk_tasks
from steersman.store.ranking_tasks import says_something
from steersman.store.schema import FeedbackRow, MessageRow, RankingRow, TaskRow

REPLACING: tuple[tuple[str, ...], ...] = (("edit",), ("like", "dislike", "clear"))
"""Kinds of feedback of which a person's last one on an answer counts, so that an earlier one would hold again."""

LONGEST = 18
"""Digits of a record's number: databases hold 64 bits."""
_SLOTS = {"dislike": "like", "clear": "like", "withdraw": "edit"}
"""Kinds of feedback that replace one of another kind."""
_NOTHING = ("clear", "withdraw", "regenerate")
"""Kinds of which nothing is learned by themselves: of a regeneration only with what was liked then."""


def records(session: Session, by: str | None, ids: Collection[str], chat: str | None) -> list[str]:
    said = _chosen(select(FeedbackRow), FeedbackRow.user, FeedbackRow.message_id, FeedbackRow.seq, by, ids)
    if chat is not None:
        said = said.join(MessageRow, MessageRow.id == FeedbackRow.message_id)
        said = said.where(MessageRow.conversation_id == chat)
    found = [f"{row.message_id}-{row.seq}" for row in session.scalars(said.order_by(FeedbackRow.seq))]
    ranked = _chosen(select(RankingRow), RankingRow.labeler, RankingRow.task_id, RankingRow.seq, by, ids)
    if chat is not None:
        ranked = ranked.join(TaskRow, TaskRow.id == RankingRow.task_id).where(TaskRow.conversation_id == chat)
    found += [f"{row.task_id}-{row.seq}" for row in session.scalars(ranked.order_by(RankingRow.seq))]
    if chat is None:
        found += desk_labels.records(session, by, ids)
    return found


def standing(session: Session, ids: Collection[str]) -> list[str]:
    """Those of the records that count: neither taken back nor replaced by what the same person said later."""
    latest: dict[tuple[str, ...], tuple[str, bool]] = {}
    for of, number in sorted(_split(ids), key=lambda one: one[1]):
        said = session.scalar(select(FeedbackRow).where(FeedbackRow.message_id == of, FeedbackRow.seq == number))
        ranked = session.scalar(select(RankingRow).where(RankingRow.task_id == of, RankingRow.seq == number))
        if said is not None:
            slot = _SLOTS.get(said.kind, said.kind)
            latest["said", of, said.user, slot] = (f"{of}-{number}", said.kind not in _NOTHING)
        if ranked is not None:
            latest["ranked", of, ranked.labeler, ranked.objective] = (f"{of}-{number}", says_something(ranked))
        if (labeler := desk_labels.labeler_of(session, of, number)) is not None:
            latest["label", of, labeler] = (f"{of}-{number}", True)
    return [id_ for id_, holds in latest.values() if holds]


def _chosen(query: Select[Any], person: Any, about: Any, seq: Any, by: str | None, ids: Collection[str]) -> Select[Any]:
    if by is not None:
        query = query.where(person == by)
    if ids:
        exact: list[ColumnElement[bool]] = [(about == of) & (seq == number) for of, number in _split(ids)]
        query = query.where(or_(about.in_(ids), *exact))
    return query


def _split(ids: Collection[str]) -> Iterator[tuple[str, int]]:
    """(answer or task, number) of the ids that name a record."""
    for id_ in ids:
        of, _, number = id_.rpartition("-")
        if of and number.isdecimal() and len(number) <= LONGEST:
            yield of, int(number)


def erase(session: Session, ids: Collection[str]) -> int:
    gone = 0
    for of, number in _split(ids):
        said = session.scalar(select(FeedbackRow).where(FeedbackRow.message_id == of, FeedbackRow.seq == number))
        if said is not None:
            kinds = next((group for group in REPLACING if said.kind in group), None)
            mine = (FeedbackRow.message_id == of, FeedbackRow.user == said.user, FeedbackRow.seq <= number)
            replaced = (*mine, FeedbackRow.kind.in_(kinds)) if kinds else (FeedbackRow.seq == number,)
            gone += session.execute(delete(FeedbackRow).where(*replaced)).rowcount  # type: ignore[attr-defined]
        ranked = session.scalar(select(RankingRow).where(RankingRow.task_id == of, RankingRow.seq == number))
        if ranked is not None:
            every = (
                RankingRow.task_id == of,
                RankingRow.labeler == ranked.labeler,
                RankingRow.objective == ranked.objective,
                RankingRow.seq <= number,
            )
            gone += session.execute(delete(RankingRow).where(*every)).rowcount  # type: ignore[attr-defined]
        gone += desk_labels.erase(session, of, number)
    desk_tasks.reopen(session)
    return gone
