"""Chats get settings, folders and pins; links that share them; answers side by side, whose votes are ranking tasks.

Such a task belongs to its chat: it goes with it, and is not offered to other people.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("settings", sa.JSON(), nullable=True))
    op.add_column("conversations", sa.Column("folder", sa.String(100), nullable=False, server_default=""))
    op.add_column("conversations", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    # without a foreign key, which SQLite adds to no table that is there; `chats.remove` deletes them
    op.add_column("ranking_tasks", sa.Column("conversation_id", sa.String(32), nullable=True))
    op.create_index("ix_ranking_tasks_conversation_id", "ranking_tasks", ["conversation_id"])
    op.create_table(
        "shares",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("conversation_id", sa.String(32), nullable=False),
        sa.Column("last_id", sa.String(32), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_shares"),
        sa.UniqueConstraint("token", name="uq_shares_token"),
        _owned("shares", "conversation_id", "conversations.id"),
        _owned("shares", "last_id", "messages.id"),
    )
    op.create_index("ix_shares_conversation_id", "shares", ["conversation_id"])
    op.create_table(
        "duels",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("conversation_id", sa.String(32), nullable=False),
        sa.Column("question_id", sa.String(32), nullable=False),
        sa.Column("left_id", sa.String(32), nullable=False),
        sa.Column("right_id", sa.String(32), nullable=False),
        sa.Column("left_model", sa.String(200), nullable=False),
        sa.Column("right_model", sa.String(200), nullable=False),
        sa.Column("choice", sa.String(8), nullable=False),
        sa.Column("task_id", sa.String(32), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_duels"),
        sa.UniqueConstraint("question_id", name="uq_duels_question_id"),
        _owned("duels", "conversation_id", "conversations.id"),
        _owned("duels", "question_id", "messages.id"),
        _owned("duels", "task_id", "ranking_tasks.id", "SET NULL"),
    )
    op.create_index("ix_duels_conversation_id", "duels", ["conversation_id"])


def _owned(table: str, column: str, of: str, then: str = "CASCADE") -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{of.split('.')[0]}"
    return sa.ForeignKeyConstraint([column], [of], name=name, ondelete=then)


def downgrade() -> None:
    op.drop_table("duels")
    op.drop_table("shares")
    op.drop_index("ix_ranking_tasks_conversation_id", "ranking_tasks")
    op.drop_column("ranking_tasks", "conversation_id")
    for column in ("pinned", "folder", "settings"):
        op.drop_column("conversations", column)
