"""Around every request: its id, its line in the log, its numbers in `/metrics`, its span.

The id is the caller's `X-Request-Id` where it is a plain one, else a new one; it is in the response and in every line
that the request logs. A line holds the route's pattern and numbers, no text of the request.

Why so: decision 43 in docs/LOG.md.
"""

from __future__ import annotations

import re
import time
import uuid
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.server import logs, traces
from steersman.server.cookies import ROOT
from steersman.server.metrics import Metrics

HEADER = "x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
"""An id that cannot break a log: no spaces, no line ends, of some characters."""
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/]+)(.*)")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observe:
    """ASGI middleware, the outermost. `root_path`: where a proxy offers the server, such as /assistant."""

    def __init__(self, app: ASGIApp, metrics: Metrics, root_path: str = "") -> None:
        self.app, self._metrics, self._root = app, metrics, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _in_origin_form(scope)
        given = Headers(scope=scope).get(HEADER, "")
        id_ = given if _PLAIN.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        seen: dict[str, str] = {"id": id_}
        begun, status, size = time.monotonic(), 0, 0

        async def sent(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id_
                if (scope["path"] + "/").startswith("/v1/messages/"):
                    headers["request-id"] = id_  # as Anthropic names it
                if self._root and headers.get("location", "").startswith("/"):
                    headers["location"] = self._root + headers["location"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        token = logs.request.set(id_)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with traces.request(scope, method) as span:
            try:
                told = {"path": self._below(scope["path"]), ROOT: self._root, "seen": seen}
                await self.app({**scope, **told}, receive, sent)
            finally:
                seconds = time.monotonic() - begun
                route = seen.get("route", "refused")
                self._metrics.answered(method, route, status, seconds)
                traces.answered(span, method=method, route=route, status=status, id_=id_)
                logs.answered(method=method, route=route, status=status, ms=round(1000 * seconds), bytes=size)
                logs.request.reset(token)

    def _below(self, path: str) -> str:
        """The path without `root_path`, which some proxies leave in front of it and others take off."""
        if self._root and (path + "/").startswith(self._root + "/"):
            return path[len(self._root) :] or "/"
        return path


def _in_origin_form(scope: Scope) -> Scope:
    """A request as a client sends it to a proxy, `GET http://host/path`, as it comes to a server. Its Host header does
    not count, as RFC 9112 (3.2.2) has it."""
    whole = _ABSOLUTE.fullmatch(scope.get("raw_path") or b"")
    if whole is None:
        return scope
    headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
    path = whole[2] or b"/"
    return {**scope, "headers": [(b"host", whole[1]), *headers], "path": unquote(path.decode()), "raw_path": path}


def root_of(setting: str) -> str:
    """`serve.root_path` as a prefix without a slash at its end. ValueError where it is no path."""
    root = setting.rstrip("/")
    if root and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", root):
        raise ValueError(f"serve.root_path: expected a path such as /assistant, got {setting!r}")
    return root
