"""Ranking tasks and people's rankings: queries on an open session."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, insert, or_, select, true
from sqlalchemy.orm import Session

from steersman.store.desk_decisions import decisions, is_gold, is_of_others
from steersman.store.desk_tasks import SKIP, ranking_row
from steersman.store.refusals import NotFound, NotYours, StoreError, clean_text, expect
from steersman.store.schema import RankingRow, SkipRow, TaskRow, iso, utc_now
from steersman.store.schema_desk import DeskLabelRow, DeskTaskRow
from steersman.types import GRADES, Candidates, Conversation, Grade, Ranking, to_objective

LABELER_LIMIT = 100
OBJECTIVE_LIMIT = 100
_PAGE = 500
"""Rows per query; stays below every database's limit on parameters."""


@dataclass(frozen=True, slots=True)
class RankingTask:
    """One prompt and its K answers.

    `answers` is in stored order, which is what ranks and grades refer to. `keys[i]` is an opaque name of `answers[i]`
    for one labeler, and `presented` is the order in which that labeler sees the answers: random between tasks and
    labelers, the same at each reload, and without a hint of the stored order. Both are empty where no labeler asked.
    """

    id: str
    round: int
    prompt: Conversation
    answers: tuple[str, ...]
    policy_versions: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    keys: tuple[str, ...] = ()

    @property
    def presented(self) -> tuple[tuple[str, str], ...]:
        """Pairs (key, answer) in the order in which the labeler sees them."""
        return tuple(sorted(zip(self.keys, self.answers, strict=True))) if self.keys else ()

    @property
    def order(self) -> tuple[int, ...]:
        """Indices into `answers` in the order in which the labeler sees them."""
        return tuple(sorted(range(len(self.keys)), key=lambda i: self.keys[i]))


def _clean_labeler(labeler: object) -> str:
    return clean_text(labeler, "labeler", limit=LABELER_LIMIT).strip()


def clean_objective(objective: object) -> str:
    return to_objective(clean_text(objective, "objective", limit=OBJECTIVE_LIMIT, empty=True), "objective")


def _to_task(row: TaskRow, labeler: str | None = None) -> RankingTask:
    keys: tuple[str, ...] = ()
    if labeler is not None:
        # One hash gives name and order: sorted by key, the answers lie in a random order that needs no storing.
        seeds = (json.dumps([row.salt, labeler, i]) for i in range(len(row.answers)))
        keys = tuple(hashlib.sha256(seed.encode()).hexdigest()[:16] for seed in seeds)
    return RankingTask(
        row.id,
        row.round,
        Conversation.from_json(row.prompt, f"ranking task {row.id}"),
        tuple(answer["text"] for answer in row.answers),
        tuple(answer["policy_version"] for answer in row.answers),
        tuple(answer["finish_reason"] for answer in row.answers),
        keys,
    )


def task_values(round_: int, item: Candidates) -> dict[str, Any]:
    """A row for `ranking_tasks`; its id is a hash of round, prompt, answers and versions."""
    where = f"candidates {item.prompt.id!r}" if item.prompt.id else "candidates"
    expect(item.prompt.is_prompt, f"{where}: expected a prompt that ends with the user")
    expect(len(item.completions) >= 2, f"{where}: expected at least 2 answers, got {len(item.completions)}")
    answers = [
        {
            "text": clean_text(c.text, f"{where}: answer {i + 1}", empty=True),
            "finish_reason": c.finish_reason,
            "policy_version": c.policy_version,
        }
        for i, c in enumerate(item.completions)
    ]
    for message in item.prompt.messages:
        clean_text(message.text, f"{where}: {message.role}'s message", empty=True)
    said = [m.to_json() for m in item.prompt.messages]
    kept = [[a["text"], a["policy_version"]] for a in answers]
    identity = json.dumps([round_, said, kept], ensure_ascii=False, sort_keys=True)
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:24],
        "round": round_,
        "prompt": item.prompt.to_json(),
        "answers": answers,
        "sampling": dict(item.sampling),
        "salt": secrets.token_hex(8),
        "created": utc_now(),
    }


