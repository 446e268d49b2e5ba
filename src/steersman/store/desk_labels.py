"""Labels given at the desk: adding and reading them, managers' decisions, and which of them are used for training.

Of one person's labels of a task the last counts. A manager's decision (`adjudicated`) counts in place of everybody's,
and names those that it overrules. Labels of gold items measure labelers and are never used for training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, null, select
from sqlalchemy.orm import Session

from steersman.store import ranking_tasks
from steersman.store.desk_tasks import (
    BAD_PROMPT,
    LABEL,
    SKIP,
    NewTask,
    add_tasks,
    by_objective,
    check_mine,
    hold,
    id_of,
    row_of,
)
from steersman.store.desk_values import (
    CHANGED,
    EDIT,
    FLAG,
    OF_ANSWERS,
    RANKING,
    SUGGESTED,
    VOTE,
    clean_content,
    clean_value,
    to_messages,
)
from steersman.store.ranking_tasks import RankingSubmission, RankingTask
from steersman.store.refusals import StoreError, clean_text, expect
from steersman.store.schema import RankingRow, SkipRow, iso, utc_now
from steersman.store.schema_desk import DeskDraftRow, DeskGuidelinesRow, DeskLabelRow, DeskLeaseRow, DeskTaskRow
from steersman.types import Conversation, Feedback, Message

_PAGE = 500
COMMENT_LIMIT = 4000
Flagged = tuple[NewTask, Sequence[str]]
"""An answer as a task of the queue "find problems", and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DeskLabel:
    """One label. A ranking's `value` is {ranks | grades, all_bad} in stored order."""

    id: str
    task: str
    kind: str
    labeler: str
    said: str
    value: Mapping[str, Any] | None
    comment: str
    guidelines: str
    seconds: float | None
    created: str
    adjudicated: bool
    objective: str = ""


@dataclass(frozen=True)
class Submission:
    """A person's answer to a task, before it is stored."""

    labeler: str
    said: str = LABEL
    value: Mapping[str, Any] | None = None
    comment: str = ""
    guidelines: str = ""
    seconds: float | None = None
    adjudicated: bool = False
    flags: Sequence[Flagged] = ()
    """Problems of a ranking's single answers, kept with it or not at all."""


def answer_of(task: RankingTask, at: int) -> NewTask:
    """An answer of a ranking as a task of the queue "find problems". StoreError where it can be none."""
    turns = [{"role": turn.role, "content": turn.text} for turn in task.prompt.messages]
    content = {"messages": turns, "answer": task.answers[at], "policy_version": task.policy_versions[at]}
    return NewTask(FLAG, clean_content(FLAG, content))


def flags_of(session: Session, task: RankingTask, labeler: str) -> dict[str, list[str]]:
    """What the labeler says is wrong with single answers of a ranking, by the answers' keys."""
    found: dict[str, list[str]] = {}
    for i, key in enumerate(task.keys):
        with contextlib.suppress(StoreError):
            said = latest(session, id_of(FLAG, answer_of(task, i).content), labeler, None)
            if said is not None and said.value and said.value["flags"]:
                found[key] = list(said.value["flags"])
    return found


def add_flags(session: Session, ranking: str, labeler: str, flags: Sequence[Flagged], guidelines: str = "") -> None:
    """Label single answers of a ranking task as the queue "find problems" would; no flags take back what the labeler
    said before. Of a gold ranking none is kept: its answers measure labelers and are never learned."""
    gold = select(DeskTaskRow.seq).where(DeskTaskRow.id == ranking, DeskTaskRow.gold.is_not(null()))
    if not flags or session.scalar(gold) is not None:
        return
    for answer, said in flags:
        id_ = id_of(FLAG, answer.content)
        if not said and latest(session, id_, labeler, None) is None:
            continue
        add_tasks(session, [answer])
        hold(session, id_, labeler)
        submit(session, id_, Submission(labeler, value={"flags": said}, guidelines=guidelines), "")


