"""`/v1/messages` and `/v1/messages/count_tokens`, as Anthropic's clients expect them.

Why so: decision 40 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from steersman.parts import ToolCall
from steersman.server.anthropic_errors import anthropic_error
from steersman.server.asked import Answering, Ended, Item, admit, counted
from steersman.server.context import AtEnd, Ctx
from steersman.server.errors import ApiError, failed_answer
from steersman.server.file_parts import reading
from steersman.server.messages_schema import CountRequest, MessagesRequest, refuse_what_changes, to_asked, user_of
from steersman.server.sse import event, following, stream

router = APIRouter(prefix="/v1")
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@router.post("/messages", responses={200: {"content": {"text/event-stream": {}}}})
async def messages(ctx: Ctx, request: Request, body: MessagesRequest, at_end: AtEnd) -> Response:
    refuse_what_changes(body)
    found = await ctx.named(body.model)
    read = functools.partial(to_asked, body, ctx.system_prompt, ctx.temperature)
    answering = await admit(ctx, found, at_end, request, read, users=[user_of(body)])
    if body.stream:
        events = _events(answering)
        first = await anext(events)  # raises the engine's refusal
        return stream(following(first, events), answering.headers)
    said: list[Item] = []
    async with contextlib.aclosing(answering.items(request)) as items:
        async for _, item in items:
            said.append(item)
    words = "".join(item for item in said if isinstance(item, str))
    content: list[dict[str, Any]] = [{"type": "text", "text": words}] if words else []
    content += [_use(item, json.loads(item.arguments)) for item in said if isinstance(item, ToolCall)]
    (ended,) = (item for item in said if isinstance(item, Ended))
    whole = _message(answering) | {"content": content} | _end(answering, ended)
    return JSONResponse(whole, headers=answering.headers)


@router.post("/messages/count_tokens")
async def count_tokens(ctx: Ctx, request: Request, body: CountRequest) -> dict[str, int]:
    refuse_what_changes(body)
    found = await ctx.named(body.model)
    read = functools.partial(to_asked, body, ctx.system_prompt, ctx.temperature)
    asked = await reading(request, read)
    return {"input_tokens": await counted(ctx, found.engine, asked)}


def _message(answering: Answering) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": answering.found.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": answering.tokens, "output_tokens": 0},
    }


def _end(answering: Answering, ended: Ended) -> dict[str, Any]:
    done = ended.completion
    used = {"input_tokens": done.counted[0] or answering.tokens, "output_tokens": done.tokens}
    stopped = done.stopped if ended.reason == "stop" else ""
    reason = "stop_sequence" if stopped else _STOPS[ended.reason]
    return {"stop_reason": reason, "stop_sequence": stopped or None, "usage": used}


def _use(call: ToolCall, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call.id.removeprefix('call_')}", "name": call.name, "input": given}


async def _events(answering: Answering) -> AsyncGenerator[bytes]:
    """Anthropic's events. Raises the engine's refusal; later errors become events."""

    def told(kind: str, **more: Any) -> bytes:
        return event({"type": kind} | more, kind)

    begun, place, words = False, -1, False
    try:
        async with contextlib.aclosing(answering.items()) as items:
            async for _, item in items:
                if not begun:
                    begun = True
                    yield told("message_start", message=_message(answering))
                if words and not isinstance(item, str):
                    words = False
                    yield told("content_block_stop", index=place)
                if isinstance(item, ToolCall):
                    place += 1
                    yield told("content_block_start", index=place, content_block=_use(item, {}))
                    delta = {"type": "input_json_delta", "partial_json": item.arguments}
                    yield told("content_block_delta", index=place, delta=delta)
                    yield told("content_block_stop", index=place)
                elif isinstance(item, Ended):
                    end = _end(answering, item)
                    yield told("message_delta", usage=end.pop("usage"), delta=end)
                    yield told("message_stop")
                elif item:
                    if not words:
                        words, place = True, place + 1
                        block = {"type": "text", "text": ""}
                        yield told("content_block_start", index=place, content_block=block)
                    yield told("content_block_delta", index=place, delta={"type": "text_delta", "text": item})
    except Exception as error:
        if not begun:
            raise
        status = error.status if isinstance(error, ApiError) else 500
        yield event(anthropic_error(status, failed_answer(error)), "error")
