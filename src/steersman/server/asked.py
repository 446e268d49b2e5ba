"""Answers to any of the API's forms: words and calls of tools as they come, and how each answer ends.

`/v1/chat/completions`, `/v1/responses` and `/v1/messages` read their requests into an `Asked` and write what
`Answering` gives them, each in its own form.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from anyio import to_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, StopsThinking, WritesCalls
from steersman.parts import ToolCall
from steersman.server.body import until_gone
from steersman.server.context import AtEnd, Context
from steersman.server.errors import ApiError, unsayable
from steersman.server.file_parts import reading
from steersman.server.generation import Generation, Place
from steersman.server.models import Found
from steersman.server.tools_schema import NO_TOOLS, Tools, forced_schema
from steersman.text.call_form import CallForm, CallReader
from steersman.types import Completion, Conversation, SamplingParams

LEFT_OUT = "Steersman-Left-Out"
"""Header of an answer: tools of the request that the model was not told of, and what had no effect on it."""


@dataclass(frozen=True)
class Asked:
    """A request, whatever its form."""

    dialogue: Conversation
    params: SamplingParams
    """`max_tokens` is not yet fitted."""
    tools: Tools = NO_TOOLS
    inserted: int = 0
    """Turns of `dialogue` that are not the caller's own, at its beginning."""
    limit: int | None = None
    """The request's own `max_tokens`."""
    unthinking: str = ""
    """The parameter that asks for an answer without thoughts; the dialogue does not say so yet."""

    left_out: tuple[str, ...] = ()
    """What else of the request has no effect here."""
    truncate: bool = False
    """Whether early turns may be left out of a dialogue that is too long."""

    @property
    def beginning(self) -> str:
        """The user's first turn, which stays while the dialogue goes on."""
        return next((turn.text for turn in self.dialogue.messages if turn.role == "user"), "")


@dataclass(frozen=True)
class Ended:
    """An answer's end. `reason`: stop, length or tool_calls."""

    completion: Completion
    reason: str


Item = str | ToolCall | Ended


class Reader(Protocol):
    def feed(self, piece: str) -> list[str | ToolCall]: ...

    def end(self) -> list[str | ToolCall]: ...


class _Words:
    """A reader where nothing can be called."""

    def feed(self, piece: str) -> list[str | ToolCall]:
        return [piece]

    def end(self) -> list[str | ToolCall]:
        return []


