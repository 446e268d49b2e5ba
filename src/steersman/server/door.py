"""`serve --auth`: who asks is found out before the request's body is read, from a session's cookie or a key.

A session or key is looked up once in `FRESH_SECONDS`, so that it costs a request nothing; what another process of the
server ends or changes holds here that much later. Cookies are `HttpOnly` and `SameSite=Strict`, and a write with one
must have this server's own origin and a header that no form and no other site's script can send.

Why so: decision 80 in docs/LOG.md.
"""

from __future__ import annotations

import time
from urllib.parse import urlencode, urlsplit

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from steersman.server.access import OPEN_PATHS
from steersman.server.cookies import cookie_name, cookie_of
from steersman.server.errors import ApiError, error_response
from steersman.server.key import given_key
from steersman.server.pages import PLACES
from steersman.server.people import PROOF, SCOPE, Person, Proof
from steersman.server.quotas import Limits, asking
from steersman.server.still_admitted import Admitted, Standing, showing
from steersman.store import Store
from steersman.store.accounts import digest
from steersman.store.credentials import Shown
from steersman.store.schema import utc_now

FRESH_SECONDS = 5.0
MOST_KNOWN = 10_000
"""Sessions and keys that are remembered at a time."""
HEADER = "x-steersman"
"""Which a page's write must have, with any value: a browser asks before it sends that to another site."""
_READS = ("GET", "HEAD", "OPTIONS")


def own_origin(headers: Headers) -> bool:
    """Whether the request comes from a page of this server, or from none."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _is_shown(scope: Scope, headers: Headers) -> bool:
    """Whether the request is a browser's for what only who is signed in can see: the page would ask in vain."""
    if scope["path"].startswith(("/report", "/datasets/")):
        return True
    place = scope["path"].split("/", 2)[1]
    reads = scope["method"] in _READS and "text/html" in headers.get("accept", "")
    return reads and place in PLACES and place != "login"


class Door:
    """Leaves the person and the proof in the scope of each request; refuses who has none, or asks too often."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._known: dict[str, tuple[float, Shown]] = {}
        self._changes = 0
        self.standing = Standing(store)

    def forget(self) -> None:
        """Sessions, keys or roles have changed."""
        self._known.clear()
        self._changes += 1

    async def admit(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request may go on; its person is then in the scope, or None for what is open to all."""
        try:
            await self._find(scope, headers)
            if scope[SCOPE] is None and _is_shown(scope, headers):
                asked = scope["path"] + "?" * bool(scope["query_string"]) + scope["query_string"].decode("latin-1")
                return RedirectResponse(f"/login?{urlencode({'next': asked})}", 303)
        except ApiError as error:
            more = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            return error_response(error.status, error.message, error.param, error.code, error.headers | more)
        return None

    async def _find(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        api = path.split("/", 2)[1:2] in (["v1"], ["api"])
        scope[SCOPE], scope[PROOF] = None, Proof()
        showing.set(None)  # a connection's next request may begin in the context of the one before
        if "authorization" in headers or ("x-api-key" in headers and api):
            secret = given_key(headers)
            shown = await self._shown(secret, of_key=True) if secret else None
            if shown is None and path not in OPEN_PATHS:
                raise ApiError(401, "Incorrect API key: expected 'Authorization: Bearer KEY' with a key of this server")
            proof = Proof(scopes=shown.scopes) if shown else Proof()
        else:
            secret = cookie_of(headers, cookie_name(scope, headers)) if own_origin(headers) else ""
            shown = await self._shown(secret, of_key=False) if secret else None
            proof = Proof(session=secret)
            if api and scope["method"] not in _READS and (HEADER not in headers or not own_origin(headers)):
                message = f"A page's request that changes something needs this server's origin and the header {HEADER}"
                raise ApiError(403, message, code="cross_site")
        if shown is None and api and path not in OPEN_PATHS:
            raise ApiError(401, "Nobody is signed in; expected a session, or a key", code="not_signed_in")
        if shown is not None:
            person = Person(shown.user.id, shown.user.name, shown.user.role)
            refusal = self._limits.admit(person) if api else None
            if refusal is not None:
                raise refusal
            scope[SCOPE], scope[PROOF] = person, proof
            showing.set(Admitted(self.standing, digest(secret), person, of_key=shown.scopes is not None))
        asking.set(scope[SCOPE])

    async def _shown(self, secret: str, *, of_key: bool) -> Shown | None:
        name, now = f"{of_key}{digest(secret)}", time.monotonic()
        since, shown = self._known.get(name, (0.0, None))
        if shown is None or now - since > FRESH_SECONDS:
            self._known.pop(name, None)
            find = self._store.credentials.key if of_key else self._store.credentials.session
            changes = self._changes
            shown = await to_thread.run_sync(find, secret)
            if shown is None:
                return None
            self._limits.know(shown.user.id, shown.tokens_today)
            if changes == self._changes:  # else what was read may be what was before
                self._known[name] = (now, shown)
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return shown if shown.expires is None or shown.expires > utc_now() else None
