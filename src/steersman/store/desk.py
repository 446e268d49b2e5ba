"""The labeling desk: queues of tasks of several kinds, and what people said of them.

    task = store.desk.take(Asker("ann"), "flag")
    store.desk.submit(task.id, Submission("ann", value={"flags": ["wrong"]}))

Like the store's, each method is one short transaction. See `store.desk_tasks` (whose task is next) and
`store.desk_labels` (which label counts).

Why so: decision 64 in docs/LOG.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import case, func, null, select
from sqlalchemy.orm import Session

from steersman.store import desk_labels, desk_tasks, ranking_tasks
from steersman.store.database import Database
from steersman.store.desk_labels import DeskLabel, Submission
from steersman.store.desk_tasks import Asker, NewTask
from steersman.store.desk_values import DEMONSTRATION, FLAG, RANKING, clean_gold, to_messages
from steersman.store.ranking_tasks import RankingTask
from steersman.store.refusals import NotFound, clean_text, expect
from steersman.store.schema import iso, utc_now
from steersman.store.schema_desk import (
    DeskAssignmentRow,
    DeskDraftRow,
    DeskGuidelinesRow,
    DeskLabelRow,
    DeskLeaseRow,
    DeskReadRow,
    DeskSuggestionRow,
    DeskTaskRow,
)
from steersman.types import Candidates, Conversation, Feedback, Message

HISTORY = 200
"""Most of a person's labels that are shown to change."""