def add_tasks(session: Session, values: Sequence[dict[str, Any]]) -> int:
    """Insert the rows whose id is new; returns how many were."""
    fresh = {value["id"]: value for value in values}
    ids = list(fresh)
    for start in range(0, len(ids), _PAGE):
        known = session.scalars(select(TaskRow.id).where(TaskRow.id.in_(ids[start : start + _PAGE])))
        for id_ in known:
            del fresh[id_]
    if fresh:
        session.execute(insert(TaskRow), list(fresh.values()))
        # a comparison out of somebody's chat is nobody else's to make
        if rows := [ranking_row(value) for value in fresh.values() if not value.get("conversation_id")]:
            session.execute(insert(DeskTaskRow), rows)
    return len(fresh)


def get_task(session: Session, task_id: str, labeler: str | None = None) -> RankingTask:
    row = session.scalar(select(TaskRow).where(TaskRow.id == task_id))
    if row is None:
        raise NotFound(f"no ranking task {task_id!r}")
    return _to_task(row, None if labeler is None else _clean_labeler(labeler))


def check_for(session: Session, task_id: str, labeler: str) -> None:
    """NotYours where the task was given to others, or is a pair of answers in somebody's chat."""
    given = or_(TaskRow.conversation_id.is_not(None), is_of_others(_clean_labeler(labeler)))
    if session.scalar(select(TaskRow.seq).where(TaskRow.id == task_id, given)) is not None:
        raise NotYours(f"task {task_id} is not in your hands; expected one that the desk gave you")


def _by(objective: str | None) -> ColumnElement[bool]:
    """Condition: rankings by this objective; None: by any."""
    return true() if objective is None else RankingRow.objective == objective


def next_task(session: Session, labeler: str, round_: int | None, objective: str | None) -> RankingTask | None:
    """The task with the fewest rankings by people that `labeler` has neither ranked (by `objective`) nor skipped.

    Among equals, each labeler starts at another place of the list, so that several who begin together
    spread over the tasks instead of all ranking the first.
    """
    labeler = _clean_labeler(labeler)
    counted = select(
        RankingRow.task_id,
        func.count(func.distinct(case((RankingRow.simulated.is_(False), RankingRow.labeler)))).label("people"),
        func.count().label("total"),
    )
    rankings = counted.where(_by(objective)).group_by(RankingRow.task_id).subquery()
    mine = select(RankingRow.seq).where(RankingRow.task_id == TaskRow.id, RankingRow.labeler == labeler)
    bounds = select(func.min(TaskRow.seq), func.max(TaskRow.seq))
    first, last = session.execute(bounds if round_ is None else bounds.where(TaskRow.round == round_)).one()
    if first is None:
        return None
    start = first + int(hashlib.sha256(labeler.encode()).hexdigest(), 16) % (last - first + 1)
    query = (
        select(TaskRow)
        .outerjoin(rankings, rankings.c.task_id == TaskRow.id)
        .where(
            TaskRow.conversation_id.is_(None),
            ~mine.where(_by(objective)).exists(),
            ~select(SkipRow.seq).where(SkipRow.task_id == TaskRow.id, SkipRow.labeler == labeler).exists(),
            ~is_gold(),
            ~is_of_others(labeler),
        )
        .order_by(
            func.coalesce(rankings.c.people, 0),
            func.coalesce(rankings.c.total, 0),
            case((TaskRow.seq >= start, 0), else_=1),
            TaskRow.seq,
        )
        .limit(1)
    )
    if round_ is not None:
        query = query.where(TaskRow.round == round_)
    row = session.scalar(query)
    return None if row is None else _to_task(row, labeler)


def task_page(session: Session, round_: int | None, after: int, not_ranked_by: str | None) -> list[TaskRow]:
    """The next tasks in the order in which they were added, after the one with `seq == after`."""
    query = select(TaskRow).where(TaskRow.seq > after, ~is_gold()).order_by(TaskRow.seq).limit(_PAGE)
    if round_ is not None:
        query = query.where(TaskRow.round == round_)
    if not_ranked_by is not None:
        by = select(RankingRow.seq).where(RankingRow.task_id == TaskRow.id, RankingRow.labeler == not_ranked_by)
        query = query.where(~by.exists(), TaskRow.conversation_id.is_(None))
    return list(session.scalars(query))


def _clean_ranks(ranks: Sequence[int], k: int) -> list[int]:
    good = isinstance(ranks, (list, tuple)) and len(ranks) == k
    good = good and all(isinstance(r, int) and not isinstance(r, bool) and 1 <= r <= k for r in ranks)
    expect(good, f"ranks: expected {k} integers from 1 (best) to {k}, one per answer, got {ranks!r}"[:300])
    return list(ranks)


