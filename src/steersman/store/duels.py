"""Two answers side by side: begun, chosen between, and stored as a comparison that rounds learn.

The choice becomes a ranking task of two answers with one ranking, so it is learned, weighed, erased and traced as any
other ranking is. The task belongs to its chat: it goes with it, and no other labeler is asked. Another choice instead
is another ranking of that task, of which the last counts; one that is taken back is a ranking without an order.

Why so: decisions 79 and 124 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from steersman.store import chats, ranking_tasks
from steersman.store.database import Database
from steersman.store.ranking_tasks import RankingSubmission
from steersman.store.refusals import NotFound, Outdated, expect
from steersman.store.schema import MessageRow, utc_now
from steersman.store.schema_chat import DuelRow
from steersman.types import Candidates, Completion

Choice = Literal["left", "right", "tie", "bad"]
_RANKS: dict[str, tuple[int, int] | None] = {"left": (1, 2), "right": (2, 1), "tie": (1, 1), "bad": None}


@dataclass(frozen=True, slots=True)
class Duel:
    """`choice` is '' while nobody has chosen, and 'off' where the answers are no longer to be compared, be it that a
    choice was taken back."""

    question_id: str
    left_id: str
    right_id: str
    left_model: str
    right_model: str
    choice: str


class Duels:
    """Queries of an open store, each one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, question_id: str, answers: tuple[str, str], models: tuple[str, str]) -> Duel:
        """The answers with these ids, left and right, to a stored question. StoreError where it has such already."""
        with self._db.write() as session:
            question = chats.message(session, question_id)
            expect(question.role == "user", "question: expected the id of a question, got that of an answer")
            expect(_row(session, question_id) is None, "question: its answers stand side by side already")
            row = DuelRow(
                conversation_id=question.conversation_id,
                question_id=question_id,
                left_id=answers[0],
                right_id=answers[1],
                left_model=models[0],
                right_model=models[1],
                choice="",
                created=utc_now(),
            )
            session.add(row)
            session.flush()
            return _duel(row)

    def of_chat(self, id: str) -> list[Duel]:
        with self._db.read() as session:
            rows = session.scalars(select(DuelRow).where(DuelRow.conversation_id == id).order_by(DuelRow.seq))
            return [_duel(row) for row in rows]

    def vote(
        self,
        question_id: str,
        choice: Choice,
        *,
        labeler: str,
        round: int,
        seconds: float | None = None,
        instead: Choice | None = None,
    ) -> Duel:
        """Choose between two whole answers; from then on it is known which model wrote which. `instead`: the choice
        whose place this one takes.

        Raises NotFound, Outdated where another choice holds than the caller knows, StoreError where an answer is
        missing.
        """
        expect(choice in get_args(Choice), f"choice: expected left, right, tie or bad, got {choice!r}")
        with self._db.write() as session:
            row = _standing(session, question_id, instead)
            answers = [_message(session, id_) for id_ in (row.left_id, row.right_id)]
            whole = [a for a in answers if a is not None and a.finish_reason is not None and a.content.strip()]
            expect(len(whole) == 2, "vote: expected two whole answers; one is empty, failed or is being written")
            if row.task_id is None:
                row.task_id = self._task(session, row, whole, round)
            ranking_tasks.take_back(session, row.task_id, but=labeler)
            said = RankingSubmission(labeler, _RANKS[choice], None, choice == "bad", False, seconds, "")
            ranking_tasks.add_ranking(session, row.task_id, said)
            row.choice = choice
            _reveal(session, row)
            return _duel(row)

    def give_up(self, question_id: str, instead: Choice | None = None) -> Duel:
        """Compare no longer, such as where one of the answers failed; nothing is learned from it. `instead`: the choice
        that is taken back."""
        with self._db.write() as session:
            row = _standing(session, question_id, instead)
            if row.task_id is not None:
                ranking_tasks.take_back(session, row.task_id)
            row.choice = "off"
            _reveal(session, row)
            return _duel(row)

    @staticmethod
    def _task(session: Session, row: DuelRow, answers: list[MessageRow], round_: int) -> str:
        prompt = chats.dialogue(session, row.conversation_id, row.question_id)
        kept = tuple(Completion(a.content, (), (), _reason(a), a.policy_version) for a in answers)
        sampling = {"side_by_side": True}
        values = ranking_tasks.task_values(round_, Candidates(prompt, kept, sampling))
        values |= {"id": chats.new_id()[:24], "conversation_id": row.conversation_id}
        ranking_tasks.add_tasks(session, [values])
        return str(values["id"])


def _reason(answer: MessageRow) -> Literal["stop", "length", "cancelled"]:
    reason = answer.finish_reason
    return "length" if reason == "length" else "cancelled" if reason == "cancelled" else "stop"


def _row(session: Session, question_id: str) -> DuelRow | None:
    return session.scalar(select(DuelRow).where(DuelRow.question_id == question_id))


def _standing(session: Session, question_id: str, choice: Choice | None) -> DuelRow:
    """The row, where `choice` is what holds of it; None: that nobody has chosen."""
    row = _row(session, question_id)
    if row is None:
        raise NotFound(f"no answers side by side to the question {question_id!r}")
    if row.choice != (choice or ""):
        raise Outdated("choice: somebody has chosen otherwise" if choice else "choice: somebody has chosen already")
    return row


def _message(session: Session, id_: str) -> MessageRow | None:
    return session.scalar(select(MessageRow).where(MessageRow.id == id_))


def _reveal(session: Session, row: DuelRow) -> None:
    for id_ in (row.left_id, row.right_id):
        answer = _message(session, id_)
        if answer is not None:
            answer.sampling = {k: v for k, v in (answer.sampling or {}).items() if k != "blind"}


def _duel(row: DuelRow) -> Duel:
    return Duel(row.question_id, row.left_id, row.right_id, row.left_model, row.right_model, row.choice)
