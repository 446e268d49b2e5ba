"""Errors of `/v1/messages` in Anthropic's form, wherever in the server they come from."""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}

UNTHREADED = "thread_unsupported_request"
"""Upon which Anthropic's clients send the whole conversation with each request, as before there were threads."""


def anthropic_error(status: int, shown: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's error object as Anthropic's."""
    kind = _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    said: dict[str, Any] = {"type": kind, "message": str(shown["error"]["message"])}
    if shown["error"].get("code") == UNTHREADED:
        said["details"] = {"error_code": UNTHREADED, "unsupported": ["thread"]}
    return {"type": "error", "error": said}


class AnthropicErrors:
    """ASGI middleware: rewrites the errors of the paths below /v1/messages."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"] + "/").startswith("/v1/messages/"):
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def sent(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                told = _rewritten(start["status"], body)
                MutableHeaders(scope=start)["content-length"] = str(len(told))
                await send(start)
                await send({"type": "http.response.body", "body": told})

        await self.app(scope, receive, sent)


def _rewritten(status: int, body: bytes) -> bytes:
    try:
        return json.dumps(anthropic_error(status, json.loads(body))).encode()
    except (ValueError, KeyError, TypeError):
        return body