class _Forced:
    """A reader of an answer that is one call in JSON; where the answer is cut off before its end, it is text."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[str | ToolCall]:
        self._text += piece
        return []

    def end(self) -> list[str | ToolCall]:
        try:
            call = json.loads(self._text)
            return [ToolCall(call_id(), call["name"], json.dumps(call["arguments"], ensure_ascii=False))]
        except (ValueError, KeyError, TypeError, RecursionError):
            return [self._text] if self._text else []


def call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass(frozen=True)
class Answering:
    """A request that was admitted."""

    ctx: Context
    found: Found
    place: Place
    prompt: Conversation
    params: SamplingParams
    tokens: int
    """Tokens of the prompt."""
    tools: Tools
    form: CallForm | None
    left_out: tuple[str, ...] = ()
    """What of the request has no effect on this model."""

    @property
    def engine(self) -> Engine:
        return self.found.engine

    @property
    def headers(self) -> dict[str, str]:
        return {LEFT_OUT: ", ".join(self.left_out)} if self.left_out else {}

    def _reader(self) -> Reader:
        if self.tools.forced:
            return _Forced()
        return _Words() if self.form is None else CallReader(self.form, self.tools.given, call_id)

    async def items(self, request: Request | None = None) -> AsyncGenerator[tuple[int, Item]]:
        """(number of the answer, words, call or end). The first item is an empty piece: the engine has accepted.

        With a `request` the answers end when its client leaves. Raises the engine's errors.
        """
        generation = Generation(self.engine, self.prompt, self.params)
        watch = None if request is None else asyncio.create_task(cancel_on_disconnect(request, generation))
        readers = [self._reader() for _ in range(self.params.n)]
        called = [0] * self.params.n
        try:
            async with contextlib.aclosing(self.ctx.generations.run_all(generation, self.place)) as items:
                async for number, item in items:
                    ended = isinstance(item, Completion)
                    read = readers[number].end() if ended else readers[number].feed(str(item))
                    for one in [""] if item == "" else read:
                        if isinstance(one, ToolCall):
                            called[number] += 1
                            if called[number] > 1 and not self.tools.parallel:
                                continue
                        yield number, one
                    if isinstance(item, Completion):
                        yield number, Ended(item, _reason(item, called[number]))
        finally:
            if watch is not None:
                watch.cancel()


def _reason(completion: Completion, called: int) -> str:
    if called and completion.finish_reason == "stop":
        return "tool_calls"
    # OpenAI has no word for an answer that was cut off because the server stopped.
    return "length" if completion.finish_reason == "cancelled" else completion.finish_reason


async def cancel_on_disconnect(request: Request, generation: Generation) -> None:
    await until_gone(request.receive)
    generation.cancel()


async def admit(
    ctx: Context,
    found: Found,
    at_end: AtEnd,
    request: Request,
    read: Callable[[], Asked],
    answers: int = 1,
    users: Sequence[str | None] | None = None,
) -> Answering:
    """Reserve room, read the request (in a thread) and fit it into the context. ApiError where any of these fails.

    With `users` (ids that the request may name) the request takes part in a canary; without, `found` was chosen so.
    """
    place = at_end.enter_context(ctx.generations.reserve(answers))
    asked = await reading(request, read)
    if users is not None:
        found = await ctx.for_user(found, *users, asked.beginning)
    engine = found.engine
    tools, form = asked.tools, None
    dialogue, params = dataclasses.replace(asked.dialogue, tools=tools.given), asked.params
    dialogue, thoughts = await run_in_threadpool(without_thoughts, ctx, engine, dialogue, asked.unthinking)
    if tools.given:
        form = await run_in_threadpool(_form, engine)
        if tools.forced:
            if params.regex is not None or params.choices:
                raise ApiError(400, "tool_choice: expected no regex beside a call that is forced", param="tool_choice")
            # a response_format is of words, of which such an answer has none
            params = dataclasses.replace(params, json_schema=forced_schema(tools.forced))
        else:
            params = dataclasses.replace(params, special=True)
    fitted = await ctx.fit(engine, dialogue, asked.limit, truncate=asked.truncate, inserted=asked.inserted)
    params = dataclasses.replace(params, max_tokens=fitted.room, adapter=found.adapter or params.adapter)
    left_out = (*asked.left_out, *([thoughts] if thoughts else ()))
    left_out += (f"the earliest {fitted.left_out} turns",) if fitted.left_out else ()
    return Answering(ctx, found, place, fitted.prompt, params, fitted.tokens, tools, form, left_out)


def without_thoughts(ctx: Context, engine: Engine, dialogue: Conversation, parameter: str) -> tuple[Conversation, str]:
    """(the dialogue, answered without thoughts where the request's `parameter` asks for that; the parameter where the
    engine knows no way to). It may block at a model's first such request."""
    if not parameter:
        return dialogue, ""
    if isinstance(engine, StopsThinking) and engine.stops_thinking():
        return dataclasses.replace(dialogue, think=False), ""
    ctx.metrics.left_out(parameter)
    return dialogue, parameter


async def counted(ctx: Context, engine: Engine, asked: Asked) -> int:
    """Tokens of the request's prompt. ApiError where the model's template refuses it."""
    dialogue = dataclasses.replace(asked.dialogue, tools=asked.tools.given)

    def count() -> int:
        return engine.count_tokens(without_thoughts(ctx, engine, dialogue, asked.unthinking)[0])

    try:
        return await to_thread.run_sync(count, limiter=ctx.counting)
    except ValueError as error:
        raise unsayable(error, asked.inserted) from None


def _form(engine: Engine) -> CallForm:
    """How the engine's model writes calls. ApiError where nobody knows: then its template shows it no tools either."""
    form = engine.call_form() if isinstance(engine, WritesCalls) else None
    if form is None:
        message = "tools: this model's chat template does not say how it calls tools; expected a request without them"
        raise ApiError(400, message, param="tools", code="unsupported_parameter")
    return form
