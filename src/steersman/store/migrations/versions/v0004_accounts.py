"""Accounts: users, sessions, API keys, invitations, usage, audit log. Earlier chats belong to nobody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("conversations", sa.Column("owner", sa.String(32), nullable=False, server_default=""))
    op.create_index("ix_conversations_owner", "conversations", ["owner"])
    _create(
        "users",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("external", sa.String(400), nullable=True),
        sa.Column("created", _TIME, nullable=False),
        unique=("id", "name_key", "external"),
    )
    _create_credentials()
    _create_records()


def _create_credentials() -> None:
    _create(
        "sessions",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        unique=("digest",),
    )
    _create(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=True),
        sa.Column("used", _TIME, nullable=True),
        sa.Column("revoked", _TIME, nullable=True),
        unique=("id", "prefix"),
    )
    _create(
        "invitations",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=True),
        sa.Column("invited_by", sa.String(32), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        unique=("id", "digest"),
    )


def _create_records() -> None:
    _create(
        "sign_in_failures",
        sa.Column("name_digest", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("created", _TIME, nullable=False),
    )
    for column in ("name_digest", "address", "created"):
        op.create_index(f"ix_sign_in_failures_{column}", "sign_in_failures", [column])
    _create(
        "usage",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.UniqueConstraint("user_id", "day", name="uq_usage_user_id_day"),
    )
    _create(
        "audit",
        sa.Column("at", _TIME, nullable=False),
        sa.Column("who", sa.String(32), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("about", sa.String(200), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
    )
    op.create_index("ix_audit_who", "audit", ["who"])


def _create(table: str, *columns: sa.Column[object] | sa.Constraint, unique: tuple[str, ...] = ()) -> None:
    """A table with a number of its own, unique columns, and the user's rows going with the user."""
    owned = any(isinstance(column, sa.Column) and column.name == "user_id" for column in columns)
    constraints: list[sa.Constraint] = [sa.PrimaryKeyConstraint("seq", name=f"pk_{table}")]
    constraints += [sa.UniqueConstraint(column, name=f"uq_{table}_{column}") for column in unique]
    if owned:
        key = f"fk_{table}_user_id"
        constraints.append(sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=key, ondelete="CASCADE"))
    op.create_table(table, sa.Column("seq", sa.Integer(), nullable=False), *columns, *constraints)
    if owned:
        op.create_index(f"ix_{table}_user_id", table, ["user_id"])


def downgrade() -> None:
    for table in ("audit", "usage", "sign_in_failures", "invitations", "api_keys", "sessions", "users"):
        op.drop_table(table)
    op.drop_index("ix_conversations_owner", "conversations")
    op.drop_column("conversations", "owner")
