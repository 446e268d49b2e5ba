"""The desk's queues: which task is whose next, leases, unfinished work. Queries on an open session.

A task is offered to somebody while fewer people than it needs have labeled it or hold a live lease on it. Taking one is
one writing transaction, and these queue on every database (`store.database`), so two people are never handed the last
place of a task. A lease that its holder does not renew ends by itself; the holder may still submit, so no work is lost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, insert, null, or_, select, true, update
from sqlalchemy.orm import Session, aliased

from steersman.store.desk_values import KINDS, RANKING, clean_content, clean_gold
from steersman.store.refusals import NotFound, NotYours, Outdated, clean_text, expect
from steersman.store.schema import utc_now
from steersman.store.schema_desk import DeskAssignmentRow, DeskDraftRow, DeskLabelRow, DeskLeaseRow, DeskTaskRow

LEASE = dt.timedelta(minutes=15)
"""How long a task stays somebody's without a sign of life; the page gives one every few minutes."""
GOLD_FIRST, GOLD_EVERY = 2, 10
"""A gold item comes after so many labels in a queue, and then after each so many more."""
SKIP, BAD_PROMPT, LABEL = "skip", "bad_prompt", "label"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks the desk for work, when, and by which rules."""

    labeler: str
    overlap: int = 1
    objective: str | None = None
    round: int | None = None
    """Rankings of this round alone."""
    now: dt.datetime | None = None
    lease: dt.timedelta = LEASE

    @property
    def time(self) -> dt.datetime:
        return self.now or utc_now()


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to add, of another kind than ranking."""

    kind: str
    content: Mapping[str, Any]
    gold: Mapping[str, Any] | None = None
    needed: int = 0
    assigned: tuple[str, ...] = ()


def ranking_row(task: Mapping[str, Any]) -> dict[str, Any]:
    """The desk's row of a row of `ranking_tasks`."""
    same = {key: task[key] for key in ("id", "round", "created")}
    return {**same, "kind": RANKING, "content": None, "gold": None, "needed": 0, "closed": False}


def id_of(kind: str, content: Mapping[str, Any]) -> str:
    """The id of a task with this content, which `clean_content` has seen."""
    identity = json.dumps([kind, content], ensure_ascii=False, sort_keys=True)
    return "desk" + hashlib.sha256(identity.encode()).hexdigest()[:24]


def add_tasks(session: Session, tasks: Iterable[NewTask]) -> tuple[list[str], int]:
    """(ids of the tasks, how many of them are new): the same content of the same kind is one task."""
    found: dict[str, tuple[dict[str, Any], NewTask]] = {}
    for task in tasks:
        content, gold = clean_content(task.kind, task.content), clean_gold(task.kind, task.gold)
        id_ = id_of(task.kind, content)
        row = {"id": id_, "kind": task.kind, "round": 0, "content": content, "gold": gold, "needed": task.needed}
        found[id_] = (row | {"closed": False, "created": utc_now()}, task)
    ids = list(found)
    known: set[str] = set()
    for start in range(0, len(ids), _PAGE):
        known |= set(session.scalars(select(DeskTaskRow.id).where(DeskTaskRow.id.in_(ids[start : start + _PAGE]))))
    fresh = [row for id_, (row, _) in found.items() if id_ not in known]
    if fresh:
        session.execute(insert(DeskTaskRow), fresh)
    for id_, (_, task) in found.items():
        if task.assigned:
            assign(session, [id_], task.assigned)
    return ids, len(fresh)


def assign(session: Session, ids: Sequence[str], labelers: Sequence[str]) -> int:
    """Give the tasks to these people alone; to nobody in particular where none is named. Returns how many tasks."""
    names = [clean_text(name, "labeler", limit=100).strip() for name in labelers]
    there = [id_ for id_ in dict.fromkeys(ids) if session.scalar(_exists(id_)) is not None]
    for id_ in there:
        session.execute(delete(DeskAssignmentRow).where(DeskAssignmentRow.task_id == id_))
        if names:
            session.execute(insert(DeskAssignmentRow), [{"task_id": id_, "labeler": n} for n in dict.fromkeys(names)])
    return len(there)


