"""The tables of accounts. Of passwords, sessions, keys and invitations digests alone are stored."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from steersman.store.schema import Base


def _of_user() -> Mapped[str]:
    return mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


USER_ID = re.compile(r"[0-9a-f]{32}")
"""A user's id; without accounts people are named as they like."""


class UserRow(Base):
    """A person who may sign in; one without a password has an invitation, or comes from the OIDC provider."""

    __tablename__ = "users"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    """The name as it is compared: names that differ in case or width alone are one."""
    role: Mapped[str] = mapped_column(String(16))
    password: Mapped[str | None] = mapped_column(Text)
    """argon2's hash, with its parameters and salt."""
    disabled: Mapped[bool]
    external: Mapped[str | None] = mapped_column(String(400), unique=True)
    """Issuer and subject of the OIDC provider."""
    created: Mapped[dt.datetime]


class SessionRow(Base):
    """A signed-in browser."""

    __tablename__ = "sessions"

    seq: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = _of_user()
    created: Mapped[dt.datetime]
    expires: Mapped[dt.datetime]


class ApiKeyRow(Base):
    """A person's key for programs."""

    __tablename__ = "api_keys"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    user_id: Mapped[str] = _of_user()
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    """The key's first characters, which find its row and are shown."""
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created: Mapped[dt.datetime]
    expires: Mapped[dt.datetime | None]
    used: Mapped[dt.datetime | None]
    revoked: Mapped[dt.datetime | None]


class InvitationRow(Base):
    """A link that can be used once: to choose a password, and a name where no user is named."""

    __tablename__ = "invitations"

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    invited_by: Mapped[str] = mapped_column(String(32))
    created: Mapped[dt.datetime]
    expires: Mapped[dt.datetime]


class SignInFailureRow(Base):
    """A refused sign-in, kept as long as it slows down the next."""

    __tablename__ = "sign_in_failures"

    seq: Mapped[int] = mapped_column(primary_key=True)
    name_digest: Mapped[str] = mapped_column(String(64), index=True)
    """Of whatever was typed as a name, which may have been a password."""
    address: Mapped[str] = mapped_column(String(64), index=True)
    created: Mapped[dt.datetime] = mapped_column(index=True)


class UsageRow(Base):
    """Tokens that were written for a person on a day (UTC)."""

    __tablename__ = "usage"
    __table_args__ = (UniqueConstraint("user_id", "day"),)

    seq: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = _of_user()
    day: Mapped[str] = mapped_column(String(10))
    tokens: Mapped[int]


class AuditRow(Base):
    """Who did what, when. No texts that people wrote; of a deleted user the id stays."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime]
    who: Mapped[str] = mapped_column(String(32), index=True)
    """A user's id; '' for the command line, and for whoever was not signed in."""
    action: Mapped[str] = mapped_column(String(50))
    about: Mapped[str] = mapped_column(String(200))
    details: Mapped[dict[str, Any]]
