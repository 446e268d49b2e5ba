"""`/v1/responses`: stateless or stored, streamed or whole.

A stored response belongs to whoever asked for it and is kept for 30 days; another goes on from it by its id.

Why so: decision 40 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response as HttpResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from steersman.server.asked import LEFT_OUT, Answering, Asked, Ended, Item, admit, counted
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError, failed_answer
from steersman.server.file_parts import reading
from steersman.server.logprobs import check_tokens
from steersman.server.people import Who
from steersman.server.responses_events import Response, item_id, response_of
from steersman.server.responses_schema import (
    InputItem,
    ReferenceItem,
    ResponsesRequest,
    refuse_what_changes,
    to_asked,
    users_of,
)
from steersman.server.responses_tools import left_out
from steersman.server.sse import event, following, stream
from steersman.store.responses import StoredResponse

router = APIRouter(prefix="/v1")
_ITEMS: TypeAdapter[list[Any]] = TypeAdapter(list[InputItem])


@router.post("/responses", responses={200: {"content": {"text/event-stream": {}}}})
async def responses(ctx: Ctx, who: Who, request: Request, body: ResponsesRequest, at_end: AtEnd) -> HttpResponse:
    refuse_what_changes(body)
    found = await ctx.named(body.model)
    if body.wants_logprobs:
        check_tokens(found.engine)
    read = functools.partial(_asked, ctx, who.id, body)
    answering = await admit(ctx, found, at_end, request, read, users=users_of(body))
    made, told = Response(body, answering), _told(ctx, body, answering.left_out)
    if body.stream:
        events = _events(ctx, who.id, body, answering, made)
        first = await anext(events)  # raises the engine's refusal
        return stream(following(first, events), told)
    async with contextlib.aclosing(answering.items(request)) as items:
        async for _, item in items:
            await _added(made, item)
    await _keep(ctx, who.id, body, made)
    return HttpResponse(made.json(made.body), headers=told, media_type="application/json")


async def _added(made: Response, item: Item) -> list[dict[str, Any]]:
    """The item's events; an answer's end, which may bring megabytes of log-probabilities, has a thread."""
    if isinstance(item, Ended):
        return await run_in_threadpool(lambda: list(made.add(item)))
    return list(made.add(item))


def _asked(ctx: Context, owner: str, body: ResponsesRequest) -> Asked:
    body.input = _resolved(ctx, owner, body)
    before = _before(ctx, owner, body.previous_response_id)
    return to_asked(body, before, ctx.system_prompt, ctx.max_tokens, ctx.temperature)


@router.post("/responses/input_tokens")
async def input_tokens(ctx: Ctx, who: Who, request: Request, body: ResponsesRequest) -> dict[str, Any]:
    """How long a request's prompt is, without answering it."""
    refuse_what_changes(body)
    found = await ctx.named(body.model)
    asked = await reading(request, functools.partial(_asked, ctx, who.id, body))
    return {"object": "response.input_tokens", "input_tokens": await counted(ctx, found.engine, asked)}


def _told(ctx: Context, body: ResponsesRequest, parameters: Sequence[str]) -> dict[str, str]:
    """Names the tools that were left out, which are counted, and parameters that had no effect."""
    hosted = left_out(body.tools)
    for kind in hosted:
        ctx.metrics.left_out(kind)
    named = [*hosted, *parameters]
    return {LEFT_OUT: ", ".join(named)} if named else {}


def _before(ctx: Context, owner: str, previous: str | None) -> list[Any]:
    """The items of the responses that a request goes on from, earliest first."""
    if previous is None:
        return []
    chain = ctx.store.responses.chain(previous, owner)
    if chain is None:
        message = f"Previous response with id '{previous[:100]}' not found"
        raise ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
    return _ITEMS.validate_python([item for one in chain for item in (*one.items, *one.body["output"])])


