"""What people show when they ask: sessions of browsers, keys of programs; refused sign-ins; tokens used.

Each method is one short transaction. Secrets are returned once, when they are made; only digests are stored.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from steersman.store.accounts import User, clean_name, digest, name_key, to_user, user_row
from steersman.store.chats import new_id
from steersman.store.database import Database
from steersman.store.refusals import NotFound, expect
from steersman.store.schema import iso, utc_now
from steersman.store.schema_accounts import ApiKeyRow, SessionRow, SignInFailureRow, UsageRow, UserRow

KEY_START = "sk-"
_PREFIX = len(KEY_START) + 8
"""Characters of a key that are stored as they are."""
MOST_KEYS = 50
"""Keys that a person may have at a time."""
_USED_EVERY = dt.timedelta(minutes=1)
"""How exactly a key's last use is known: writing it at each request would cost more than the request."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    user_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created: str
    expires: str | None
    used: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """Who a session or key belongs to; `scopes` is None for a session, which may do what its person may."""

    user: User
    expires: dt.datetime | None
    scopes: frozenset[str] | None
    tokens_today: int


def today() -> str:
    return utc_now().date().isoformat()


def _to_key(row: ApiKeyRow) -> ApiKey:
    expires, used = (iso(time) if time else None for time in (row.expires, row.used))
    return ApiKey(row.id, row.user_id, row.name, row.prefix, tuple(row.scopes), iso(row.created), expires, used)


def _tokens(session: Session, user_id: str) -> int:
    return session.scalar(select(UsageRow.tokens).where(UsageRow.user_id == user_id, UsageRow.day == today())) or 0


