"""For admins: people, their roles and keys, invitations, the audit log."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, StrictBool

from steersman.server.audit import Us
from steersman.server.errors import ApiError
from steersman.server.people import Who, person_json
from steersman.server.session_api import Name, invitation_json, key_json
from steersman.server.team import Team
from steersman.store.accounts import User
from steersman.store.roles import to_role

router = APIRouter(prefix="/api")
RoleName = Literal["chatter", "labeler", "manager", "admin"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Somebody(_Body):
    name: Name
    role: RoleName


class Anybody(_Body):
    """Whoever has the link chooses a name."""

    role: RoleName


class Change(_Body):
    role: RoleName | None = None
    disabled: StrictBool | None = None


class Reset(_Body):
    """Whether the keys are revoked too."""

    keys: StrictBool = False


def user_json(user: User) -> dict[str, Any]:
    return person_json(user) | {"disabled": user.disabled, "joined": user.joined, "created": user.created}


@router.get("/people")
def list_people(us: Us) -> dict[str, Any]:
    """Users, and the invitations that can still be used."""
    invitations = [invitation_json(one) for one in us.store.accounts.invitations()]
    return {"people": [user_json(user) for user in us.store.accounts.users()], "invitations": invitations}


@router.post("/people", status_code=201)
def add_person(us: Us, who: Who, body: Somebody) -> dict[str, Any]:
    """A new user, and the token of an invitation to choose a password, which is shown here and never again."""
    user = us.store.accounts.add(body.name, to_role(body.role))
    us.store.audit.add(who.id, "user added", user.id, role=user.role.word)
    hours = us.settings.invitation_hours
    token = us.store.accounts.invite(user.role, by=who.id, user_id=user.id, hours=hours)
    return {"user": user_json(user), "token": token}


@router.patch("/people/{id}")
def change_person(us: Us, who: Who, id: str, body: Change) -> dict[str, Any]:
    """Another role, or disabled and enabled. One admin must remain."""
    user = us.store.accounts.user(id)
    if body.role is not None:
        user = _set_role(us, who.id, user, body.role)
    if body.disabled is not None:
        user = us.store.accounts.set_disabled(id, body.disabled)
        us.store.audit.add(who.id, "user disabled" if body.disabled else "user enabled", id)
    us.door.forget()
    return user_json(user)


def _set_role(us: Team, by: str, user: User, role: str) -> User:
    changed = us.store.accounts.set_role(user.id, to_role(role))
    us.store.audit.add(by, "role changed", user.id, before=user.role.word, after=role)
    return changed


@router.post("/people/{id}/reset")
def reset_person(us: Us, who: Who, id: str, body: Reset | None = None) -> dict[str, Any]:
    """The token of an invitation to choose a new password; the old one no longer holds, and every session ends.

    Keys go on working, unless they are to be revoked too; both are counted.
    """
    if id == who.id:
        raise ApiError(400, "Your own password is changed with the old one; another admin can reset it", param="id")
    revoked = us.store.credentials.usable(id, revoke=True) if body is not None and body.keys else 0
    token = us.store.accounts.reset(id, by=who.id, hours=us.settings.invitation_hours)
    us.store.audit.add(who.id, "password reset", id, **({"keys_revoked": revoked} if revoked else {}))
    us.door.forget()
    return {"token": token, "keys_revoked": revoked, "keys_left": us.store.credentials.usable(id)}


@router.get("/people/{id}/keys")
def keys_of_person(us: Us, id: str) -> list[dict[str, Any]]:
    return [key_json(key) for key in us.store.credentials.keys(us.store.accounts.user(id).id)]


@router.delete("/people/{id}/keys/{key}")
def revoke_key_of_person(us: Us, who: Who, id: str, key: str) -> dict[str, Any]:
    revoked = us.store.credentials.revoke(key, id)
    us.store.audit.add(who.id, "key revoked", revoked.prefix, of=id)
    us.door.forget()
    return {"ok": True}


@router.post("/invitations", status_code=201)
def invite(us: Us, who: Who, body: Anybody) -> dict[str, Any]:
    """The token of an invitation for whoever has its link."""
    token = us.store.accounts.invite(to_role(body.role), by=who.id, hours=us.settings.invitation_hours)
    us.store.audit.add(who.id, "invited", role=body.role)
    return {"token": token}


@router.delete("/invitations/{id}")
def withdraw_invitation(us: Us, who: Who, id: str) -> dict[str, Any]:
    us.store.accounts.withdraw(id)
    us.store.audit.add(who.id, "invitation withdrawn", id)
    return {"ok": True}


@router.get("/audit")
def audit_log(
    us: Us, before: Annotated[int | None, Query(ge=1, lt=2**31)] = None, most: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[dict[str, Any]]:
    """What was done, the newest first; `before` an entry's number goes on from there."""
    return [dataclasses.asdict(entry) for entry in us.store.audit.page(before, most)]
