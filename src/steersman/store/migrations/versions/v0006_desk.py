"""The labeling desk. Every ranking task becomes a task of the desk, every person's ranking and skip a label."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TABLES = ("assignments", "labels", "leases", "drafts", "suggestions", "reads", "guidelines", "tasks")


def upgrade() -> None:
    _create_tasks()
    _create_labels()
    _create_of_people()
    _create_guidelines()
    _fill()


def _create_tasks() -> None:
    op.create_table(
        "desk_tasks",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("gold", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("unsure", sa.Double(), nullable=True),
        sa.Column("scores", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_desk_tasks"),
        sa.UniqueConstraint("id", name="uq_desk_tasks_id"),
    )
    op.create_index("ix_desk_tasks_kind_round", "desk_tasks", ["kind", "round"])


def _create_labels() -> None:
    op.create_table(
        "desk_labels",
        *_of_task("desk_labels"),
        sa.Column("said", sa.String(16), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ranking", sa.Integer(), nullable=True),
        sa.Column("objective", sa.String(100), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("guidelines", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("adjudicated", sa.Boolean(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["ranking"], ["rankings.seq"], name="fk_desk_labels_ranking", ondelete="CASCADE"),
    )
    op.create_index("ix_desk_labels_task_id_labeler", "desk_labels", ["task_id", "labeler"])
    op.create_index("ix_desk_labels_labeler", "desk_labels", ["labeler"])
    op.create_index("ix_desk_labels_ranking", "desk_labels", ["ranking"])


def _create_of_people() -> None:
    """Who is given a task, has it, has begun it."""
    own: dict[str, tuple[sa.Column[object], ...]] = {
        "desk_assignments": (),
        "desk_leases": (sa.Column("expires", _TIME, nullable=False),),
        "desk_drafts": (
            sa.Column("value", sa.JSON(none_as_null=True), nullable=False),
            sa.Column("updated", _TIME, nullable=False),
        ),
    }
    for table, columns in own.items():
        unique = sa.UniqueConstraint("task_id", "labeler", name=f"uq_{table}_task_id_labeler")
        op.create_table(table, *_of_task(table), *columns, unique)
        op.create_index(f"ix_{table}_labeler", table, ["labeler"])
    op.create_table(
        "desk_suggestions",
        *_of_task("desk_suggestions"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.String(200), nullable=False),
        sa.Column("created", _TIME, nullable=False),
    )
    op.create_index("ix_desk_suggestions_task_id_labeler", "desk_suggestions", ["task_id", "labeler"])
    op.create_index("ix_desk_suggestions_labeler", "desk_suggestions", ["labeler"])


def _of_task(table: str) -> tuple[sa.Column[object] | sa.Constraint, ...]:
    return (
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(32), nullable=False),
        sa.Column("labeler", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["task_id"], ["desk_tasks.id"], name=f"fk_{table}_task_id", ondelete="CASCADE"),
    )


def _create_guidelines() -> None:
    op.create_table(
        "desk_guidelines",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_desk_guidelines"),
        sa.UniqueConstraint("hash", name="uq_desk_guidelines_hash"),
    )
    of = sa.ForeignKeyConstraint(
        ["guidelines"], ["desk_guidelines.hash"], name="fk_desk_reads_guidelines", ondelete="CASCADE"
    )
    op.create_table(
        "desk_reads",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("labeler", sa.String(100), nullable=False),
        sa.Column("guidelines", sa.String(64), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_desk_reads"),
        of,
        sa.UniqueConstraint("labeler", "guidelines", name="uq_desk_reads_labeler_guidelines"),
    )
    op.create_index("ix_desk_reads_labeler", "desk_reads", ["labeler"])


def _fill() -> None:
    op.execute(
        "INSERT INTO desk_tasks (id, kind, round, needed, closed, created) "
        "SELECT id, 'ranking', round, 0, false, created FROM ranking_tasks WHERE conversation_id IS NULL ORDER BY seq"
    )
    op.execute(
        "INSERT INTO desk_labels "
        "(task_id, labeler, said, ranking, objective, comment, guidelines, seconds, adjudicated, created) "
        "SELECT task_id, labeler, 'label', seq, objective, '', '', seconds, false, created FROM rankings "
        "WHERE NOT simulated AND task_id IN (SELECT id FROM desk_tasks) ORDER BY seq"
    )
    op.execute(
        "INSERT INTO desk_labels (task_id, labeler, said, objective, comment, guidelines, adjudicated, created) "
        "SELECT task_id, labeler, 'skip', '', reason, '', false, created FROM ranking_skips "
        "WHERE task_id IN (SELECT id FROM desk_tasks) ORDER BY seq"
    )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(f"desk_{table}")
