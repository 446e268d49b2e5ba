"""What every request passes before the application sees it, and headers that every response gets.

The server has no accounts and trusts whoever reaches it, so only this machine may: a web page that the user happens
to visit must not be able to talk to it, neither by pointing its own domain at 127.0.0.1 (the Host header tells) nor
by posting across origins (the Origin header tells).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.server.errors import error_response

BODY_LIMIT = 1_000_000
"""Bytes of a request's body."""

_DRAIN = 8 * BODY_LIMIT
"""Of a body that is too large, this much is read and dropped, so that the client gets to see the answer."""

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


def is_loopback(host: str) -> bool:
    """Whether a host name or address (no port) means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _names_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


class Guard:
    """ASGI middleware: loopback only, bodies of limited size, protective headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _names_loopback(f"//{host}"):
            refusal = error_response(
                403, f"This server answers on loopback only, not as {host!r}", code="host_not_allowed"
            )
        elif origin is not None and not _names_loopback(origin):
            refusal = error_response(403, f"No requests from pages of {origin!r}", code="origin_not_allowed")
        else:
            body = await _read_body(headers, receive)
            if body is not None:
                await self.app(scope, _replay(body, receive), send_with_headers)
                return
            refusal = error_response(413, f"The body is larger than {BODY_LIMIT} bytes")
        await refusal(scope, receive, send_with_headers)


async def _read_body(headers: Headers, receive: Receive) -> bytes | None:
    """The whole body, or None where it is too large."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > _DRAIN:
        return None
    chunks, size, more = [], 0, True
    while more and size <= _DRAIN:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= BODY_LIMIT:
            chunks.append(chunk)
    return b"".join(chunks) if size <= BODY_LIMIT else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once and then whatever comes, which is the client's disconnect."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
