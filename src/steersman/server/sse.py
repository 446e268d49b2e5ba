"""Server-sent events: one JSON object per event."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent

SEPARATOR = "\n"  # readers that split at blank lines rarely know the standard's other line ends


def event(value: Any, kind: str | None = None) -> ServerSentEvent:
    # ASCII only: some clients also break lines at U+2028 and the like, which JSON leaves as they are.
    data = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return ServerSentEvent(data=data, event=kind, sep=SEPARATOR)


async def events_of(*events: ServerSentEvent) -> AsyncGenerator[ServerSentEvent]:
    for one in events:
        yield one


async def following(first: ServerSentEvent, rest: AsyncGenerator[ServerSentEvent]) -> AsyncGenerator[ServerSentEvent]:
    """`first`, which the caller has read from `rest` already, and the rest."""
    async with contextlib.aclosing(rest):
        yield first
        async for one in rest:
            yield one


def stream(events: AsyncIterator[ServerSentEvent], headers: Mapping[str, str] | None = None) -> EventSourceResponse:
    """A response that closes `events` when the client leaves, and keeps the connection awake meanwhile."""
    return EventSourceResponse(events, sep=SEPARATOR, headers=headers)
