"""People who may sign in, and invitations: each method is one short transaction.

user = store.accounts.add("ann", Role.LABELER)
token = store.accounts.invite(Role.LABELER, by="", user_id=user.id)
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import unicodedata
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from steersman.store.audit_log import shut_out
from steersman.store.chats import new_id
from steersman.store.database import Database
from steersman.store.refusals import NotFound, clean_text, expect
from steersman.store.roles import Role, to_role
from steersman.store.schema import iso, utc_now
from steersman.store.schema_accounts import InvitationRow, SessionRow, UserRow

NAME_LIMIT = 100
INVITATION_HOURS = 7 * 24


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    role: Role
    disabled: bool
    joined: bool
    """False until the invitation was used."""
    created: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """`name` is the invited user's; '' where whoever has the link chooses one."""

    id: str
    role: Role
    name: str
    invited_by: str
    created: str
    expires: str


def digest(secret: str) -> str:
    """What is stored of a random secret. A fast hash is enough where nobody can guess the secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def clean_name(name: str) -> str:
    """A name that can be shown in a line: no control characters, no spaces around it."""
    name = unicodedata.normalize("NFC", clean_text(name, "name", limit=NAME_LIMIT)).strip()
    expect(name.isprintable(), "name: expected printable characters on one line")
    return name


def name_key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()[:400]


def to_user(row: UserRow) -> User:
    joined = row.password is not None or row.external is not None
    return User(row.id, row.name, to_role(row.role), row.disabled, joined, iso(row.created))


def user_row(session: Session, id_: str) -> UserRow:
    row = session.scalar(select(UserRow).where(UserRow.id == id_))
    if row is None:
        raise NotFound(f"no user {id_!r}")
    return row


def _found(session: Session, name: str) -> UserRow | None:
    return session.scalar(select(UserRow).where(UserRow.name_key == name_key(name)))


def _free_name(session: Session, name: str) -> str:
    """As near to a name that came from elsewhere as there is none of yet."""
    return f"{name[:80]} {new_id()[:6]}" if _found(session, name) is not None else name[:NAME_LIMIT]


def _new_user(session: Session, name: str, role: Role) -> UserRow:
    name = clean_name(name)
    expect(_found(session, name) is None, f"name: there is a user {name!r} already", "name_taken")
    row = UserRow(id=new_id(), name=name, name_key=name_key(name), role=role.word, disabled=False, created=utc_now())
    session.add(row)
    session.flush()
    return row


ABLE = or_(UserRow.password.is_not(None), UserRow.external.is_not(None))
"""Who can sign in, unless disabled."""


def keep_one_admin(session: Session, leaves: UserRow) -> None:
    """StoreError where no other admin is left, or none who can sign in where this one can."""
    others = [UserRow.role == Role.ADMIN.word, UserRow.disabled.is_(False), UserRow.id != leaves.id]
    if not leaves.disabled and (leaves.password is not None or leaves.external is not None):
        others.append(ABLE)
    left = session.scalar(select(func.count()).where(*others))
    expect(bool(left), "role: expected one admin to remain who can sign in; make another person admin first")


def _valid(session: Session, token: str) -> InvitationRow:
    row = session.scalar(select(InvitationRow).where(InvitationRow.digest == digest(token)))
    if row is None or row.expires <= utc_now():
        raise NotFound("This invitation does not exist, was used, or has expired; ask for another", "no_invitation")
    return row


def _invited(session: Session, token: str, name: str) -> UserRow:
    """The user of an invitation, or a new one called `name` where it names nobody; it is used up."""
    row = _valid(session, token)
    if row.user_id is None:
        user = _new_user(session, name, to_role(row.role))
    else:
        user = user_row(session, row.user_id)
        expect(not user.disabled, "This account is disabled; ask an admin")
        session.execute(delete(SessionRow).where(SessionRow.user_id == user.id))
    session.delete(row)
    return user


class Accounts:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, name: str, role: Role) -> User:
        """StoreError where there is a user of that name, however it is written."""
        with self._db.write() as session:
            return to_user(_new_user(session, name, role))

    def users(self) -> list[User]:
        with self._db.read() as session:
            return [to_user(row) for row in session.scalars(select(UserRow).order_by(UserRow.seq))]

    def names(self) -> dict[str, str]:
        """{id: name} of all users."""
        return {user.id: user.name for user in self.users()}

    def user(self, id_: str) -> User:
        with self._db.read() as session:
            return to_user(user_row(session, id_))

    def named(self, name: str) -> User:
        """Raises NotFound."""
        with self._db.read() as session:
            row = _found(session, name)
            if row is None:
                raise NotFound(f"no user {name!r}; steersman users list shows all")
            return to_user(row)

    def password(self, name: str) -> tuple[str, str] | None:
        """(id, password's hash) of a user who may sign in with a password."""
        with self._db.read() as session:
            row = _found(session, name)
            return (row.id, row.password) if row is not None and row.password and not row.disabled else None

    def set_role(self, id_: str, role: Role) -> User:
        with self._db.write() as session:
            row = user_row(session, id_)
            if row.role == Role.ADMIN.word and role != Role.ADMIN:
                keep_one_admin(session, row)
            row.role = role.word
            return to_user(row)

    def set_disabled(self, id_: str, disabled: bool) -> User:
        """A disabled user's sessions end, and the keys are refused."""
        with self._db.write() as session:
            row = user_row(session, id_)
            if disabled and row.role == Role.ADMIN.word:
                keep_one_admin(session, row)
            row.disabled = disabled
            if disabled:
                session.execute(delete(SessionRow).where(SessionRow.user_id == id_))
            return to_user(row)

    def set_password(self, id_: str, hashed: str) -> None:
        """Every session of the user ends."""
        with self._db.write() as session:
            user_row(session, id_).password = hashed
            session.execute(delete(SessionRow).where(SessionRow.user_id == id_))

    def rehash(self, id_: str, old: str, hashed: str) -> None:
        """The same password hashed anew; sessions stay. Nothing happens where it was changed meanwhile."""
        with self._db.write() as session:
            row = user_row(session, id_)
            if row.password == old:
                row.password = hashed

    def external(self, subject: str, name: str, role: Role | None, invitation: str = "") -> User:
        """The user of an OIDC provider's subject. One that nobody has yet becomes the user of the invitation, else a
        new one with `role`; None: refused then."""
        with self._db.write() as session:
            row = session.scalar(select(UserRow).where(UserRow.external == subject))
            if row is not None:
                return to_user(row)
            if invitation:
                row = _invited(session, invitation, _free_name(session, name))
            elif role is not None:
                row = _new_user(session, _free_name(session, name), role)
            else:
                raise NotFound("No user belongs to this sign-in; an admin can invite, or set accounts.oidc_role")
            row.external = subject
            return to_user(row)

    def of_subject(self, subject: str) -> User | None:
        """The user of an OIDC provider's subject."""
        with self._db.read() as session:
            row = session.scalar(select(UserRow).where(UserRow.external == subject))
            return None if row is None else to_user(row)

    def is_last_admin(self, id_: str) -> bool:
        """Whether no other admin can sign in. Whom the provider's groups shut out last, and who has no password,
        cannot: else a claim's mistyped name would shut out two admins, each for the other's sake."""
        admins = select(UserRow).where(UserRow.role == Role.ADMIN.word, UserRow.disabled.is_(False))
        with self._db.read() as session:
            able = session.scalars(admins.where(ABLE))
            return [row.id for row in able if row.id == id_ or row.password or not shut_out(session, row.id)] == [id_]

    # Invitations

    def invite(self, role: Role, *, by: str, user_id: str | None = None, hours: float = INVITATION_HOURS) -> str:
        """The token of a new invitation. For a named user it takes the place of earlier ones."""
        token, time = secrets.token_urlsafe(32), utc_now()
        with self._db.write() as session:
            if user_id is not None:
                role = to_role(user_row(session, user_id).role)
                session.execute(delete(InvitationRow).where(InvitationRow.user_id == user_id))
            expires = time + dt.timedelta(hours=hours)
            row = InvitationRow(id=new_id(), digest=digest(token), role=role.word, user_id=user_id, invited_by=by)
            row.created, row.expires = time, expires
            session.add(row)
        return token

    def reset(self, id_: str, *, by: str, hours: float = INVITATION_HOURS) -> str:
        """The token of an invitation to choose a new password; the old one and all sessions end."""
        with self._db.write() as session:
            row = user_row(session, id_)
            row.password = None
            session.execute(delete(SessionRow).where(SessionRow.user_id == id_))
        return self.invite(Role.CHATTER, by=by, user_id=id_, hours=hours)

    def invitations(self) -> list[Invitation]:
        """Those that can be used."""
        with self._db.read() as session:
            valid = select(InvitationRow).where(InvitationRow.expires > utc_now()).order_by(InvitationRow.seq)
            return [_to_invitation(session, row) for row in session.scalars(valid)]

    def invitation(self, token: str) -> Invitation:
        """Raises NotFound, whatever is wrong with it."""
        with self._db.read() as session:
            return _to_invitation(session, _valid(session, token))

    def withdraw(self, invitation_id: str) -> None:
        with self._db.write() as session:
            found = session.scalar(select(InvitationRow).where(InvitationRow.id == invitation_id))
            if found is None:
                raise NotFound(f"no invitation {invitation_id!r}")
            session.delete(found)

    def accept(self, token: str, name: str, hashed: str) -> User:
        """Use an invitation: its user, or a new one called `name`, gets the password. It works once."""
        with self._db.write() as session:
            user = _invited(session, token, name)
            user.password = hashed
            return to_user(user)


def _to_invitation(session: Session, row: InvitationRow) -> Invitation:
    name = user_row(session, row.user_id).name if row.user_id else ""
    return Invitation(row.id, to_role(row.role), name, row.invited_by, iso(row.created), iso(row.expires))
