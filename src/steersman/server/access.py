"""Who may ask for what: every route has a line in `NEEDS`, and one without is refused to everybody.

A test compares the lines with the routes.
"""

from __future__ import annotations

import enum
import re

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from steersman.server.errors import ApiError
from steersman.server.people import PROOF, Person, Proof, forbidden, person_of
from steersman.store import NotFound, Store
from steersman.store.roles import Role


class Need(enum.Enum):
    """What a route needs: (role, scope of keys). '' as the scope: a session, and no key."""

    OPEN = (Role.CHATTER, "open")
    """Nothing: asked before anybody is signed in."""
    CHAT = (Role.CHATTER, "chat")
    LABEL = (Role.LABELER, "label")
    MANAGE = (Role.MANAGER, "manage")
    METRICS = (Role.ADMIN, "metrics")
    ADMIN = (Role.ADMIN, "")
    """People; whoever has an admin's key only does not get further by it."""
    SELF = (Role.CHATTER, "")
    """One's own password, keys and sessions."""

    @property
    def role(self) -> Role:
        return self.value[0]

    @property
    def scope(self) -> str:
        return self.value[1]


SCOPES = {need.scope: need.role for need in (Need.CHAT, Need.LABEL, Need.MANAGE, Need.METRICS)}
"""Scope of a key -> the role that it takes."""