def _resolved(ctx: Context, owner: str, body: ResponsesRequest) -> list[Any]:
    """The request's items, those that were kept in the place of references to them."""
    items = body.items
    stored = functools.cache(lambda id_: ctx.store.responses.get(id_, owner))
    for i, item in enumerate(items):
        if isinstance(item, ReferenceItem):
            kept = stored(response_of(item.id))
            found = [one for one in (*kept.items, *kept.body["output"]) if one["id"] == item.id] if kept else []
            if not found:
                message = f"Item with id '{item.id[:100]}' not found; expected one of a response that was stored"
                raise ApiError(400, message, param=f"input[{i}].id", code="item_not_found")
            (items[i],) = _ITEMS.validate_python(found)
    return items


async def _keep(ctx: Context, owner: str, body: ResponsesRequest, made: Response) -> None:
    if body.store is False:
        return
    # above the places of its own answer
    named = ((item_id("msg", made.id, 256 + i), item) for i, item in enumerate(body.items))
    items = [{"id": id_} | item.model_dump(exclude_none=True) for id_, item in named]
    for item in items:
        if item["type"] == "message" and isinstance(item["content"], str):
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            item["content"] = [{"type": kind, "text": item["content"]}]
    kept = StoredResponse(made.id, owner, body.previous_response_id, made.stored, items)
    await run_in_threadpool(ctx.store.responses.add, kept)


async def _events(
    ctx: Context, owner: str, body: ResponsesRequest, answering: Answering, made: Response
) -> AsyncGenerator[bytes]:
    """OpenAI's events. Raises the engine's refusal; later errors become events."""

    def told(one: dict[str, Any]) -> bytes:
        return event(made.json(one), one["type"])

    begun = False
    try:
        async with contextlib.aclosing(answering.items()) as items:
            async for _, item in items:
                for one in () if begun else made.begin():
                    begun = True
                    yield told(one)
                for one in await _added(made, item):
                    if one["type"] in ("response.completed", "response.incomplete"):
                        await _keep(ctx, owner, body, made)
                    yield told(one)
    except Exception as error:
        if not begun:
            raise
        yield told(made.fail(failed_answer(error)["error"]["message"]))


async def _found(ctx: Context, owner: str, id_: str) -> StoredResponse:
    kept = await run_in_threadpool(ctx.store.responses.get, id_, owner)
    if kept is None:
        raise ApiError(404, f"Response with id '{id_[:100]}' not found", param="response_id", code="not_found")
    return kept


@router.get("/responses/{id}")
async def get_response(ctx: Ctx, who: Who, id: str, stream: bool = False) -> dict[str, Any]:
    kept = await _found(ctx, who.id, id)
    if stream:  # a client would read JSON as no events at all
        raise ApiError(400, "Only a response in the background is streamed again; expected no stream", param="stream")
    return kept.body


@router.delete("/responses/{id}")
async def delete_response(ctx: Ctx, who: Who, id: str) -> dict[str, Any]:
    await _found(ctx, who.id, id)
    await run_in_threadpool(ctx.store.responses.delete, id, who.id)
    return {"id": id, "object": "response.deleted", "deleted": True}


@router.post("/responses/{id}/cancel")
async def cancel_response(ctx: Ctx, who: Who, id: str) -> dict[str, Any]:
    """Only responses in the background can be cancelled, and there are none: leaving a stream ends its answer."""
    await _found(ctx, who.id, id)
    raise ApiError(400, "Cannot cancel a synchronous response", param="response_id")


@router.get("/responses/{id}/input_items")
async def input_items(
    ctx: Ctx,
    who: Who,
    id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    """What the response was asked with; that of the responses before it is theirs."""
    items = json.loads(json.dumps((await _found(ctx, who.id, id)).items))
    items = items if order == "asc" else items[::-1]
    ids = [item["id"] for item in items]
    if after is not None:
        if after not in ids:
            raise ApiError(400, f"after: expected the id of one of its items, got {after[:100]!r}", param="after")
        items = items[ids.index(after) + 1 :]
    shown = items[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, "has_more": len(items) > limit} | ends
