"""The chat page's API: conversations, messages with streamed answers, feedback."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from steersman import __version__
from steersman.engine.protocol import Engine, PromptTooLong
from steersman.parts import Citation, Image, Said, Text
from steersman.server.answers import Answer
from steersman.server.audit import audit
from steersman.server.chat_images import delete_chat, kept, with_bytes
from steersman.server.chat_schema import (
    NewConversation,
    Question,
    Reaction,
    Title,
    Wanted,
    chat_json,
    feedback_json,
    message_json,
)
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.fitting import Fitted
from steersman.server.generation import Place
from steersman.server.people import Who, person_json
from steersman.server.request_parts import to_said
from steersman.server.sse import event, events_of, stream
from steersman.store import ChatMessage, NotFound
from steersman.types import Conversation, Message, SamplingParams

router = APIRouter(prefix="/api")


@router.get("/config")
def config(ctx: Ctx, who: Who) -> dict[str, Any]:
    progress = ctx.store.ranking_progress(ctx.round)
    return {
        "name": ctx.name,
        "language": ctx.language,
        "model": ctx.engine.model_name,
        "policy_version": ctx.engine.policy_version,
        "version": __version__,
        "round": ctx.round,
        "report": ctx.report() is not None,
        "max_context": ctx.engine.max_context,
        "auth": ctx.team is not None,
        "me": person_json(who),
        "ranking": {"tasks": progress["tasks"], "ranked": progress["ranked"]},
    }


@router.get("/conversations")
def list_conversations(ctx: Ctx, who: Who) -> JSONResponse:
    # serialised here, in a thread: FastAPI would convert a returned object value by value in the event loop
    return JSONResponse([chat_json(chat) for chat in ctx.store.conversations(who.owners)])


@router.post("/conversations")
def create_conversation(ctx: Ctx, who: Who, body: NewConversation | None = None) -> dict[str, Any]:
    title = body.title if body else ""
    return chat_json(ctx.store.create_conversation(title, ctx.system_prompt, owner=who.id))


@router.get("/conversations/{id}")
async def get_conversation(ctx: Ctx, id: str) -> JSONResponse:
    """The chat as it is now, answers under way included; `writing` names these."""
    chat = await run_in_threadpool(ctx.store.conversation, id)
    # Asked for in this order: an answer that ends in between is stored by then.
    writing = {answer.message.id: answer.message for answer in ctx.answers.of_chat(id)}
    stored = await run_in_threadpool(ctx.store.messages, id)
    whole = {m.id for m in stored if m.finish_reason is not None}
    writing = {id_: message for id_, message in writing.items() if id_ not in whole}
    messages = [m for m in stored if m.id not in writing] + list(writing.values())

    def written() -> JSONResponse:
        shown = [message_json(m, writing=m.id in writing) for m in messages]
        return JSONResponse({"id": chat.id, "title": chat.title, "messages": shown, "writing": list(writing)})

    return await run_in_threadpool(written)


@router.patch("/conversations/{id}")
def rename_conversation(ctx: Ctx, id: str, body: Title) -> dict[str, Any]:
    return chat_json(ctx.store.rename_conversation(id, body.title))


@router.delete("/conversations/{id}")
async def delete_conversation(ctx: Ctx, who: Who, id: str) -> dict[str, Any]:
    await run_in_threadpool(delete_chat, ctx, id)
    await run_in_threadpool(audit, ctx, who, "chat deleted", id)
    for answer in ctx.answers.of_chat(id):
        answer.generation.cancel()
    return {"ok": True}


@router.post("/conversations/{id}/messages", response_class=EventSourceResponse)
async def ask(ctx: Ctx, id: str, body: Question, at_end: AtEnd) -> EventSourceResponse:
    """Store a question and stream its answer, which goes on if the reader leaves."""
    place = at_end.enter_context(ctx.generations.reserve())
    _settled(ctx, body.parent_id)
    await run_in_threadpool(ctx.store.check_parent, id, body.parent_id)
    # The length is checked before the question is stored, so a refused question leaves no trace.
    before = await run_in_threadpool(ctx.store.dialogue, id, body.parent_id)
    said = await run_in_threadpool(_said, body)
    asked = Conversation(id, (*before.messages, Message("user", said)))
    engine = await ctx.engine_of(id)
    fitted = await _fit(ctx, engine, asked, body.shorten, body.parent_id)

    def add(said: Sequence[Said]) -> ChatMessage:
        return ctx.store.add_question(id, said, body.parent_id, known=body.known)

    question = await run_in_threadpool(kept, ctx, said, add)
    return stream(_begin(ctx, engine, place, question, fitted).events())


@router.post("/messages/{id}/answer", response_class=EventSourceResponse)
async def answer_question(ctx: Ctx, id: str, at_end: AtEnd, body: Wanted | None = None) -> EventSourceResponse:
    """Answer a question that is stored, such as one whose answer failed. One that is being answered is read along."""
    if (under_way := ctx.answers.of_question(id)) is not None:
        return stream(under_way.events())
    place = at_end.enter_context(ctx.generations.reserve())
    question = await run_in_threadpool(ctx.store.message, id)
    if question.role != "user":
        raise ApiError(400, "Only a question can be answered, this is the id of an answer")
    engine = await ctx.engine_of(question.conversation_id)
    fitted = await _fit_stored(ctx, engine, question, body)
    return stream(_begin(ctx, engine, place, question, fitted).events())


@router.post("/messages/{id}/regenerate", response_class=EventSourceResponse)
async def regenerate(ctx: Ctx, who: Who, id: str, at_end: AtEnd, body: Wanted | None = None) -> EventSourceResponse:
    place = at_end.enter_context(ctx.generations.reserve())
    _settled(ctx, id)
    old = await run_in_threadpool(ctx.store.message, id)
    if old.role != "assistant" or old.parent_id is None:
        raise ApiError(400, "Only an answer can be regenerated, this is the id of a user's message")
    question = await run_in_threadpool(ctx.store.message, old.parent_id)
    engine = await ctx.engine_of(question.conversation_id)
    fitted = await _fit_stored(ctx, engine, question, body)
    await run_in_threadpool(functools.partial(ctx.store.add_feedback, id, "regenerate", user=who.id))
    return stream(_begin(ctx, engine, place, question, fitted).events())


@router.get("/messages/{id}/stream", response_class=EventSourceResponse)
async def read_along(ctx: Ctx, id: str) -> EventSourceResponse:
    """The events of an answer from where it is now; of one that is whole, its end alone."""
    under_way = ctx.answers.get(id)
    if under_way is not None:
        return stream(under_way.events())
    message = await _answer(ctx, id)
    return stream(events_of(event({"type": "done", "message": message_json(message)})))


@router.post("/messages/{id}/stop")
async def stop(ctx: Ctx, id: str) -> dict[str, Any]:
    """End an answer; what is written of it stays. `message` is None where nothing was."""
    under_way = ctx.answers.get(id)
    if under_way is not None:
        await under_way.stop()
    try:
        message = await _answer(ctx, id)
    except NotFound:
        if under_way is None:
            raise
        return {"message": None}
    return {"message": message_json(message, writing=ctx.answers.get(id) is not None)}


@router.post("/messages/{id}/feedback")
async def give_feedback(ctx: Ctx, who: Who, id: str, body: Reaction) -> dict[str, Any]:
    _settled(ctx, id)

    def record() -> ChatMessage:
        return ctx.store.add_feedback(id, body.kind, edited=body.edited, comment=body.comment, user=who.id)

    return {"feedback": feedback_json(await run_in_threadpool(record))}


def _settled(ctx: Context, answer: str | None) -> None:
    """ApiError while the answer is being written, for requests that need a whole answer."""
    if ctx.answers.get(answer) is not None:
        raise ApiError(409, "This answer is still being written", code="still_writing")


async def _answer(ctx: Context, id_: str) -> ChatMessage:
    message = await run_in_threadpool(ctx.store.message, id_)
    if message.role != "assistant":
        raise ApiError(400, "Expected the id of an answer, this is the id of a user's message")
    return message


def _said(body: Question) -> list[Said]:
    """A question's content; it must have text or an image."""
    if isinstance(body.content, str):
        return [Text(body.content)]
    said = to_said(body.content, "content")
    if not any(isinstance(part, Image) or part.text.strip() for part in said if not isinstance(part, Citation)):
        raise ApiError(400, "content: expected some text, or an image", param="content")
    return said