NEEDS: dict[tuple[str, str], Need] = {
    # pages
    ("GET", "/healthz"): Need.OPEN,
    ("GET", "/readyz"): Need.OPEN,
    ("GET", "/metrics"): Need.METRICS,
    ("GET", "/report"): Need.CHAT,
    # accounts
    ("GET", "/api/session"): Need.OPEN,
    ("POST", "/api/session"): Need.OPEN,
    ("DELETE", "/api/session"): Need.SELF,
    ("POST", "/api/invitation"): Need.OPEN,
    ("POST", "/api/invitation/accept"): Need.OPEN,
    ("GET", "/api/oidc/start"): Need.OPEN,
    ("POST", "/api/oidc/start"): Need.OPEN,
    ("GET", "/api/oidc/callback"): Need.OPEN,
    ("PUT", "/api/me/password"): Need.SELF,
    ("DELETE", "/api/me/sessions"): Need.SELF,
    ("GET", "/api/me/keys"): Need.SELF,
    ("POST", "/api/me/keys"): Need.SELF,
    ("DELETE", "/api/me/keys/{id}"): Need.SELF,
    ("GET", "/api/me/owned"): Need.SELF,
    ("GET", "/api/me/export"): Need.SELF,
    ("POST", "/api/me/leave"): Need.SELF,
    ("GET", "/api/people/{id}/owned"): Need.ADMIN,
    ("GET", "/api/people/{id}/export"): Need.ADMIN,
    ("DELETE", "/api/people/{id}"): Need.ADMIN,
    ("GET", "/api/people"): Need.ADMIN,
    ("POST", "/api/people"): Need.ADMIN,
    ("PATCH", "/api/people/{id}"): Need.ADMIN,
    ("POST", "/api/people/{id}/reset"): Need.ADMIN,
    ("GET", "/api/people/{id}/keys"): Need.ADMIN,
    ("DELETE", "/api/people/{id}/keys/{key}"): Need.ADMIN,
    ("POST", "/api/invitations"): Need.ADMIN,
    ("DELETE", "/api/invitations/{id}"): Need.ADMIN,
    ("GET", "/api/audit"): Need.ADMIN,
    ("GET", "/reports/{number}"): Need.MANAGE,
    ("GET", "/reports/{first}/{second}"): Need.MANAGE,
    ("GET", "/datasets/{name}/report"): Need.MANAGE,
    # chat
    ("GET", "/api/config"): Need.CHAT,
    ("GET", "/api/conversations"): Need.CHAT,
    ("POST", "/api/conversations"): Need.CHAT,
    ("GET", "/api/conversations/{id}"): Need.CHAT,
    ("PATCH", "/api/conversations/{id}"): Need.CHAT,
    ("DELETE", "/api/conversations/{id}"): Need.CHAT,
    ("POST", "/api/conversations/{id}/messages"): Need.CHAT,
    ("POST", "/api/messages/{id}/answer"): Need.CHAT,
    ("POST", "/api/messages/{id}/regenerate"): Need.CHAT,
    ("POST", "/api/messages/{id}/continue"): Need.CHAT,
    ("GET", "/api/messages/{id}/stream"): Need.CHAT,
    ("POST", "/api/messages/{id}/stop"): Need.CHAT,
    ("POST", "/api/messages/{id}/feedback"): Need.CHAT,
    ("GET", "/api/media/{folder}/{name}"): Need.CHAT,
    ("POST", "/api/attachments"): Need.CHAT,
    ("GET", "/api/search"): Need.CHAT,
    ("GET", "/api/conversations/{id}/export"): Need.CHAT,
    ("GET", "/api/conversations/{id}/shares"): Need.CHAT,
    ("POST", "/api/conversations/{id}/shares"): Need.CHAT,
    ("DELETE", "/api/conversations/{id}/shares/{token}"): Need.CHAT,
    ("GET", "/api/shared/{token}"): Need.CHAT,
    ("POST", "/api/conversations/{id}/side-by-side"): Need.CHAT,
    ("POST", "/api/messages/{id}/vote"): Need.CHAT,
    # labeling desk
    ("GET", "/api/rank/next"): Need.LABEL,
    ("POST", "/api/rank/{task_id}"): Need.LABEL,
    ("GET", "/api/desk"): Need.LABEL,
    ("GET", "/api/desk/guidelines"): Need.LABEL,
    ("POST", "/api/desk/guidelines/read"): Need.LABEL,
    ("POST", "/api/desk/next"): Need.LABEL,
    ("GET", "/api/desk/tasks/{id}"): Need.LABEL,
    ("POST", "/api/desk/tasks/{id}/lease"): Need.LABEL,
    ("DELETE", "/api/desk/tasks/{id}/lease"): Need.LABEL,
    ("PUT", "/api/desk/tasks/{id}/draft"): Need.LABEL,
    ("POST", "/api/desk/tasks/{id}/suggest"): Need.LABEL,
    ("POST", "/api/desk/tasks/{id}/label"): Need.LABEL,
    ("GET", "/api/desk/history"): Need.LABEL,
    ("GET", "/api/desk/team"): Need.MANAGE,
    ("GET", "/api/desk/tasks"): Need.MANAGE,
    ("POST", "/api/desk/tasks"): Need.MANAGE,
    ("POST", "/api/desk/assign"): Need.MANAGE,
    ("PUT", "/api/desk/guidelines"): Need.MANAGE,
    ("GET", "/api/desk/differences"): Need.MANAGE,
    ("POST", "/api/desk/tasks/{id}/decision"): Need.MANAGE,
    # rounds
    ("GET", "/api/training/runs"): Need.MANAGE,
    ("GET", "/api/training/metrics"): Need.MANAGE,
    ("GET", "/api/training/samples"): Need.MANAGE,
    ("GET", "/api/rounds"): Need.MANAGE,
    ("GET", "/api/rounds/jobs"): Need.MANAGE,
    ("POST", "/api/rounds/jobs"): Need.MANAGE,
    ("GET", "/api/rounds/jobs/{number}"): Need.MANAGE,
    ("DELETE", "/api/rounds/jobs/{number}"): Need.MANAGE,
    ("GET", "/api/rounds/jobs/{number}/log"): Need.MANAGE,
    ("GET", "/api/rounds/all"): Need.MANAGE,
    ("GET", "/api/rounds/now"): Need.MANAGE,
    ("GET", "/api/rounds/feedback"): Need.MANAGE,
    ("GET", "/api/rounds/plan"): Need.MANAGE,
    ("GET", "/api/rounds/settings/{section}"): Need.MANAGE,
    ("PUT", "/api/rounds/settings/{section}"): Need.MANAGE,
    ("POST", "/api/rounds/compare"): Need.MANAGE,
    ("GET", "/api/rounds/promotion"): Need.MANAGE,
    ("GET", "/api/rounds/rollback"): Need.MANAGE,
    ("GET", "/api/rounds/{number}/stages"): Need.MANAGE,
    ("GET", "/api/rounds/preview"): Need.MANAGE,
    ("GET", "/api/rounds/{number}/decision"): Need.MANAGE,
    ("GET", "/api/rounds/lineage/{id}"): Need.MANAGE,
    ("POST", "/api/rounds/promote"): Need.MANAGE,
    ("POST", "/api/rounds/rollback"): Need.MANAGE,
    ("GET", "/api/canary"): Need.MANAGE,
    ("POST", "/api/canary"): Need.MANAGE,
    ("DELETE", "/api/canary"): Need.MANAGE,
    ("POST", "/api/canary/promote"): Need.MANAGE,
    # data sets
    ("GET", "/api/data"): Need.MANAGE,
    ("GET", "/api/data/{name}/records"): Need.MANAGE,
    ("GET", "/api/data/{name}/dropped"): Need.MANAGE,
    ("POST", "/api/data/uploads"): Need.MANAGE,
    ("POST", "/api/data/uploads/{id}"): Need.MANAGE,
    ("DELETE", "/api/data/uploads/{id}"): Need.MANAGE,
    ("POST", "/api/data/uploads/{id}/import"): Need.MANAGE,
    # API
    ("GET", "/v1/models"): Need.CHAT,
    ("GET", "/v1/models/{name:path}"): Need.CHAT,
    ("POST", "/v1/chat/completions"): Need.CHAT,
    ("POST", "/v1/completions"): Need.CHAT,
    ("POST", "/v1/responses"): Need.CHAT,
    ("POST", "/v1/responses/input_tokens"): Need.CHAT,
    ("GET", "/v1/responses/{id}"): Need.CHAT,
    ("DELETE", "/v1/responses/{id}"): Need.CHAT,
    ("POST", "/v1/responses/{id}/cancel"): Need.CHAT,
    ("GET", "/v1/responses/{id}/input_items"): Need.CHAT,
    ("POST", "/v1/messages"): Need.CHAT,
    ("POST", "/v1/messages/count_tokens"): Need.CHAT,
    ("POST", "/v1/embeddings"): Need.CHAT,
    ("POST", "/v1/moderations"): Need.CHAT,
    ("GET", "/v1/vector_stores"): Need.CHAT,
    ("POST", "/v1/vector_stores/{name}/search"): Need.CHAT,
}