def _clean_grades(grades: Sequence[Grade], k: int) -> list[Grade]:
    good = isinstance(grades, (list, tuple)) and len(grades) == k and all(g in GRADES for g in grades)
    expect(good, f"grades: expected {k} of {', '.join(GRADES)}, one per answer, got {grades!r}"[:300])
    return list(grades)


@dataclass(frozen=True, slots=True)
class Note:
    """What the desk keeps with a ranking: see `store.schema_desk.DeskLabelRow`."""

    comment: str = ""
    guidelines: str = ""
    adjudicated: bool = False


@dataclass(frozen=True)
class RankingSubmission:
    """A labeler's judgement of a task: ranks or grades, or that all answers are bad."""

    labeler: str
    ranks: Sequence[int] | None = None
    grades: Sequence[Grade] | None = None
    all_bad: bool = False
    simulated: bool = False
    seconds: float | None = None
    objective: str = ""
    note: Note = Note()


def add_ranking(session: Session, task_id: str, said: RankingSubmission) -> Ranking:
    """Append one submission. "All bad" may be said without an order; otherwise one of ranks and grades is needed."""
    task = session.scalar(select(TaskRow).where(TaskRow.id == task_id))
    if task is None:
        raise NotFound(f"no ranking task {task_id!r}")
    ordered = (said.ranks is not None) + (said.grades is not None)
    expect(ordered < 2, "ranking: expected either ranks or grades, got both")
    expect(said.all_bad or ordered == 1, "ranking: expected ranks, grades or all_bad, got none")
    if said.seconds is not None:
        good = isinstance(said.seconds, (int, float)) and math.isfinite(said.seconds) and said.seconds >= 0
        expect(good, f"seconds: expected a number of at least 0, got {said.seconds!r}")
    row = RankingRow(
        task_id=task_id,
        labeler=_clean_labeler(said.labeler),
        simulated=bool(said.simulated),
        ranks=None if said.ranks is None else _clean_ranks(said.ranks, len(task.answers)),
        grades=None if said.grades is None else _clean_grades(said.grades, len(task.answers)),
        all_bad=bool(said.all_bad),
        seconds=said.seconds,
        created=utc_now(),
        objective=said.objective,
    )
    session.add(row)
    session.flush()
    if not said.simulated and task.conversation_id is None:
        _add_label(session, row, said.note)
    return _to_ranking(task, row)


def take_back(session: Session, task_id: str, but: str = "") -> None:
    """A chat's comparison: what people said of it no longer counts, that of `but` excepted."""
    latest = select(func.max(RankingRow.seq)).where(RankingRow.task_id == task_id)
    latest = latest.group_by(RankingRow.labeler, RankingRow.objective)
    for row in list(session.scalars(select(RankingRow).where(RankingRow.seq.in_(latest), RankingRow.labeler != but))):
        of = {"task_id": task_id, "labeler": row.labeler, "objective": row.objective, "simulated": row.simulated}
        session.add(RankingRow(**of, ranks=None, grades=None, all_bad=False, seconds=None, created=utc_now()))


def says_something(row: RankingRow) -> bool:
    """Whether the row is a ranking; else it takes the one before it back."""
    return row.ranks is not None or row.grades is not None or row.all_bad


def _add_label(session: Session, row: RankingRow, note: Note) -> None:
    session.add(
        DeskLabelRow(
            task_id=row.task_id,
            labeler=row.labeler,
            said="label",
            ranking=row.seq,
            objective=row.objective,
            comment=note.comment,
            guidelines=note.guidelines,
            seconds=row.seconds,
            adjudicated=note.adjudicated,
            created=row.created,
        )
    )
    session.flush()


def add_skip(session: Session, task_id: str, labeler: str, reason: str) -> None:
    labeler = _clean_labeler(labeler)
    clean_text(reason, "reason", limit=2000, empty=True)
    if session.scalar(select(TaskRow.seq).where(TaskRow.id == task_id)) is None:
        raise NotFound(f"no ranking task {task_id!r}")
    session.add(SkipRow(task_id=task_id, labeler=labeler, reason=reason, created=utc_now()))
    label = {"said": SKIP, "objective": "", "comment": reason, "guidelines": "", "adjudicated": False}
    session.add(DeskLabelRow(task_id=task_id, labeler=labeler, created=utc_now(), **label))