def submit(session: Session, task_id: str, what: Submission, objective: str) -> DeskLabel:
    """Add a label and release the task. Raises NotYours where the task was not given to the labeler (managers
    excepted)."""
    expect(what.said in (LABEL, BAD_PROMPT, SKIP), f"said: expected {LABEL}, {BAD_PROMPT} or {SKIP}")
    expect(not (what.adjudicated and what.said == SKIP), "said: expected a decision, not a skip")
    comment = clean_text(what.comment, "comment", limit=COMMENT_LIMIT, empty=True)
    known = select(DeskGuidelinesRow.seq).where(DeskGuidelinesRow.hash == what.guidelines)
    expect(not what.guidelines or session.scalar(known) is not None, "guidelines: expected the hash of a known version")
    task = row_of(session, task_id) if what.adjudicated else check_mine(session, task_id, what.labeler)
    if task.kind == RANKING and what.said == LABEL:
        row = _rank(session, task, what, objective, comment)
    else:
        value = clean_value(task.kind, what.value) if what.said == LABEL else None
        row = DeskLabelRow(
            task_id=task_id,
            labeler=what.labeler,
            said=what.said,
            value=value,
            objective="",
            comment=comment,
            guidelines=what.guidelines,
            seconds=what.seconds,
            adjudicated=what.adjudicated,
            created=utc_now(),
        )
        session.add(row)
        if task.kind == RANKING and not what.adjudicated:  # so that the ranking page does not ask again
            session.add(SkipRow(task_id=task_id, labeler=what.labeler, reason=comment, created=utc_now()))
    for table in (DeskLeaseRow, DeskDraftRow):
        session.execute(delete(table).where(table.task_id == task_id, table.labeler == what.labeler))
    task.closed = task.closed or what.adjudicated
    session.flush()
    add_flags(session, task_id, what.labeler, what.flags, what.guidelines)
    return _read(session, [(task, row)])[0]


def _rank(session: Session, task: DeskTaskRow, what: Submission, objective: str, comment: str) -> DeskLabelRow:
    value = what.value or {}
    said = RankingSubmission(
        what.labeler,
        value.get("ranks"),
        value.get("grades"),
        bool(value.get("all_bad")),
        seconds=what.seconds,
        objective=objective,
        note=ranking_tasks.Note(comment, what.guidelines, what.adjudicated),
    )
    ranking_tasks.add_ranking(session, task.id, said)
    row = session.scalar(select(DeskLabelRow).where(DeskLabelRow.task_id == task.id).order_by(DeskLabelRow.seq.desc()))
    assert row is not None
    return row


def _read(session: Session, rows: Sequence[tuple[DeskTaskRow, DeskLabelRow]]) -> list[DeskLabel]:
    numbers = [row.ranking for _, row in rows if row.ranking is not None]
    rankings: dict[int, RankingRow] = {}
    for start in range(0, len(numbers), _PAGE):
        query = select(RankingRow).where(RankingRow.seq.in_(numbers[start : start + _PAGE]))
        rankings |= {one.seq: one for one in session.scalars(query)}
    return [_to_label(task, row, rankings.get(row.ranking or 0)) for task, row in rows]


def _to_label(task: DeskTaskRow, row: DeskLabelRow, ranking: RankingRow | None) -> DeskLabel:
    value = row.value
    if ranking is not None:
        value = {"ranks": ranking.ranks, "grades": ranking.grades, "all_bad": ranking.all_bad}
    return DeskLabel(
        f"{row.task_id}-{row.seq if ranking is None else ranking.seq}",
        row.task_id,
        task.kind,
        row.labeler,
        row.said,
        value,
        row.comment,
        row.guidelines,
        row.seconds,
        iso(row.created),
        row.adjudicated,
        row.objective,
    )