def assigned_to(session: Session) -> dict[str, list[str]]:
    """{person: ids of the tasks that are for them and that they have not labeled yet}; decided ones are left out."""
    given, said = DeskAssignmentRow, DeskLabelRow
    mine = select(said.seq).where(
        said.task_id == given.task_id, said.labeler == given.labeler, said.adjudicated.is_(False)
    )
    query = select(given.labeler, given.task_id).join(DeskTaskRow, DeskTaskRow.id == given.task_id)
    query = query.where(DeskTaskRow.closed.is_(False), ~mine.exists()).order_by(given.labeler, DeskTaskRow.seq)
    out: dict[str, list[str]] = {}
    for name, id_ in session.execute(query):
        out.setdefault(name, []).append(id_)
    return out


def hand_over(session: Session, labeler: str, to: Sequence[str]) -> int:
    """Give what waits for one person to others, or back to all; who else has a task keeps it. How many tasks."""
    ids = assigned_to(session).get(labeler, [])
    for id_ in ids:
        of = select(DeskAssignmentRow.labeler).where(DeskAssignmentRow.task_id == id_).order_by(DeskAssignmentRow.seq)
        others = [name for name in session.scalars(of) if name != labeler]
        release(session, id_, labeler)
        assign(session, [id_], [*others, *to])
    return len(ids)


def left_alone(session: Session, labeler: str) -> int:
    """How many tasks that still need labels are for this person and for nobody else."""
    given, other = DeskAssignmentRow, aliased(DeskAssignmentRow)
    others = select(other.seq).where(other.task_id == given.task_id, other.labeler != labeler)
    query = select(func.count()).select_from(given).join(DeskTaskRow, DeskTaskRow.id == given.task_id)
    query = query.where(given.labeler == labeler, DeskTaskRow.closed.is_(False), ~others.exists())
    return session.scalar(query) or 0


def decided_by(session: Session, labeler: str) -> int:
    """How many tasks this person alone has decided."""
    said, other = DeskLabelRow, aliased(DeskLabelRow)
    others = select(other.seq).where(
        other.task_id == said.task_id, other.labeler != labeler, other.adjudicated.is_(True)
    )
    query = select(func.count(func.distinct(said.task_id))).where(said.labeler == labeler, said.adjudicated.is_(True))
    return session.scalar(query.where(~others.exists())) or 0


def reopen(session: Session) -> None:
    """Tasks whose decision is gone wait for labels again."""
    decided = select(DeskLabelRow.seq).where(DeskLabelRow.task_id == DeskTaskRow.id, DeskLabelRow.adjudicated.is_(True))
    session.execute(update(DeskTaskRow).where(DeskTaskRow.closed.is_(True), ~decided.exists()).values(closed=False))


def _exists(task_id: str) -> Any:
    return select(DeskTaskRow.seq).where(DeskTaskRow.id == task_id)


def row_of(session: Session, task_id: str) -> DeskTaskRow:
    row = session.scalar(select(DeskTaskRow).where(DeskTaskRow.id == task_id))
    if row is None:
        raise NotFound(f"no task {task_id!r}")
    return row


def by_objective(objective: str | None) -> ColumnElement[bool]:
    """Condition: labels that count where rankings are by this objective."""
    return true() if objective is None else or_(DeskLabelRow.objective == objective, DeskLabelRow.ranking.is_(None))


def _done(asker: Asker) -> Any:
    """How many others have labeled the task."""
    return (
        select(func.count(func.distinct(DeskLabelRow.labeler)))
        .where(
            DeskLabelRow.task_id == DeskTaskRow.id,
            DeskLabelRow.said != SKIP,
            DeskLabelRow.adjudicated.is_(False),
            DeskLabelRow.labeler != asker.labeler,
            by_objective(asker.objective),
        )
        .scalar_subquery()
    )


def _held(asker: Asker) -> Any:
    """How many others have the task in hand."""
    return (
        select(func.count())
        .select_from(DeskLeaseRow)
        .where(
            DeskLeaseRow.task_id == DeskTaskRow.id,
            DeskLeaseRow.labeler != asker.labeler,
            DeskLeaseRow.expires > asker.time,
            DeskLeaseRow.expires <= asker.time + 2 * asker.lease,  # else the clock was ahead, and was set right
        )
        .scalar_subquery()
    )