def _to_ranking(task: TaskRow, row: RankingRow, overruled: tuple[str, ...] = ()) -> Ranking:
    grades: list[Any] | None = row.grades
    if row.ranks is None and grades is None:
        # "All bad" and nothing more: the row keeps it as said, a Ranking spells it out.
        grades = ["poor"] * len(task.answers)
    return Ranking(
        f"{row.task_id}-{row.seq}",
        Conversation.from_json(task.prompt, f"ranking task {task.id}"),
        tuple(answer["text"] for answer in task.answers),
        None if row.ranks is None else tuple(row.ranks),
        None if grades is None else tuple(grades),
        row.all_bad,
        row.labeler,
        row.simulated,
        iso(row.created),
        row.objective,
        overrules=overruled,
    )


def _latest(round_: int | None, simulated: bool | None) -> Select[Any]:
    """Row number of each labeler's last submission for each task and objective."""
    query = select(func.max(RankingRow.seq))
    if simulated is not None:
        query = query.where(RankingRow.simulated.is_(simulated))
    if round_ is not None:
        query = query.join(TaskRow, TaskRow.id == RankingRow.task_id).where(TaskRow.round == round_)
    decided = select(DeskLabelRow.ranking).where(DeskLabelRow.adjudicated.is_(True), DeskLabelRow.ranking.is_not(None))
    query = query.where(RankingRow.seq.not_in(decided))
    return query.group_by(RankingRow.task_id, RankingRow.labeler, RankingRow.simulated, RankingRow.objective)


def rankings_of(
    session: Session, tasks: Iterable[TaskRow], simulated: bool | None, every: bool = False
) -> Iterator[Ranking]:
    """The latest rankings of `tasks`, ordered by task, then people before judges, then labeler, then objective.

    A manager's decision stands in place of all others of the same objective and names them; with `every` it stands
    beside them.
    """
    by_id = {task.id: task for task in tasks}
    latest = _latest(None, simulated).where(RankingRow.task_id.in_(by_id))
    rows: dict[str, list[RankingRow]] = {}
    for row in filter(says_something, session.scalars(select(RankingRow).where(RankingRow.seq.in_(latest)))):
        rows.setdefault(row.task_id, []).append(row)
    decided, refused = decisions(session, list(by_id))
    for id_, task in by_id.items():
        said = sorted(rows.get(id_, ()), key=lambda r: (r.simulated, r.labeler, r.objective))
        made = decided.get(id_, {}) if simulated is not True else {}
        if every or not (made or id_ in refused):
            yield from (_to_ranking(task, row) for row in said)
        elif id_ not in refused:
            yield from (_to_ranking(task, row) for row in said if row.objective not in made)
        for objective, row in sorted(made.items()):
            overruled = tuple(f"{id_}-{r.seq}" for r in said if r.objective == objective)
            yield _to_ranking(task, row, overruled)


def progress(session: Session, round_: int | None, objective: str | None) -> dict[str, Any]:
    """{tasks, ranked: tasks that a person ranked, by_labeler: {person: tasks}, simulated: tasks that a judge ranked}"""

    def count(query: Select[Any]) -> int:
        query = query.where(TaskRow.conversation_id.is_(None), ~is_gold())
        return int(session.scalar(query if round_ is None else query.where(TaskRow.round == round_)) or 0)

    distinct = func.count(func.distinct(RankingRow.task_id))
    ranked = select(distinct).where(_by(objective)).join(TaskRow, TaskRow.id == RankingRow.task_id)
    mine = (
        select(RankingRow.labeler, distinct)
        .where(_by(objective))
        .join(TaskRow, TaskRow.id == RankingRow.task_id)
        .where(RankingRow.simulated.is_(False), ~is_gold())
        .group_by(RankingRow.labeler)
        .order_by(RankingRow.labeler)
    )
    mine = mine.where(TaskRow.conversation_id.is_(None))
    rows = session.execute(mine if round_ is None else mine.where(TaskRow.round == round_))
    return {
        "tasks": count(select(func.count()).select_from(TaskRow)),
        "ranked": count(ranked.where(RankingRow.simulated.is_(False))),
        "by_labeler": {str(name): int(number) for name, number in rows},
        "simulated": count(ranked.where(RankingRow.simulated.is_(True))),
    }


def to_round(round_: object) -> int:
    if not isinstance(round_, int) or isinstance(round_, bool) or round_ < 1:
        raise StoreError(f"round: expected an integer of at least 1, got {round_!r}")
    return round_


def to_tasks(rows: Iterable[TaskRow]) -> Iterator[RankingTask]:
    return (_to_task(row) for row in rows)