def labels(
    session: Session, *, labeler: str | None = None, tasks: Collection[str] = (), kinds: Collection[str] = ()
) -> list[DeskLabel]:
    """The labels that count, in the order in which they were given: of a person, of these tasks, or all."""
    query = select(DeskTaskRow, DeskLabelRow).join(DeskLabelRow, DeskLabelRow.task_id == DeskTaskRow.id)
    if labeler is not None:
        query = query.where(DeskLabelRow.labeler == labeler, DeskLabelRow.adjudicated.is_(False))
    if tasks:
        query = query.where(DeskTaskRow.id.in_(tasks))
    if kinds:
        query = query.where(DeskTaskRow.kind.in_(kinds))
    last: dict[tuple[object, ...], tuple[DeskTaskRow, DeskLabelRow]] = {}
    for task, row in session.execute(query.order_by(DeskLabelRow.seq)):
        last.pop(key := (row.task_id, row.labeler, row.adjudicated, row.objective), None)
        last[key] = (task, row)
    return _read(session, list(last.values()))


def latest(session: Session, task_id: str, labeler: str, objective: str | None) -> DeskLabel | None:
    """The person's own label of a task, which another of theirs would replace."""
    query = (
        select(DeskTaskRow, DeskLabelRow)
        .join(DeskLabelRow, DeskLabelRow.task_id == DeskTaskRow.id)
        .where(DeskTaskRow.id == task_id, DeskLabelRow.labeler == labeler, DeskLabelRow.adjudicated.is_(False))
        .where(by_objective(objective))
        .order_by(DeskLabelRow.seq.desc())
        .limit(1)
    )
    found = session.execute(query).first()
    return None if found is None else _read(session, [(found[0], found[1])])[0]


# What training gets


def _standing(session: Session, kinds: Collection[str], after: int) -> tuple[list[DeskTaskRow], list[DeskLabelRow]]:
    """A page of tasks, and the labels of them that count: the decision where there is one, else each person's last."""
    query = select(DeskTaskRow).where(DeskTaskRow.kind.in_(kinds), DeskTaskRow.gold.is_(null()))
    tasks = list(session.scalars(query.where(DeskTaskRow.seq > after).order_by(DeskTaskRow.seq).limit(_PAGE)))
    said: defaultdict[str, dict[str, DeskLabelRow]] = defaultdict(dict)
    decided: dict[str, DeskLabelRow] = {}
    of = select(DeskLabelRow).where(DeskLabelRow.task_id.in_([task.id for task in tasks]))
    for row in session.scalars(of.order_by(DeskLabelRow.seq)):
        if row.adjudicated:
            decided[row.task_id] = row
        else:
            said[row.task_id][row.labeler] = row
    rows = [[decided[t.id]] if t.id in decided else list(said[t.id].values()) for t in tasks]
    return tasks, [row for of_task in rows for row in of_task if row.said == LABEL]


def standing_page(
    session: Session, kinds: Collection[str], after: int
) -> tuple[list[tuple[DeskTaskRow, DeskLabelRow]], int | None]:
    """(tasks with a label that counts, where the next page begins; None at the end)."""
    tasks, rows = _standing(session, kinds, after)
    by_id = {task.id: task for task in tasks}
    return [(by_id[row.task_id], row) for row in rows], tasks[-1].seq if tasks else None


def to_feedback(task: DeskTaskRow, row: DeskLabelRow) -> Feedback | None:
    """A label of an answer as the feedback that a chat's user would have given; None for "nothing is wrong with it"."""
    content, value = task.content or {}, row.value or {}
    said = json.dumps(content["messages"], ensure_ascii=False, sort_keys=True)
    prompt = Conversation(f"desk-{hashlib.sha256(said.encode()).hexdigest()[:24]}", to_messages(content["messages"]))
    shared: dict[str, Any] = {"comment": row.comment, "user": row.labeler, "created": iso(row.created)}
    shared["policy_version"] = content.get("policy_version", "")
    id_, answer = f"{row.task_id}-{row.seq}", content["answer"]
    if task.kind == EDIT:
        return Feedback(id_, "edit", prompt, answer, value["text"], **shared)
    if task.kind == VOTE:
        return Feedback(id_, "like" if value["vote"] == "good" else "dislike", prompt, answer, **shared)
    assert task.kind == FLAG
    flags = tuple(value["flags"])
    return Feedback(id_, "flag", prompt, answer, flags=flags, **shared) if flags else None