def _begin(ctx: Context, engine: Engine, place: Place, question: ChatMessage, fitted: Fitted) -> Answer:
    params = SamplingParams(max_tokens=fitted.room, temperature=ctx.temperature)
    return ctx.answers.begin(engine, place, question, fitted.prompt, params, fitted.left_out)


async def _fit_stored(ctx: Context, engine: Engine, question: ChatMessage, body: Wanted | None) -> Fitted:
    prompt = await run_in_threadpool(ctx.store.dialogue, question.conversation_id, question.id)
    return await _fit(ctx, engine, prompt, body is not None and body.shorten, question.parent_id)


async def _fit(ctx: Context, engine: Engine, prompt: Conversation, shorten: bool, before: str | None) -> Fitted:
    """The prompt; if it is too long, without its earliest turns where the caller or an earlier answer allowed that.

    ApiError whose `param` says what is too long: "messages", where leaving out turns would help, or "content".
    """
    if not shorten and before is not None:
        shorten = (await run_in_threadpool(ctx.store.message, before)).left_out > 0
    try:
        fitted = await ctx.fit(engine, prompt, None, truncate=shorten)
        return dataclasses.replace(fitted, prompt=await with_bytes(ctx, fitted.prompt))
    except PromptTooLong as error:
        param = "content" if shorten or not await _would_fit(ctx, engine, prompt) else "messages"
        raise ApiError(400, str(error), param=param, code="context_length_exceeded") from None


async def _would_fit(ctx: Context, engine: Engine, prompt: Conversation) -> bool:
    try:
        await ctx.fit(engine, prompt, None, truncate=True)
    except PromptTooLong:
        return False
    return True
