"""Rankings get an objective; earlier rankings compare overall."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rankings", sa.Column("objective", sa.String(100), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("rankings", "objective")
