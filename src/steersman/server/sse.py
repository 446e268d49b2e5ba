"""Server-sent events: one JSON object per event, and the response that they go in.

Why it is our own: decision 101 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from steersman.server.body import until_gone

PING_SECONDS = 15.0
"""Silence after which a comment is sent: proxies close connections in which nothing comes."""
PING = b": ping\n\n"


def event(value: Any, kind: str | None = None) -> bytes:
    # ASCII only: some clients also break lines at U+2028 and the like, which JSON leaves as they are.
    data = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode() if kind else f"data: {data}\n\n".encode()


async def events_of(*events: bytes) -> AsyncGenerator[bytes]:
    for one in events:
        yield one


async def following(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """`first`, which the caller has read from `rest` already, and the rest."""
    async with contextlib.aclosing(rest):
        yield first
        async for one in rest:
            yield one


class EventStream(Response):
    """Sends events as they come, and closes them when the client leaves."""

    def __init__(
        self, events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None, status_code: int = 200
    ) -> None:
        self._events, self._last, self._gone = events, 0.0, False
        self.status_code, self.background, self.media_type = status_code, None, "text/event-stream"
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"} | dict(headers or {}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.current_task()
        assert writing is not None
        clock = asyncio.get_running_loop().time
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._last = clock()
        watch = asyncio.create_task(self._watch(writing, receive, send))
        try:
            async with contextlib.aclosing(self._events) as events:
                async for one in events:
                    self._last = clock()
                    await send(_part(one))
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not self._gone or writing.uncancel():
                raise
        finally:
            watch.cancel()

    async def _watch(self, writing: asyncio.Task[Any], receive: Receive, send: Send) -> None:
        """Until the client is gone."""
        clock = asyncio.get_running_loop().time
        while not self._gone:
            try:
                async with asyncio.timeout_at(self._last + PING_SECONDS):
                    await until_gone(receive)
                self._gone = True
                writing.cancel()
            except TimeoutError:
                if clock() >= self._last + PING_SECONDS:
                    self._last = clock()
                    await send(_part(PING))


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


def stream(events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None) -> EventStream:
    return EventStream(events, headers)
