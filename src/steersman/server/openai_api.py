"""`/v1`: models and chat completions as OpenAI's clients expect them.

Why so: decision 40 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, Prompt
from steersman.parts import ToolCall
from steersman.server.asked import Answering, Asked, Ended, Item, admit, cancel_on_disconnect
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.encoders import Route
from steersman.server.errors import failed_answer
from steersman.server.file_parts import reading
from steersman.server.generation import Generation, Place
from steersman.server.logprobs import check_tokens, logprobs_json, with_raw
from steersman.server.models import Found
from steersman.server.old_functions import call_json
from steersman.server.openai_schema import ChatRequest, left_out, no_thoughts, refuse_unsupported, to_params, to_prompt
from steersman.server.sse import event, following, stream
from steersman.server.tools_schema import Tools
from steersman.types import Completion, SamplingParams

router = APIRouter(prefix="/v1")
_STARTED = int(time.time())


def _model_json(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "steersman"}


@router.get("/models")
def list_models(ctx: Ctx) -> dict[str, Any]:
    data = [_model_json(name) for name in [*ctx.models.names(), *ctx.encoders.names]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"], "has_more": False}  # for Anthropic's clients
    return {"object": "list", "data": data} | ends


@router.get("/models/{name:path}")
async def get_model(ctx: Ctx, name: str) -> dict[str, Any]:
    if name not in [*await run_in_threadpool(ctx.models.names), *ctx.encoders.names]:
        await ctx.named(name)  # 404, with the names there are
    return _model_json(name)


@router.post("/chat/completions", responses={200: {"content": {"text/event-stream": {}}}})
async def chat_completions(ctx: Ctx, request: Request, body: ChatRequest, at_end: AtEnd) -> Response:
    named = await ctx.named(body.model)
    refuse_unsupported(body)
    named, route = await _routed(ctx, request, body, named)
    found = await ctx.for_user(named, body.user, body.safety_identifier, body.beginning)
    if body.logprobs:
        check_tokens(found.engine)

    def read() -> Asked:
        dialogue = to_prompt(body, (route and route.to.system_prompt) or ctx.system_prompt)
        params = to_params(body, body.answer_tokens or ctx.max_tokens, ctx.temperature)
        inserted = len(dialogue.messages) - len(body.messages)
        return Asked(
            dialogue, params, body.asked_tools, inserted, body.answer_tokens, no_thoughts(body), left_out(body)
        )

    answering = await admit(ctx, found, at_end, request, read, body.n or 1)
    if body.stream:
        include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        head = head_of(found.engine, "chat.completion.chunk", found.name) | ({"usage": None} if include_usage else {})
        head |= {"route": route.to_json()} if route else {}
        chunks = _chunks(answering, head, bool(body.logprobs))
        first = await anext(chunks)  # raises the engine's refusal
        return stream(following(first, chunks), answering.headers)
    said: list[list[Item]] = [[] for _ in range(answering.params.n)]
    async with contextlib.aclosing(answering.items(request)) as items:
        async for number, item in items:
            said[number].append(item)
    head = head_of(found.engine, "chat.completion", found.name) | ({"route": route.to_json()} if route else {})
    told = functools.partial(_body, answering, said, head, bool(body.logprobs))
    return Response(await run_in_threadpool(told), headers=answering.headers, media_type="application/json")


async def _routed(ctx: Context, request: Request, body: ChatRequest, found: Found) -> tuple[Found, Route | None]:
    """The model that serve.router sends a question to, where it names the served one and no system message."""
    if (
        ctx.encoders.router is None
        or not found.current
        or any(message.role in ("system", "developer") for message in body.messages)
    ):
        return found, None
    route = await ctx.encoders.route(await reading(request, functools.partial(to_prompt, body, "")))
    return (await ctx.named(route.to.model) if route and route.to.model else found), route


def _body(answering: Answering, said: list[list[Item]], head: dict[str, Any], logprobs: bool) -> str:
    """The whole answers in JSON."""
    choices, completions = [], []
    for i, items in enumerate(said):
        (ended,) = (item for item in items if isinstance(item, Ended))
        calls = [item for item in items if isinstance(item, ToolCall)]
        words = "".join(item for item in items if isinstance(item, str))
        message: dict[str, Any] = {"role": "assistant", "content": words or (None if calls else ""), "refusal": None}
        if calls and answering.tools.first_form:
            message["function_call"] = call_json(calls[0])
        elif calls:
            message["tool_calls"] = [call.to_json() for call in calls]
        choice = {"index": i, "message": message, "finish_reason": _reason(ended, answering.tools)}
        raw = logprobs_json(answering.engine, ended.completion) if logprobs else "null"
        choices.append(with_raw(choice, logprobs=raw))
        completions.append(ended.completion)
    head = head | {"system_fingerprint": completions[0].policy_version}
    return with_raw(head | {"usage": used(answering.tokens, completions, len(said))}, choices=f"[{','.join(choices)}]")


def _reason(ended: Ended, tools: Tools) -> str:
    return "function_call" if tools.first_form and ended.reason == "tool_calls" else ended.reason


def finish_of(completion: Completion) -> str:
    # OpenAI has no word for an answer that was cut off because the server stopped.
    return "length" if completion.finish_reason == "cancelled" else completion.finish_reason


def used(prompt_tokens: int, completions: list[Completion], n: int) -> dict[str, int]:
    """Of `n` answers to each prompt. What an endpoint counted of the prompts is better than the bound from before."""
    answered = sum(completion.tokens for completion in completions)
    if completions and all(one.counted[0] for one in completions):
        prompt_tokens = sum(one.counted[0] for one in completions) // n
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answered,
        "total_tokens": prompt_tokens + answered,
    }


def head_of(engine: Engine, kind: str, model: str = "") -> dict[str, Any]:
    return {
        "id": f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model or engine.model_name,
        "system_fingerprint": engine.policy_version,
    }


async def complete(
    ctx: Context, engine: Engine, place: Place, request: Request, prompt: Prompt, params: SamplingParams
) -> list[Completion]:
    """The whole answers in order, streamed from the engine so that they end when the client leaves."""
    generation = Generation(engine, prompt, params)
    watch = asyncio.create_task(cancel_on_disconnect(request, generation))
    try:
        async with contextlib.aclosing(ctx.generations.run_all(generation, place)) as items:
            done = {number: item async for number, item in items if isinstance(item, Completion)}
        return [done[number] for number in range(params.n)]
    finally:
        watch.cancel()


async def _chunks(answering: Answering, head: dict[str, Any], logprobs: bool) -> AsyncGenerator[bytes]:
    """The answers as they grow, in OpenAI's chunks, then [DONE]. Log-probabilities come with an answer's end; usage
    where `head` has a place for it.

    Raises the engine's refusal; later errors become events.
    """
    engine, n = answering.engine, answering.params.n
    opening = with_raw(head, choices="[")[:-1]

    def chunk(index: int, delta: dict[str, Any], end: Ended | None = None) -> bytes:
        told = logprobs_json(engine, end.completion) if logprobs and end is not None else "null"
        choice = {
            "index": index,
            "delta": delta,
            "finish_reason": None if end is None else _reason(end, answering.tools),
        }
        return event(f"{opening}{with_raw(choice, logprobs=told)}]}}")

    def words(index: int, text: str) -> bytes:
        """`chunk` of words, without going through the whole of it for each token."""
        said = json.dumps(text)
        rest = '},"finish_reason":null,"logprobs":null}]}\n\n'
        return f'data: {opening}{{"index":{index},"delta":{{"content":{said}{rest}'.encode()

    completions: list[Completion] = []
    begun, calls = False, [0] * n
    try:
        async with contextlib.aclosing(answering.items()) as items:
            async for index, item in items:
                for number in range(0 if begun else n):
                    begun = True
                    yield chunk(number, {"role": "assistant", "content": ""})
                if isinstance(item, ToolCall):
                    for delta in _call_deltas(item, calls[index], answering.tools):
                        yield chunk(index, delta)
                    calls[index] += 1
                elif isinstance(item, Ended):
                    completions.append(item.completion)
                    yield await run_in_threadpool(chunk, index, {}, item) if logprobs else chunk(index, {}, item)
                elif item:
                    yield words(index, item)
        if "usage" in head:
            yield event(head | {"choices": [], "usage": used(answering.tokens, completions, n)})
        yield event("[DONE]")
    except Exception as error:
        if not begun:
            raise
        yield event(failed_answer(error))


def _call_deltas(call: ToolCall, place: int, tools: Tools) -> list[dict[str, Any]]:
    """A call as clients expect it: its name first, then its arguments."""
    named, rest = call_json(call) | {"arguments": ""}, {"arguments": call.arguments}
    if tools.first_form:
        return [{"function_call": named}, {"function_call": rest}]
    begun = {"index": place, "id": call.id, "type": "function", "function": named}
    return [{"tool_calls": [begun]}, {"tool_calls": [{"index": place, "function": rest}]}]
