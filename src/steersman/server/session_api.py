"""Signing in and out, invitations accepted, and what people manage of their own: password, keys, sessions."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from steersman.server import passwords
from steersman.server.access import SCOPES
from steersman.server.audit import Us, Visitor
from steersman.server.buckets import address_of
from steersman.server.context import Ctx
from steersman.server.cookies import delete_cookie, set_cookie
from steersman.server.errors import ApiError
from steersman.server.people import PROOF, Who, person_json
from steersman.server.request_text import Said, Text
from steersman.server.team import Team
from steersman.store.accounts import NAME_LIMIT, Invitation, User
from steersman.store.audit_log import SIGNED_IN
from steersman.store.credentials import ApiKey

router = APIRouter(prefix="/api")
Password = Annotated[Text, Field(max_length=passwords.MOST)]
Name = Annotated[Said, Field(max_length=NAME_LIMIT)]
Token = Annotated[Text, Field(max_length=100)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignIn(_Body):
    name: Name
    password: Password


class Shown(_Body):
    """An invitation's token, which its link has behind the '#'."""

    token: Token


class Accepted(Shown):
    """`name` is chosen where the invitation names nobody."""

    name: Annotated[Text, Field(max_length=NAME_LIMIT)] = ""
    password: Password


class NewPassword(_Body):
    old: Password
    new: Password


class NewKey(_Body):
    name: Name
    scopes: Annotated[list[Literal["chat", "label", "manage", "metrics"]], Field(min_length=1, max_length=4)]
    expires: AwareDatetime | None = None
    """ISO 8601 with a zone; null: until it is revoked."""


def key_json(key: ApiKey) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(key).items() if name != "user_id"}


def invitation_json(invitation: Invitation) -> dict[str, Any]:
    return dataclasses.asdict(invitation) | {"role": invitation.role.word}


@router.get("/session")
async def who_is_there(ctx: Ctx, visitor: Visitor) -> dict[str, Any]:
    """Whether the server has accounts, and who is signed in."""
    oidc = ctx.team is not None and bool(ctx.team.settings.oidc_issuer)
    me = person_json(visitor) if visitor is not None else None
    return {"auth": ctx.team is not None, "me": me, "name": ctx.name, "language": ctx.language, "oidc": oidc}


@router.post("/session")
async def sign_in(us: Us, request: Request, body: SignIn) -> Response:
    user = await us.sign_in(body.name, body.password, address_of(request.scope))
    return await signed_in(us, request, user, JSONResponse({"me": person_json(user)}))


async def signed_in(us: Team, request: Request, user: User, answer: Response, how: str = "password") -> Response:
    """`answer`, with the cookie of a new session; one that the browser had before ends."""

    def begin() -> str:
        token = us.store.credentials.begin(user.id, us.settings.session_hours)
        if before:
            us.store.credentials.end(before)
        us.store.audit.add(user.id, SIGNED_IN, how=how, address=address_of(request.scope))
        return token

    proof = request.scope.get(PROOF)
    before = proof.session if proof is not None else ""
    token = await run_in_threadpool(begin)
    us.door.forget()
    set_cookie(request, answer, token, seconds=us.settings.session_hours * 3600)
    return answer


@router.delete("/session")
async def sign_out(us: Us, who: Who, request: Request) -> Response:
    def end() -> None:
        us.store.credentials.end(request.scope[PROOF].session)
        us.store.audit.add(who.id, "signed out")

    await run_in_threadpool(end)
    us.door.forget()
    answer = JSONResponse({"ok": True})
    delete_cookie(request, answer)
    return answer


@router.post("/invitation")
def look_at_invitation(us: Us, body: Shown) -> dict[str, Any]:
    """Whom an invitation is for, before it is accepted. 404 whatever is wrong with it."""
    found = us.store.accounts.invitation(body.token)
    return {"role": found.role.word, "name": found.name, "expires": found.expires}


@router.post("/invitation/accept")
async def accept(us: Us, request: Request, body: Accepted) -> Response:
    """Choose a password, and a name where the invitation names nobody; signs in. It works once."""

    def take() -> User:
        invited = us.store.accounts.invitation(body.token)
        name = invited.name or body.name
        if not name.strip():
            raise ApiError(400, "name: expected some text, got none", param="name")
        _check(body.password, name)
        user = us.store.accounts.accept(body.token, name, passwords.hashed(body.password))
        us.store.audit.add(user.id, "invitation accepted", invited.id, role=user.role.word)
        return user

    user = await run_in_threadpool(take)
    return await signed_in(us, request, user, JSONResponse({"me": person_json(user)}), "invitation")


def _check(password: str, name: str) -> None:
    if wrong := passwords.problem(password, name):
        raise ApiError(400, wrong, param="password", code="weak_password")


@router.put("/me/password")
async def change_password(us: Us, who: Who, request: Request, body: NewPassword) -> Response:
    """Every session of the person ends; this browser gets a new one."""
    user = await us.sign_in(who.name, body.old, address_of(request.scope))
    _check(body.new, who.name)

    def change() -> None:
        us.store.accounts.set_password(user.id, passwords.hashed(body.new))
        us.store.audit.add(user.id, "password changed")

    await run_in_threadpool(change)
    return await signed_in(us, request, user, JSONResponse({"ok": True}))


@router.delete("/me/sessions")
def sign_out_everywhere(us: Us, who: Who) -> dict[str, Any]:
    us.store.credentials.end_all(who.id)
    us.store.audit.add(who.id, "signed out everywhere")
    us.door.forget()
    return {"ok": True}


@router.get("/me/keys")
def my_keys(us: Us, who: Who) -> dict[str, Any]:
    """One's keys, and the scopes that one's role admits."""
    scopes = [scope for scope, role in SCOPES.items() if who.role >= role]
    return {"keys": [key_json(key) for key in us.store.credentials.keys(who.id)], "scopes": scopes}


@router.post("/me/keys", status_code=201)
def add_key(us: Us, who: Who, body: NewKey) -> dict[str, Any]:
    """A new key. `secret` is shown here and never again."""
    for scope in body.scopes:
        if who.role < SCOPES[scope]:
            message = f"scopes: {scope!r} takes the role {SCOPES[scope].word}, and you are {who.role.word}"
            raise ApiError(403, message, param="scopes", code="role_too_low")
    try:
        expires = body.expires.astimezone(dt.UTC) if body.expires else None
    except OverflowError:
        raise ApiError(400, "expires: expected a time of the years 1 to 9999 (UTC)", param="expires") from None
    key, secret = us.store.credentials.add_key(who.id, body.name, set(body.scopes), expires)
    us.store.audit.add(who.id, "key made", key.prefix, scopes=" ".join(key.scopes))
    return {"key": key_json(key), "secret": secret}


@router.delete("/me/keys/{id}")
def revoke_key(us: Us, who: Who, id: str) -> dict[str, Any]:
    key = us.store.credentials.revoke(id, who.id)
    us.store.audit.add(who.id, "key revoked", key.prefix)
    us.door.forget()
    return {"ok": True}