def _room(asker: Asker) -> ColumnElement[bool]:
    """Condition: the task lacks a labeler. Gold items never do."""
    needed = case((DeskTaskRow.needed > 0, DeskTaskRow.needed), else_=max(1, asker.overlap))
    return or_(DeskTaskRow.gold.is_not(null()), _done(asker) + _held(asker) < needed)


def _for(asker: Asker) -> ColumnElement[bool]:
    """Condition: the task is for all, or for this person."""
    whose = select(DeskAssignmentRow.seq).where(DeskAssignmentRow.task_id == DeskTaskRow.id)
    return or_(~whose.exists(), whose.where(DeskAssignmentRow.labeler == asker.labeler).exists())


def _open(asker: Asker) -> ColumnElement[bool]:
    """Condition: the task waits for this person."""
    mine = select(DeskLabelRow.seq).where(
        DeskLabelRow.task_id == DeskTaskRow.id,
        DeskLabelRow.labeler == asker.labeler,
        DeskLabelRow.adjudicated.is_(False),
        or_(by_objective(asker.objective), DeskLabelRow.said == SKIP),
    )
    here = true() if asker.round is None else or_(DeskTaskRow.kind != RANKING, DeskTaskRow.round == asker.round)
    return and_(DeskTaskRow.closed.is_(False), ~mine.exists(), here, _for(asker), _room(asker))


def take(session: Session, asker: Asker, kind: str) -> DeskTaskRow | None:
    """The person's next task of this kind, leased to them. Asked again without an answer, it is the same.

    First what they have in hand; then a gold item where one is due; then what is assigned to them, what the reward
    model is most unsure of, what others have begun, and the order in which tasks were added.
    """
    expect(kind in KINDS, f"kind: expected one of {', '.join(KINDS)}")
    own = select(DeskLeaseRow.seq).where(DeskLeaseRow.task_id == DeskTaskRow.id, DeskLeaseRow.labeler == asker.labeler)
    given = select(DeskAssignmentRow.seq).where(DeskAssignmentRow.task_id == DeskTaskRow.id)
    gold = DeskTaskRow.gold.is_not(null())
    due = _gold_due(session, asker.labeler, kind)
    first = (case((own.exists(), 0), else_=1), case((gold, 0), else_=1), case((given.exists(), 0), else_=1))
    query = (
        select(DeskTaskRow)
        .where(DeskTaskRow.kind == kind, _open(asker), or_(own.exists(), true() if due else ~gold))
        .order_by(*first, func.coalesce(DeskTaskRow.unsure, -1.0).desc(), _done(asker).desc(), DeskTaskRow.seq)
        .limit(1)
    )
    row = session.scalar(query)
    if row is not None:
        _lease(session, row.id, asker)
    return row


def _gold_due(session: Session, labeler: str, kind: str) -> bool:
    """Whether the next task is to be one whose answer is known. Not the first: labelers learn the queue first."""
    query = (
        select(func.count(func.distinct(DeskLabelRow.task_id)))
        .join(DeskTaskRow, DeskTaskRow.id == DeskLabelRow.task_id)
        .where(DeskLabelRow.labeler == labeler, DeskTaskRow.kind == kind, DeskLabelRow.said != SKIP)
    )
    gold = DeskTaskRow.gold.is_not(null())
    labels, golden = session.scalar(query.where(~gold)) or 0, session.scalar(query.where(gold)) or 0
    return int(labels) >= GOLD_FIRST + GOLD_EVERY * int(golden)


def _lease_of(session: Session, task_id: str, labeler: str) -> DeskLeaseRow | None:
    query = select(DeskLeaseRow).where(DeskLeaseRow.task_id == task_id, DeskLeaseRow.labeler == labeler)
    return session.scalar(query)


