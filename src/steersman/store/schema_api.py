"""The tables of the API. A change here needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from steersman.store.schema import Base


class ResponseRow(Base):
    """A response of `/v1/responses` that may be asked for again, kept for 30 days."""

    __tablename__ = "responses"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(String(32), index=True)
    """Person.id, '' without accounts."""
    previous: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    items: Mapped[list[Any]]
    created: Mapped[dt.datetime] = mapped_column(index=True)
