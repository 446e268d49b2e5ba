"""From a question on the page to an answer under way: which model, with what settings, and whether it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, PromptTooLong
from steersman.parts import Citation, Image, Said, Text
from steersman.server.answers import Answer
from steersman.server.chat_images import kept, with_bytes
from steersman.server.chat_schema import Question
from steersman.server.chat_settings import model_of, params_of, wanted_tokens
from steersman.server.context import Context
from steersman.server.encoders import Route, with_prompt
from steersman.server.errors import ApiError
from steersman.server.fitting import Fitted
from steersman.server.generation import Place
from steersman.server.models import Found
from steersman.server.request_parts import to_said
from steersman.store import Chat, ChatMessage
from steersman.types import Conversation, Message


@dataclass(frozen=True)
class Ready:
    """A prompt that fits its model."""

    chat: Chat
    model: Found
    fitted: Fitted
    route: Route | None = None
    """Where serve.router sent the question."""


async def asked(ctx: Context, id_: str, body: Question, model: Found | None = None) -> Ready:
    """A new question, before it is stored, so that a refused one leaves no trace; for `model`, or the chat's own."""
    chat = await run_in_threadpool(ctx.store.conversation, id_)
    await run_in_threadpool(ctx.store.check_parent, id_, body.parent_id)
    before = await run_in_threadpool(ctx.store.dialogue, id_, body.parent_id)
    said = await run_in_threadpool(_said, body)
    prompt = Conversation(id_, (*before.messages, Message("user", said)))
    return await _ready(ctx, chat, prompt, body.shorten, body.parent_id, model)


async def asked_again(ctx: Context, question: ChatMessage, shorten: bool, begun: str = "") -> Ready:
    """A question that is stored; `begun`: words with which its answer begins."""
    chat = await run_in_threadpool(ctx.store.conversation, question.conversation_id)
    prompt = await run_in_threadpool(ctx.store.dialogue, question.conversation_id, question.id)
    if begun:
        prompt = dataclasses.replace(prompt, messages=(*prompt.messages, Message("assistant", begun)))
    return await _ready(ctx, chat, prompt, shorten, question.parent_id, None)


async def asked_on(ctx: Context, question: ChatMessage, cut: ChatMessage, shorten: bool) -> Ready:
    """A question whose answer `cut` ended before its end, to be gone on with. ApiError 409 where another model would
    write the rest: nobody could say whose the whole is."""
    # templates drop white space at the end: the model writes it again
    ready = await asked_again(ctx, question, shorten or cut.left_out > 0, cut.content.rstrip())
    if ready.model.engine.policy_version != cut.policy_version:
        raise ApiError(409, "Another model answers by now; ask for another answer", code="other_model")
    return ready


async def stored(ctx: Context, id_: str, body: Question) -> ChatMessage:
    said = await run_in_threadpool(_said, body)

    def add(said: Sequence[Said]) -> ChatMessage:
        return ctx.store.add_question(id_, said, body.parent_id, known=body.known)

    return await run_in_threadpool(kept, ctx, said, add)


def began(
    ctx: Context,
    ready: Ready,
    place: Place,
    question: ChatMessage,
    *,
    id_: str | None = None,
    blind: bool = False,
    continues: str = "",
) -> Answer:
    params = params_of(ctx, ready.chat.settings, ready.fitted.room, ready.model.adapter)
    told: dict[str, Any] = {"left_out": ready.fitted.left_out, "blind": blind, "continues": continues}
    told |= {"route": ready.route.to_json()} if ready.route else {}
    return ctx.answers.begin(
        ready.model.engine,
        place,
        question,
        ready.fitted.prompt,
        params,
        {name: value for name, value in told.items() if value},
        id_,
    )


def _said(body: Question) -> list[Said]:
    """A question's content; it must have text or an image."""
    if isinstance(body.content, str):
        return [Text(body.content)]
    said = to_said(body.content, "content")
    if not any(isinstance(part, Image) or part.text.strip() for part in said if not isinstance(part, Citation)):
        raise ApiError(400, "content: expected some text, or an image", param="content")
    return said


async def _ready(
    ctx: Context, chat: Chat, prompt: Conversation, shorten: bool, before: str | None, model: Found | None
) -> Ready:
    """The prompt; if it is too long, without its earliest turns where the caller or an earlier answer allowed that.

    ApiError whose `param` says what is too long: "messages", where leaving out turns would help, or "content".
    """
    route = None
    if model is None:
        model = await model_of(ctx, chat)
        if model.current and (route := await ctx.encoders.route(prompt)):
            model = await ctx.named(route.to.model) if route.to.model else model
            prompt = with_prompt(prompt, route.to.system_prompt, ctx.system_prompt)
    engine, wanted = model.engine, wanted_tokens(chat)
    if not shorten and before is not None:
        shorten = (await run_in_threadpool(ctx.store.message, before)).left_out > 0
    try:
        fitted = await ctx.fit(engine, prompt, wanted, truncate=shorten)
        return Ready(chat, model, dataclasses.replace(fitted, prompt=await with_bytes(ctx, fitted.prompt)), route)
    except PromptTooLong as error:
        param = "content" if shorten or not await _would_fit(ctx, engine, prompt) else "messages"
        raise ApiError(400, str(error), param=param, code="context_length_exceeded") from None


async def _would_fit(ctx: Context, engine: Engine, prompt: Conversation) -> bool:
    try:
        await ctx.fit(engine, prompt, None, truncate=True)
    except PromptTooLong:
        return False
    return True
