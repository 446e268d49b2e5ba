"""Votes on models: one for each chat, from the feedback on its answers. A query on an open session.

A chat counts once, because it stays with one model and its feedback comes from one person. Its vote is the present
feedback on the first answer that anybody judged: a like is a vote for the model; a dislike, a report or an edit is one
against it. Asking for another answer is no vote.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from steersman.store.schema import ConversationRow, FeedbackRow, MessageRow, iso
from steersman.store.standing import standing


@dataclass(frozen=True, slots=True)
class Vote:
    """A chat's vote for (`liked`) or against the model version that answered it."""

    conversation_id: str
    policy_version: str
    liked: bool
    created: str
    """When the answer was first judged."""


def votes(session: Session, since: dt.datetime) -> list[Vote]:
    """One vote for each chat begun since then in which somebody judged an answer, in the order of judging."""
    query = (
        select(FeedbackRow, MessageRow)
        .join(MessageRow, MessageRow.id == FeedbackRow.message_id)
        .join(ConversationRow, ConversationRow.id == MessageRow.conversation_id)
        .where(ConversationRow.created >= since)
        .order_by(FeedbackRow.seq)
    )
    said: defaultdict[str, list[FeedbackRow]] = defaultdict(list)
    answers: dict[str, MessageRow] = {}
    for feedback, answer in session.execute(query):
        said[answer.id].append(feedback)
        answers[answer.id] = answer
    out: dict[str, Vote] = {}
    for answer in answers.values():
        liked = _liked(answer.content, said[answer.id])
        if liked is not None and answer.conversation_id not in out:
            created = iso(said[answer.id][0].created)
            out[answer.conversation_id] = Vote(answer.conversation_id, answer.policy_version, liked, created)
    return list(out.values())


def _liked(content: str, said: list[FeedbackRow]) -> bool | None:
    now = standing(content, said)
    if now.edited is not None or any(row.kind == "flag" for row in said):
        return False
    return now.liked