def _lease(session: Session, task_id: str, asker: Asker) -> dt.datetime:
    held = _lease_of(session, task_id, asker.labeler)
    expires = asker.time + asker.lease
    if held is None:
        session.add(DeskLeaseRow(task_id=task_id, labeler=asker.labeler, expires=expires))
    else:
        held.expires = expires
    session.flush()
    return expires


def renew(session: Session, task_id: str, asker: Asker) -> dt.datetime:
    """Hold the task longer. Outdated where it had gone to somebody else meanwhile; a label is still taken then."""
    check_mine(session, task_id, asker.labeler)
    held = _lease_of(session, task_id, asker.labeler)
    if held is not None and held.expires > asker.time:
        return _lease(session, task_id, asker)
    labeled = select(DeskLabelRow.seq).where(DeskLabelRow.task_id == task_id, DeskLabelRow.labeler == asker.labeler)
    room = session.scalar(select(DeskTaskRow.seq).where(DeskTaskRow.id == task_id, _room(asker)))
    if room is None and session.scalar(labeled.limit(1)) is None:
        raise Outdated(f"task {task_id} went to somebody else meanwhile; what you submit is kept all the same")
    return _lease(session, task_id, asker)


def release(session: Session, task_id: str, labeler: str) -> None:
    """Give the task back, with what was begun on it."""
    for table in (DeskLeaseRow, DeskDraftRow):
        session.execute(delete(table).where(table.task_id == task_id, table.labeler == labeler))


def hold(session: Session, task_id: str, labeler: str) -> None:
    """Give the task to somebody for the moment of a label."""
    if _lease_of(session, task_id, labeler) is None:
        session.add(DeskLeaseRow(task_id=task_id, labeler=labeler, expires=utc_now()))
        session.flush()


def check_mine(session: Session, task_id: str, labeler: str) -> DeskTaskRow:
    """The task, where this person has or had it in hand or has labeled it; NotYours otherwise."""
    row = row_of(session, task_id)
    labels = select(DeskLabelRow.seq).where(DeskLabelRow.task_id == task_id, DeskLabelRow.labeler == labeler).limit(1)
    if _lease_of(session, task_id, labeler) is None and session.scalar(labels) is None:
        raise NotYours(f"task {task_id} is not in your hands; expected one that the desk gave you")
    return row


def keep_draft(session: Session, task_id: str, labeler: str, value: Mapping[str, Any]) -> None:
    """Keep unfinished work; an empty one is thrown away."""
    check_mine(session, task_id, labeler)
    where = (DeskDraftRow.task_id == task_id, DeskDraftRow.labeler == labeler)
    old = session.scalar(select(DeskDraftRow).where(*where))
    if not value:
        session.execute(delete(DeskDraftRow).where(*where))
    elif old is None:
        session.add(DeskDraftRow(task_id=task_id, labeler=labeler, value=dict(value), updated=utc_now()))
    else:
        old.value, old.updated = dict(value), utc_now()


def drafts(session: Session, labeler: str) -> list[tuple[DeskTaskRow, DeskDraftRow]]:
    """A person's unfinished work, the latest first."""
    query = select(DeskTaskRow, DeskDraftRow).join(DeskDraftRow, DeskDraftRow.task_id == DeskTaskRow.id)
    query = query.where(DeskDraftRow.labeler == labeler, DeskTaskRow.closed.is_(False))
    return [(task, draft) for task, draft in session.execute(query.order_by(DeskDraftRow.updated.desc()))]


def waiting(session: Session, asker: Asker) -> dict[str, dict[str, int]]:
    """{kind: {tasks, waiting}}: how many there are, and how many wait for this person. Gold items are not counted."""
    plain = DeskTaskRow.gold.is_(null())
    here = true() if asker.round is None else or_(DeskTaskRow.kind != RANKING, DeskTaskRow.round == asker.round)
    every = select(DeskTaskRow.kind, func.count()).where(plain, here).group_by(DeskTaskRow.kind)
    tasks = {str(kind): int(n) for kind, n in session.execute(every)}
    left = {str(kind): int(n) for kind, n in session.execute(every.where(_open(asker)))}
    return {kind: {"tasks": tasks.get(kind, 0), "waiting": left.get(kind, 0)} for kind in KINDS}