OPEN_PATHS = frozenset(path for (_, path), need in NEEDS.items() if need is Need.OPEN)
_OWNED = re.compile(r"/api/(conversation|message)s/\{(\w+)\}")
"""Routes of what has an owner, all below these paths."""


async def allowed(request: Request) -> None:
    """A dependency of every router: ApiError 401 or 403 where the person may not ask for this route, 404 of what is
    another's."""
    path = request.scope["route"].path
    need = NEEDS.get((request.scope["method"], path))
    if need is Need.OPEN:
        return
    person, proof = await person_of(request), request.scope.get(PROOF, Proof())
    if need is None:
        raise ApiError(403, f"{path}: nobody has decided who may ask for this", code="undecided")
    if person.role < need.role:
        raise forbidden(person, need.role)
    if proof.scopes is not None and need.scope not in proof.scopes:
        wanted = f"a key with the scope {need.scope}" if need.scope else "a signed-in browser"
        raise ApiError(403, f"This needs {wanted}; the key has {', '.join(sorted(proof.scopes))}", code="out_of_scope")
    owned, owners = _OWNED.match(path), person.owners
    if owned is not None and owners is not None:
        await _check_owner(request, owned[1], request.path_params[owned[2]], owners)
    picture = path == "/api/media/{folder}/{name}" and owners is not None
    if picture and not await run_in_threadpool(_may_see, request, person):
        raise NotFound("no such image")


async def _check_owner(request: Request, kind: str, id_: str, owners: tuple[str, ...]) -> None:
    context = request.app.state.context
    writing = context.answers.get(id_) if kind == "message" else None
    of = ("conversation", writing.message.conversation_id) if writing is not None else (kind, id_)
    try:
        await run_in_threadpool(context.store.check_owner, of[0], of[1], owners)
    except NotFound:
        raise NotFound(f"no {kind} {id_!r}") from None


def _may_see(request: Request, person: Person) -> bool:
    """Whether an image is in a chat of the person, or in a task where the person may label."""
    name = "media/{folder}/{name}".format(**request.path_params)
    store: Store = request.app.state.context.store
    return store.shows(name, person.owners or (), tasks=person.role >= Role.LABELER)
