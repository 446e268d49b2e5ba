"""What the desk says of ranking tasks to who reads rankings: which are gold, whose they are, what managers decided."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, null, select
from sqlalchemy.orm import Session

from steersman.store.schema import RankingRow, TaskRow
from steersman.store.schema_desk import DeskAssignmentRow, DeskLabelRow, DeskTaskRow


def is_gold() -> ColumnElement[bool]:
    """Condition: the task's right order is known. Such tasks belong to the desk alone; see `store.desk_tasks`."""
    return select(DeskTaskRow.seq).where(DeskTaskRow.id == TaskRow.id, DeskTaskRow.gold.is_not(null())).exists()


def is_of_others(labeler: str) -> ColumnElement[bool]:
    """Condition: the task was given to people of whom this is none."""
    given = select(DeskAssignmentRow.seq).where(DeskAssignmentRow.task_id == TaskRow.id)
    return and_(given.exists(), ~given.where(DeskAssignmentRow.labeler == labeler).exists())


def decisions(session: Session, ids: Sequence[str]) -> tuple[dict[str, dict[str, RankingRow]], set[str]]:
    """({task: {objective: the ranking that a manager decided on}}, tasks that one called bad)."""
    labels = select(DeskLabelRow).where(DeskLabelRow.task_id.in_(ids), DeskLabelRow.adjudicated.is_(True))
    decided: dict[str, dict[str, int]] = {}
    refused: set[str] = set()
    for row in session.scalars(labels.order_by(DeskLabelRow.seq)):
        if row.ranking is None:
            refused.add(row.task_id)
            decided.pop(row.task_id, None)
        else:
            refused.discard(row.task_id)
            decided.setdefault(row.task_id, {})[row.objective] = row.ranking
    numbers = [number for of in decided.values() for number in of.values()]
    rows = {row.seq: row for row in session.scalars(select(RankingRow).where(RankingRow.seq.in_(numbers)))}
    return {id_: {name: rows[n] for name, n in of.items()} for id_, of in decided.items()}, refused
