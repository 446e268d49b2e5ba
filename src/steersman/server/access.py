"""Who may ask for what: every route has a line in `NEEDS`, and one without is refused to everybody.

A test compares the lines with the routes.
"""

from __future__ import annotations

import enum

from fastapi import Request

from steersman.server.errors import ApiError
from steersman.server.people import forbidden, person_of
from steersman.store.roles import Role


class Need(enum.Enum):
    """What a route needs: a role, which is the scope of keys too; or less, or more."""

    OPEN = 0
    """Nothing: asked before anybody is signed in."""
    CHAT = Role.CHATTER
    LABEL = Role.LABELER
    MANAGE = Role.MANAGER
    ADMIN = Role.ADMIN
    SELF = 5
    """A session of any role, and no key: one's own password, keys and sessions."""

    @property
    def role(self) -> Role:
        return self.value if isinstance(self.value, Role) else Role.CHATTER


NEEDS: dict[tuple[str, str], Need] = {
    # pages
    ("GET", "/healthz"): Need.OPEN,
    ("GET", "/readyz"): Need.OPEN,
    ("GET", "/metrics"): Need.ADMIN,
    ("GET", "/report"): Need.CHAT,
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
    ("GET", "/api/messages/{id}/stream"): Need.CHAT,
    ("POST", "/api/messages/{id}/stop"): Need.CHAT,
    ("POST", "/api/messages/{id}/feedback"): Need.CHAT,
    ("GET", "/api/media/{folder}/{name}"): Need.CHAT,
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
    ("GET", "/v1/responses/{id}"): Need.CHAT,
    ("DELETE", "/v1/responses/{id}"): Need.CHAT,
    ("POST", "/v1/responses/{id}/cancel"): Need.CHAT,
    ("GET", "/v1/responses/{id}/input_items"): Need.CHAT,
    ("POST", "/v1/messages"): Need.CHAT,
    ("POST", "/v1/messages/count_tokens"): Need.CHAT,
    ("POST", "/v1/embeddings"): Need.CHAT,
    ("POST", "/v1/moderations"): Need.CHAT,
}


async def allowed(request: Request) -> None:
    """A dependency of every router: ApiError 401 or 403 where the person may not ask for this route."""
    route = request.scope["route"]
    need = NEEDS.get((request.scope["method"], route.path))
    if need is Need.OPEN:
        return
    person = await person_of(request)
    if need is None:
        raise ApiError(403, f"{route.path}: nobody has decided who may ask for this", code="undecided")
    if person.role < need.role:
        raise forbidden(person, need.role)