@dataclass(frozen=True, slots=True)
class DeskTask:
    """A task as a labeler sees it: blind, and without a hint whether its answer is known."""

    id: str
    kind: str
    messages: tuple[Message, ...]
    brief: str = ""
    answer: str = ""
    ranking: RankingTask | None = None
    """A ranking task's answers, with the labeler's keys."""
    draft: Mapping[str, Any] = field(default_factory=dict)
    mine: DeskLabel | None = None
    """What the labeler said of it before."""
    expires: str = ""
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of a ranking that the labeler reopens: what they said is wrong with single answers, by key."""


@dataclass(frozen=True, slots=True)
class Written:
    """A dialogue that somebody wrote: the record, by whom and when."""

    id: str
    by: str
    created: str
    dialogue: Conversation


@dataclass(frozen=True, slots=True)
class Overview:
    """A task as a manager sees it."""

    id: str
    kind: str
    prompt: str
    assigned: tuple[str, ...]
    labels: int
    needed: int
    gold: bool
    closed: bool
    unsure: float | None
    number: int = 0
    """Tasks are in this order."""


class Desk:
    def __init__(self, database: Database, objective: str | None) -> None:
        self._db, self.objective = database, objective

    # Tasks

    def add(self, tasks: Iterable[NewTask]) -> tuple[list[str], int]:
        """(ids, how many are new). All are added or, on an error, none."""
        with self._db.write() as session:
            return desk_tasks.add_tasks(session, tasks)

    def add_ranking(
        self,
        round: int,
        item: Candidates,
        gold: Mapping[str, Any] | None = None,
        needed: int = 0,
        assigned: Sequence[str] = (),
    ) -> tuple[str, bool]:
        """A ranking task of the desk's own: (its id, whether it is new); like `Store.add_candidates`."""
        values = ranking_tasks.task_values(ranking_tasks.to_round(round), item)
        known = clean_gold(RANKING, gold, len(item.completions))
        with self._db.write() as session:
            fresh = ranking_tasks.add_tasks(session, [values]) > 0
            row = desk_tasks.row_of(session, values["id"])
            row.gold, row.needed = known or row.gold, needed or row.needed
            if assigned:
                session.flush()
                desk_tasks.assign(session, [row.id], assigned)
        return values["id"], fresh

    def assign(self, ids: Sequence[str], labelers: Sequence[str]) -> int:
        with self._db.write() as session:
            return desk_tasks.assign(session, ids, labelers)

    def assigned(self) -> dict[str, list[str]]:
        """Whom tasks wait for that are for some people alone; see `desk_tasks.assigned_to`."""
        with self._db.read() as session:
            return desk_tasks.assigned_to(session)

    def hand_over(self, labeler: str, to: Sequence[str]) -> int:
        """Give what waits for one person to others, or back to all; how many tasks."""
        with self._db.write() as session:
            return desk_tasks.hand_over(session, labeler, to)

    def score(self, scores: Mapping[str, tuple[float, Sequence[float]]], by: str) -> int:
        """Keep what a reward model says of ranking tasks, {task: (how unsure it is, its scores)}; how many tasks."""
        with self._db.write() as session:
            known = 0
            for id_, (unsure, values) in scores.items():
                row = session.scalar(select(DeskTaskRow).where(DeskTaskRow.id == id_))
                if row is not None:
                    row.unsure, row.scores = float(unsure), {"by": by, "values": [float(v) for v in values]}
                    known += 1
            return known

    def overview(self, kind: str | None = None, limit: int = 500, after: int = 0) -> list[Overview]:
        """The tasks in order, with who has them and how many labels each has."""
        people = select(DeskLabelRow.task_id, func.count(func.distinct(DeskLabelRow.labeler)).label("n"))
        people = people.where(DeskLabelRow.said != desk_tasks.SKIP, DeskLabelRow.adjudicated.is_(False))
        counted = people.group_by(DeskLabelRow.task_id).subquery()
        query = select(DeskTaskRow, counted.c.n).outerjoin(counted, counted.c.task_id == DeskTaskRow.id)
        query = query.where(DeskTaskRow.seq > after).order_by(DeskTaskRow.seq).limit(limit)
        if kind is not None:
            query = query.where(DeskTaskRow.kind == kind)
        with self._db.read() as session:
            rows = [(task, int(n or 0)) for task, n in session.execute(query)]
            given = _assigned(session, [task.id for task, _ in rows])
            return [_overview(session, task, n, given.get(task.id, ())) for task, n in rows]

    def progress(self, overlap: int) -> dict[str, dict[str, int]]:
        """{kind: {tasks, done, labels}}: done has as many labels as it needs, or a manager's decision."""
        people = select(DeskLabelRow.task_id, func.count(func.distinct(DeskLabelRow.labeler)).label("n"))
        people = people.where(DeskLabelRow.said != desk_tasks.SKIP, DeskLabelRow.adjudicated.is_(False))
        counted = people.group_by(DeskLabelRow.task_id).subquery()
        n = func.coalesce(counted.c.n, 0)
        needed = case((DeskTaskRow.needed > 0, DeskTaskRow.needed), else_=max(1, overlap))
        done = func.sum(case((DeskTaskRow.closed.is_(True), 1), (n >= needed, 1), else_=0))
        query = select(DeskTaskRow.kind, func.count(), done, func.sum(n))
        query = query.outerjoin(counted, counted.c.task_id == DeskTaskRow.id).where(DeskTaskRow.gold.is_(null()))
        with self._db.read() as session:
            rows = session.execute(query.group_by(DeskTaskRow.kind))
            return {str(kind): {"tasks": int(t), "done": int(d), "labels": int(m)} for kind, t, d, m in rows}

    # A labeler's work

    def waiting(self, asker: Asker) -> dict[str, dict[str, int]]:
        """{kind: {tasks, waiting}} for this person."""
        with self._db.read() as session:
            return desk_tasks.waiting(session, replace(asker, objective=self.objective))

    def take(self, asker: Asker, kind: str) -> DeskTask | None:
        """The person's next task of this kind, leased to them; see `desk_tasks.take`."""
        clean_text(asker.labeler, "labeler", limit=ranking_tasks.LABELER_LIMIT)
        with self._db.write() as session:
            row = desk_tasks.take(session, replace(asker, objective=self.objective), kind)
            return None if row is None else self._shown(session, row, asker.labeler)

    def task(self, task_id: str, labeler: str) -> DeskTask:
        """A task that this person has or had in hand or has labeled. NotYours otherwise."""
        with self._db.read() as session:
            return self._shown(session, desk_tasks.check_mine(session, task_id, labeler), labeler)

    def has(self, task_id: str) -> bool:
        with self._db.read() as session:
            return session.scalar(select(DeskTaskRow.seq).where(DeskTaskRow.id == task_id)) is not None

    def open_task(self, task_id: str, manager: str) -> DeskTask:
        """Any task, for a manager who decides."""
        with self._db.read() as session:
            return self._shown(session, desk_tasks.row_of(session, task_id), manager)

    def _shown(self, session: Session, row: DeskTaskRow, labeler: str) -> DeskTask:
        of = (DeskDraftRow.task_id == row.id, DeskDraftRow.labeler == labeler)
        draft = session.scalar(select(DeskDraftRow.value).where(*of)) or {}
        held = (DeskLeaseRow.task_id == row.id, DeskLeaseRow.labeler == labeler)
        expires = session.scalar(select(DeskLeaseRow.expires).where(*held))
        mine = desk_labels.latest(session, row.id, labeler, self.objective)
        until = iso(expires) if expires else ""
        if row.kind == RANKING:
            ranking = ranking_tasks.get_task(session, row.id, labeler)
            flags = desk_labels.flags_of(session, ranking, labeler) if mine is not None else {}
            return DeskTask(row.id, row.kind, ranking.prompt.messages, "", "", ranking, draft, mine, until, flags)
        content = row.content or {}
        messages, answer = to_messages(content["messages"]), content.get("answer", "")
        return DeskTask(row.id, row.kind, messages, content.get("brief", ""), answer, None, draft, mine, until)

    def renew(self, task_id: str, asker: Asker) -> dt.datetime:
        """Hold the task longer; returns until when. Outdated where it went to somebody else meanwhile."""
        with self._db.write() as session:
            return desk_tasks.renew(session, task_id, replace(asker, objective=self.objective))

    def release(self, task_id: str, labeler: str) -> None:
        """Give the task back, with what was begun on it."""
        with self._db.write() as session:
            desk_tasks.release(session, task_id, labeler)

    def keep_draft(self, task_id: str, labeler: str, value: Mapping[str, Any]) -> None:
        """Keep unfinished work, instead of what was kept of it before; an empty one is thrown away."""
        with self._db.write() as session:
            desk_tasks.keep_draft(session, task_id, labeler, value)

    def drafts(self, labeler: str) -> list[tuple[str, str, str, str]]:
        """A person's unfinished work, the latest first: (task, kind, its prompt in short, when)."""
        with self._db.read() as session:
            found = desk_tasks.drafts(session, labeler)
            return [(task.id, task.kind, _prompt(session, task), iso(draft.updated)) for task, draft in found]

    def suggested(self, task_id: str, labeler: str, text: str, policy_version: str) -> None:
        """Keep a suggestion that somebody was shown, so that what becomes of it can be told from their own words."""
        with self._db.write() as session:
            desk_tasks.check_mine(session, task_id, labeler)
            row = {"task_id": task_id, "labeler": labeler, "text": text.replace("\0", ""), "created": utc_now()}
            session.add(DeskSuggestionRow(policy_version=policy_version, **row))

    # Labels

    def submit(self, task_id: str, what: Submission) -> DeskLabel:
        """Add a label; one that the same person gave before stays and counts no more."""
        with self._db.write() as session:
            if desk_tasks.row_of(session, task_id).kind == DEMONSTRATION and isinstance(what.value, Mapping):
                of = (DeskSuggestionRow.task_id == task_id, DeskSuggestionRow.labeler == what.labeler)
                rows = session.scalars(select(DeskSuggestionRow).where(*of).order_by(DeskSuggestionRow.seq))
                suggested = {row.text.strip(): row.policy_version for row in rows}
                what = replace(what, value=desk_labels.with_origins(what.value, suggested))
            return desk_labels.submit(session, task_id, what, self.objective or "")

    def labels(
        self, *, labeler: str | None = None, tasks: Collection[str] = (), kinds: Collection[str] = ()
    ) -> list[DeskLabel]:
        """The labels that count, in order; see `desk_labels.labels`."""
        with self._db.read() as session:
            return desk_labels.labels(session, labeler=labeler, tasks=tasks, kinds=kinds)

    def history(self, labeler: str) -> tuple[list[tuple[DeskLabel, str]], int]:
        """(a person's newest labels, `HISTORY` at most, with the prompts in short, the latest first; how many there
        are)"""
        with self._db.read() as session:
            found = desk_labels.labels(session, labeler=labeler)[::-1]
            shown = found[:HISTORY]
            return [(one, _prompt(session, desk_tasks.row_of(session, one.task))) for one in shown], len(found)

    def gold(self) -> dict[str, Mapping[str, Any]]:
        """Task -> the label that is right, of items that measure labelers."""
        with self._db.read() as session:
            rows = session.execute(select(DeskTaskRow.id, DeskTaskRow.gold).where(DeskTaskRow.gold.is_not(null())))
            return {str(id_): gold for id_, gold in rows}

    def scores(self) -> dict[str, tuple[str, list[float]]]:
        """Task -> (which reward model, its scores of the answers)."""
        with self._db.read() as session:
            rows = session.execute(select(DeskTaskRow.id, DeskTaskRow.scores).where(DeskTaskRow.scores.is_not(null())))
            return {str(id_): (scores["by"], scores["values"]) for id_, scores in rows}

    def prompts(self, ids: Collection[str]) -> dict[str, str]:
        """The beginning of each task's prompt, by the task's id."""
        with self._db.read() as session:
            return {id_: _prompt(session, desk_tasks.row_of(session, id_)) for id_ in ids}

    # Guidelines

    def guidelines(self, text: str) -> str:
        """The hash of a version of the guidelines, which is kept when first seen; '' where there are none."""
        if not text.strip():
            return ""
        hash_ = hashlib.sha256(clean_text(text, "guidelines").encode()).hexdigest()
        known = select(DeskGuidelinesRow.seq).where(DeskGuidelinesRow.hash == hash_)
        with self._db.read() as session:
            if session.scalar(known) is not None:
                return hash_
        with self._db.write() as session:
            if session.scalar(known) is None:
                session.add(DeskGuidelinesRow(hash=hash_, text=text, created=utc_now()))
        return hash_

    def guidelines_text(self, hash_: str) -> str:
        with self._db.read() as session:
            text = session.scalar(select(DeskGuidelinesRow.text).where(DeskGuidelinesRow.hash == hash_))
        expect(text is not None, f"no guidelines {hash_!r}")
        return str(text)

    def read(self, labeler: str, hash_: str) -> None:
        """Record that this person has read a version."""
        of = select(DeskReadRow.seq).where(DeskReadRow.labeler == labeler, DeskReadRow.guidelines == hash_)
        known = select(DeskGuidelinesRow.seq).where(DeskGuidelinesRow.hash == hash_)
        with self._db.write() as session:
            if session.scalar(known) is None:
                raise NotFound("guidelines: expected the hash of a known version")
            if session.scalar(of) is None:
                session.add(DeskReadRow(labeler=labeler, guidelines=hash_, created=utc_now()))

    def reads(self, hash_: str) -> dict[str, str]:
        """Who has read a version: person -> when."""
        with self._db.read() as session:
            rows = session.execute(select(DeskReadRow.labeler, DeskReadRow.created).where(_is(hash_)))
            return {str(name): iso(when) for name, when in rows}

    def last_read(self, labeler: str) -> str:
        """The version that this person read last; '' where none."""
        query = select(DeskReadRow.guidelines).where(DeskReadRow.labeler == labeler)
        with self._db.read() as session:
            return session.scalar(query.order_by(DeskReadRow.seq.desc()).limit(1)) or ""

    # What training gets

    def feedback(self, kinds: Collection[str]) -> Iterator[Feedback]:
        """Edits, flags and votes that count, as feedback."""
        if wanted := desk_labels.feedback_kinds(kinds):
            for task, row in self._standing(wanted):
                said = desk_labels.to_feedback(task, row)
                if said is not None and said.kind in kinds:
                    yield said

    def unflagged(self) -> Iterator[tuple[str, str, str]]:
        """(record, labeler, when) of labels that count and say that nothing is wrong with an answer."""
        for task, row in self._standing([FLAG]):
            if desk_labels.to_feedback(task, row) is None:
                yield f"{row.task_id}-{row.seq}", row.labeler, iso(row.created)

    def demonstrations(self) -> Iterator[Written]:
        """Written dialogues that count."""
        for task, row in self._standing([DEMONSTRATION]):
            written = desk_labels.to_demonstration(task, row)
            yield Written(f"{row.task_id}-{row.seq}", row.labeler, iso(row.created), written)

    def _standing(self, kinds: Collection[str]) -> Iterator[tuple[DeskTaskRow, DeskLabelRow]]:
        after: int | None = 0
        while after is not None:
            with self._db.read() as session:
                page, after = desk_labels.standing_page(session, kinds, after)
            yield from page


def _is(hash_: str) -> Any:
    return DeskReadRow.guidelines == hash_


def _assigned(session: Session, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rows = session.scalars(select(DeskAssignmentRow).where(DeskAssignmentRow.task_id.in_(ids)))
    out: dict[str, tuple[str, ...]] = {}
    for row in rows:
        out[row.task_id] = (*out.get(row.task_id, ()), row.labeler)
    return out


def _overview(session: Session, task: DeskTaskRow, labels: int, assigned: tuple[str, ...]) -> Overview:
    of = (task.id, task.kind, _prompt(session, task), assigned, labels, task.needed)
    return Overview(*of, task.gold is not None, task.closed, task.unsure, task.seq)


def _prompt(session: Session, task: DeskTaskRow) -> str:
    """What the task asks, in one line."""
    if task.kind == RANKING:
        messages: Iterable[Message] = ranking_tasks.get_task(session, task.id).prompt.messages
    else:
        messages = to_messages((task.content or {})["messages"])
    said = [m.spelled for m in messages if m.role == "user"] or [(task.content or {}).get("brief", "")]
    return " ".join(said[-1].split())[:200]
