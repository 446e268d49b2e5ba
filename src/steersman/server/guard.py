"""Checks of every request before the application sees it, and headers of every response.

The server trusts every client that reaches it (and has the key, where one is set), so only this machine may: a web
page that the user happens to visit must not be able to talk to it, neither by pointing its own domain at 127.0.0.1 (the
Host header shows it) nor by posting across origins (the Origin header shows it). Pages that this machine serves itself,
on any port, may call `/v1` as any other program may.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.server import logs
from steersman.server.body import BODY_LIMIT, LARGER, BodyRefused, Room, read_body, replay
from steersman.server.buckets import Buckets, address_of
from steersman.server.connection import HEAD_LIMIT
from steersman.server.door import HEADER, Door
from steersman.server.errors import INTERNAL, error_response, outage
from steersman.server.key import HEALTH, Key, is_api
from steersman.server.people import EVERYBODY, SCOPE
from steersman.server.quotas import visitor
from steersman.server.reach import HERE, Reach, is_loopback

ALLOWED = "serve.allowed_hosts"
PATH_LIMIT = 2_000
QUERY_LIMIT = 8_000
"""Most bytes of a request's path, and of its query."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_CLOSED = {"Connection": "close"}
_LATER = {429: {"Retry-After": "2"}}
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def host_names(setting: str) -> frozenset[str]:
    """The names of `serve.allowed_hosts`. ValueError where one is no host name."""
    names = frozenset(name.strip().lower() for name in setting.split(",") if name.strip())
    for name in sorted(names):
        if not _HOST.fullmatch(name):
            raise ValueError(f"serve.allowed_hosts: expected host names such as host.docker.internal, got {name!r}")
    return names


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _visitor(scope: Scope, headers: Headers) -> str:
    """Address, program, key and tab of the page, as a digest: nothing is kept that could be shown again."""
    said = (headers.get(name, "") for name in ("user-agent", "authorization", "x-api-key", HEADER))
    return hashlib.blake2b("\n".join((address_of(scope), *said)).encode(), digest_size=8).hexdigest()


class BrokenOff(Exception):
    """Ends a response that had begun; the reason is in the log."""