class Credentials:
    def __init__(self, database: Database) -> None:
        self._db = database

    # Sessions

    def begin(self, user_id: str, hours: float) -> str:
        """The token of a new session."""
        token, time = secrets.token_urlsafe(32), utc_now()
        with self._db.write() as session:
            user_row(session, user_id)
            session.execute(delete(SessionRow).where(SessionRow.expires <= time))
            expires = time + dt.timedelta(hours=hours)
            session.add(SessionRow(digest=digest(token), user_id=user_id, created=time, expires=expires))
        return token

    def session(self, token: str) -> Shown | None:
        """None where it ended, never was, or its user is disabled."""
        query = select(SessionRow, UserRow).join(UserRow, UserRow.id == SessionRow.user_id)
        with self._db.read() as session:
            found = session.execute(query.where(SessionRow.digest == digest(token))).one_or_none()
            if found is None or found[0].expires <= utc_now() or found[1].disabled:
                return None
            return Shown(to_user(found[1]), found[0].expires, None, _tokens(session, found[1].id))

    def end(self, token: str) -> None:
        with self._db.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == digest(token)))

    def end_all(self, user_id: str) -> None:
        with self._db.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))

    # Keys

    def add_key(
        self, user_id: str, name: str, scopes: Collection[str], expires: dt.datetime | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be had again."""
        secret = KEY_START + secrets.token_hex(4) + secrets.token_urlsafe(32)
        name = clean_name(name)
        expect(expires is None or expires > utc_now(), "expires: expected a time to come")
        with self._db.write() as session:
            user_row(session, user_id)
            mine = (ApiKeyRow.user_id == user_id, ApiKeyRow.revoked.is_(None))
            there = session.scalar(select(func.count()).where(*mine)) or 0
            expect(there < MOST_KEYS, f"keys: expected at most {MOST_KEYS}; revoke some first")
            row = ApiKeyRow(id=new_id(), user_id=user_id, name=name, scopes=sorted(scopes), created=utc_now())
            row.prefix, row.digest, row.expires = secret[:_PREFIX], digest(secret), expires
            session.add(row)
            session.flush()
            return _to_key(row), secret

    def keys(self, user_id: str) -> list[ApiKey]:
        """A person's keys that were not revoked, the oldest first."""
        mine = (ApiKeyRow.user_id == user_id, ApiKeyRow.revoked.is_(None))
        with self._db.read() as session:
            return [_to_key(row) for row in session.scalars(select(ApiKeyRow).where(*mine).order_by(ApiKeyRow.seq))]

    def revoke(self, key_id: str, user_id: str) -> ApiKey:
        """Raises NotFound where it is not a key of this person that can still be used."""
        with self._db.write() as session:
            mine = (ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id, ApiKeyRow.revoked.is_(None))
            row = session.scalar(select(ApiKeyRow).where(*mine))
            if row is None:
                raise NotFound(f"no key {key_id!r}")
            row.revoked = utc_now()
            return _to_key(row)

    def usable(self, user_id: str, *, revoke: bool = False) -> int:
        """How many keys of the person can be used; `revoke`: could, until now."""
        time = utc_now()
        lasting = or_(ApiKeyRow.expires.is_(None), ApiKeyRow.expires > time)
        mine = (ApiKeyRow.user_id == user_id, ApiKeyRow.revoked.is_(None), lasting)
        with self._db.write() if revoke else self._db.read() as session:
            rows = session.scalars(select(ApiKeyRow).where(*mine)).all()
            for row in rows if revoke else ():
                row.revoked = time
            return len(rows)

    def key(self, secret: str) -> Shown | None:
        """None where it was revoked, has expired, never was, or its user is disabled."""
        query = select(ApiKeyRow, UserRow).join(UserRow, UserRow.id == ApiKeyRow.user_id)
        time = utc_now()
        with self._db.read() as session:
            found = session.execute(query.where(ApiKeyRow.prefix == secret[:_PREFIX])).one_or_none()
            # compared all the same where there is none, so that times do not tell which prefixes exist
            right = hmac.compare_digest(digest(secret), found[0].digest if found else "")
            if found is None or not right or found[0].revoked or found[1].disabled:
                return None
            row = found[0]
            if row.expires is not None and row.expires <= time:
                return None
            shown = Shown(to_user(found[1]), row.expires, frozenset(row.scopes), _tokens(session, found[1].id))
            stale = row.used is None or time - row.used > _USED_EVERY
        if stale:
            with self._db.write() as session:
                session.execute(ApiKeyRow.__table__.update().where(ApiKeyRow.id == row.id).values(used=time))  # type: ignore[attr-defined]
        return shown

    def holding(self, names: Collection[str]) -> set[str]:
        """Of digests of sessions and keys, and of ids of people, those that may still ask."""
        enabled, time = UserRow.disabled.is_(False), utc_now()
        sessions = select(SessionRow.digest).join(UserRow, UserRow.id == SessionRow.user_id)
        keys = select(ApiKeyRow.digest).join(UserRow, UserRow.id == ApiKeyRow.user_id)
        lasting = or_(ApiKeyRow.expires.is_(None), ApiKeyRow.expires > time)
        asked = (
            sessions.where(SessionRow.digest.in_(names), SessionRow.expires > time, enabled),
            keys.where(ApiKeyRow.digest.in_(names), ApiKeyRow.revoked.is_(None), lasting, enabled),
            select(UserRow.id).where(UserRow.id.in_(names), enabled),
        )
        with self._db.read() as session:
            return {name for query in asked for name in session.scalars(query)}

    # Refused sign-ins

    def failures(self, name: str, address: str, since: dt.datetime) -> tuple[int, int, int]:
        """Refused sign-ins since then: of this name from this address, of this name, from this address."""
        of, at = SignInFailureRow.name_digest == digest(name_key(name)), SignInFailureRow.address == address
        with self._db.read() as session:
            ways = ((of, at), (of,), (at,))
            recent = SignInFailureRow.created.between(since, utc_now())  # not from a clock that was ahead
            counts = (select(func.count()).where(recent, *way) for way in ways)
            both, name_only, address_only = (session.scalar(count) or 0 for count in counts)
            return both, name_only, address_only

    def failed(self, name: str, address: str, forget_before: dt.datetime) -> None:
        with self._db.write() as session:
            now = utc_now()
            session.execute(delete(SignInFailureRow).where(~SignInFailureRow.created.between(forget_before, now)))
            row = SignInFailureRow(name_digest=digest(name_key(name)), address=address, created=now)
            session.add(row)

    def forgive(self, name: str, address: str) -> None:
        """After a sign-in: refused ones of the name from there no longer count."""
        of, at = SignInFailureRow.name_digest == digest(name_key(name)), SignInFailureRow.address == address
        with self._db.write() as session:
            session.execute(delete(SignInFailureRow).where(of, at))

    # Tokens

    def spent(self, user_id: str, tokens: int) -> int:
        """Add to the person's tokens of today; returns their sum."""
        with self._db.write() as session:
            mine = (UsageRow.user_id == user_id, UsageRow.day == today())
            row = session.scalar(select(UsageRow).where(*mine))
            if row is None:
                user_row(session, user_id)
                row = UsageRow(user_id=user_id, day=today(), tokens=0)
                session.add(row)
            row.tokens += tokens
            return row.tokens
