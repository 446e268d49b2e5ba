"""Run by Alembic (see `store.migrating.upgrade`), which hands over an open connection in a transaction."""

from __future__ import annotations

from alembic import context

from steersman.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a column; Alembic then copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