class Guard:
    """ASGI middleware: hosts and origins, the key, limits of size and time, protective headers."""

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] = (),
        key: Key | None = None,
        body_limit: int = BODY_LIMIT,
        door: Door | None = None,
        reach: Reach = HERE,
        buckets: Buckets | None = None,
    ) -> None:
        """A server that is asked from other machines is so by address; a name must still be an allowed one, since any
        name can be made to point here."""
        self.app, self._allowed, self._key, self._limit = app, frozenset(allowed_hosts), key, body_limit
        self._door, self._beyond, self._rate, self._origins = door, reach.beyond, reach.rate, reach.origins
        self._buckets, self._room = buckets or Buckets(), Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self._room.hold() as grow:
            await self._guarded(scope, receive, send, grow)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, grow: Callable[[int], None]) -> None:
        headers = Headers(scope=scope)
        scope = {**scope, "path": _plain(scope["path"]), SCOPE: EVERYBODY}
        shared = self._shared(scope["path"], headers.get("origin"))
        if self._door is None:
            visitor.set(_visitor(scope, headers))

        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = MutableHeaders(scope=message)
                for name, value in (_HEADERS | shared).items():
                    given.setdefault(name, value)
            await send(message)

        preflight = _preflight(scope, headers, bool(shared))
        answer = self._refusal(scope, headers, bool(shared)) or preflight
        if answer is None and self._door is not None:
            answer = await self._admitted(self._door, scope, headers)
        if answer is None and self._key is not None:
            answer = self._key.answer(scope, headers)
        if answer is None or answer is not preflight:  # a preflight is no request of its own
            answer = self._too_often(scope) or answer
        if answer is None:
            try:
                body = await read_body(headers, receive, max(self._limit, LARGER.get(scope["path"], 0)), grow)
            except BodyRefused as refused:
                # the rest of the body is not read, so the connection cannot be reused
                answer = error_response(refused.status, str(refused), headers=_CLOSED | _LATER.get(refused.status, {}))
            else:
                answer = self._key.entered(scope, body) if self._key else None
        if answer is not None:
            await answer(scope, receive, send_with_headers)
            return
        # a HEAD is handled as a GET; the server omits the body
        scope["method"] = "GET" if scope["method"] == "HEAD" else scope["method"]
        try:
            await self.app(scope, replay(body, receive), send_with_headers)
        except Exception as error:  # caught here, since uncaught errors are logged with their text
            logs.failed(f"a request to {_route(scope)} failed", error)
            if begun:
                raise BrokenOff from None
            await error_response(500, INTERNAL)(scope, receive, send_with_headers)
        finally:
            scope.get("seen", {})["route"] = _route(scope)

    @staticmethod
    async def _admitted(door: Door, scope: Scope, headers: Headers) -> Response | None:
        """The door's refusal; also where the store, which it asks, is gone."""
        try:
            return await door.admit(scope, headers)
        except Exception as error:
            if (told := outage(error)) is None:
                logs.failed("finding out who asks failed", error)
            return told or error_response(500, INTERNAL)

    def _too_often(self, scope: Scope) -> Response | None:
        """Counts what this machine does not ask itself, and who has no limit of their own."""
        known = self._door is not None and scope[SCOPE] not in (None, EVERYBODY)
        if not self._rate or known or scope["path"] in HEALTH or is_loopback((scope.get("client") or ("",))[0]):
            return None
        wait = self._buckets.take(f"address {address_of(scope)}", self._rate)
        if not wait:
            return None
        told = f"At most {self._rate} requests a minute from one address; wait {wait} s"
        return error_response(429, told, headers={"Retry-After": str(wait)})

    def _refusal(self, scope: Scope, headers: Headers, shared: bool) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._trusted(_host_of(f"//{host}")):
            expected = f"by an address or a name of {ALLOWED}" if self._beyond else "on loopback only"
            return error_response(
                403, f"This server answers {expected}, not as {host[:200]!r}", code="host_not_allowed"
            )
        if origin is not None and not shared and not self._trusted(_host_of(origin)):
            return error_response(403, f"No requests from pages of {origin[:200]!r}", code="origin_not_allowed")
        if not scope["path"].startswith("/"):
            return error_response(400, "The address: expected a path, which begins with a slash")
        if "transfer-encoding" in headers and "content-length" in headers:  # a proxy may read either, and then another
            told = "Expected a length or chunks, not both"
            return error_response(400, told, headers={"Connection": "close"})
        if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
            return error_response(400, "The address holds the character U+0000, which no text here may")
        if len(scope["path"].encode("utf-8", "replace")) > PATH_LIMIT or len(scope["query_string"]) > QUERY_LIMIT:
            expected = f"{PATH_LIMIT} bytes of path and {QUERY_LIMIT} of query"
            return error_response(414, f"The address is too long; expected at most {expected}")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_LIMIT:
            return error_response(431, f"The headers are too long; expected at most {HEAD_LIMIT} bytes")
        return None

    def _shared(self, path: str, origin: str | None) -> dict[str, str]:
        """CORS headers: a page of this machine, or one that is named, may read `/v1`'s answers."""
        if origin is None or path.split("/", 2)[1:2] != ["v1"]:
            return {}
        if not is_loopback(_host_of(origin)) and origin.lower() not in self._origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Retry-After, X-Request-Id, Steersman-Left-Out",
            "Vary": "Origin",
        }

    def _trusted(self, host: str) -> bool:
        return is_loopback(host) or host in self._allowed or (self._beyond and _is_address(host))


def _route(scope: Scope) -> str:
    """The route's pattern, which contains no user data."""
    return getattr(scope.get("route"), "path", "no route")


def _plain(path: str) -> str:
    """A path without a slash at its end, an API's also without doubled ones, which result from base URLs that end in a
    slash."""
    plain = re.sub(r"//+", "/", path)
    return (plain if is_api(plain) else path).rstrip("/") or "/"


def _preflight(scope: Scope, headers: Headers, shared: bool) -> Response | None:
    """Answer to a browser's preflight request, for any path; the request itself then shows whether the path exists."""
    if scope["method"] != "OPTIONS" or not shared:
        return None
    if "access-control-request-method" not in headers:
        return None
    allowed: dict[str, Any] = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "Authorization, Content-Type"),
        "Access-Control-Max-Age": "600",
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return Response(None, 204, allowed)