def to_demonstration(task: DeskTaskRow, row: DeskLabelRow) -> Conversation:
    """A written dialogue. `meta` says which of the assistant's turns the model suggested, and by which version."""
    turns = (row.value or {})["messages"]
    origins = [turn["origin"] for turn in turns if turn["role"] == "assistant"]
    meta: dict[str, Any] = {"source": "desk", "origins": origins, "guidelines": row.guidelines[:12]}
    versions = sorted({turn["policy_version"] for turn in turns if turn.get("policy_version")})
    meta |= {"suggested_by": versions} if versions else {}
    messages = tuple(Message(turn["role"], turn["content"]) for turn in turns)
    return Conversation(f"desk-{row.task_id}-{row.seq}", messages, meta)


def feedback_kinds(kinds: Iterable[str]) -> list[str]:
    """Kinds of desk tasks whose labels become feedback of these kinds."""
    gives = {EDIT: ("edit",), FLAG: ("flag",), VOTE: ("like", "dislike")}
    wanted = set(kinds)
    return [kind for kind in OF_ANSWERS if wanted & set(gives[kind])]


def origin_of(text: str, suggested: Mapping[str, str], claimed: str) -> tuple[str, str]:
    """(who wrote a turn, the model version that suggested it). The stored suggestions decide; that a person changed one
    is believed."""
    if text.strip() in suggested:
        return SUGGESTED, suggested[text.strip()]
    if claimed in (SUGGESTED, CHANGED) and suggested:
        return CHANGED, list(suggested.values())[-1]
    return "written", ""


def with_origins(value: Mapping[str, Any], suggested: Mapping[str, str]) -> dict[str, Any]:
    """A demonstration's value with the origin of each of the assistant's turns set."""
    given, messages = value.get("messages"), list[dict[str, Any]]()
    if not isinstance(given, list | tuple):
        return dict(value)  # which is refused with the rest of what is no demonstration
    for turn in given:
        if isinstance(turn, Mapping) and turn.get("role") == "assistant" and isinstance(turn.get("content"), str):
            origin, version = origin_of(turn["content"], suggested, str(turn.get("origin", "")))
            turn = {**turn, "origin": origin, "policy_version": version}
        messages.append(dict(turn) if isinstance(turn, Mapping) else turn)
    return {**value, "messages": messages}


# Records, to find and forget


def records(session: Session, by: str | None, ids: Collection[str]) -> Iterator[str]:
    """Ids of labels that may be used for training, rankings excepted."""
    query = (
        select(DeskLabelRow.task_id, DeskLabelRow.seq)
        .join(DeskTaskRow, DeskTaskRow.id == DeskLabelRow.task_id)
        .where(DeskLabelRow.said == LABEL, DeskLabelRow.ranking.is_(None), DeskTaskRow.gold.is_(null()))
        .order_by(DeskLabelRow.seq)
    )
    query = query if by is None else query.where(DeskLabelRow.labeler == by)
    wanted = set(ids)
    for task, seq in session.execute(query):
        if not wanted or task in wanted or f"{task}-{seq}" in wanted:
            yield f"{task}-{seq}"


def labeler_of(session: Session, task_id: str, seq: int) -> str | None:
    """The labeler of a label that is not a ranking; None where there is none."""
    mine = (DeskLabelRow.task_id == task_id, DeskLabelRow.seq == seq, DeskLabelRow.ranking.is_(None))
    return session.scalar(select(DeskLabelRow.labeler).where(*mine))


def erase(session: Session, task_id: str, seq: int) -> int:
    """Delete a label with what the same person said before of the same task; returns how many rows."""
    query = select(DeskLabelRow).where(DeskLabelRow.task_id == task_id, DeskLabelRow.seq == seq)
    row = session.scalar(query.where(DeskLabelRow.ranking.is_(None)))
    if row is None:
        return 0
    every = (
        DeskLabelRow.task_id == task_id,
        DeskLabelRow.labeler == row.labeler,
        DeskLabelRow.adjudicated == row.adjudicated,
        DeskLabelRow.seq <= seq,
    )
    return int(session.execute(delete(DeskLabelRow).where(*every)).rowcount)  # type: ignore[attr-defined]
