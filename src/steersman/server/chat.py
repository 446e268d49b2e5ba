"""The chat page's API: conversations, messages with streamed answers, feedback."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from steersman import __version__, store
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError, shown_error
from steersman.server.generation import Generation, Place
from steersman.server.sse import event, stream
from steersman.server.text import Said, Text
from steersman.store import Chat, ChatMessage
from steersman.types import Completion, Conversation, Message, SamplingParams

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api")


_TITLE, _COMMENT = 200, 10_000
"""Characters; the store's limits."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewConversation(_Body):
    title: Annotated[Text, Field(max_length=_TITLE)] = ""


class Title(_Body):
    title: Annotated[Said, Field(max_length=_TITLE)]


class Question(_Body):
    content: Said
    parent_id: Text | None = None


class Reaction(_Body):
    kind: Literal["like", "dislike", "edit", "clear"]
    edited: Text | None = None
    comment: Annotated[Text, Field(max_length=_COMMENT)] = ""


def chat_json(chat: Chat) -> dict[str, Any]:
    return {"id": chat.id, "title": chat.title, "updated": chat.updated}


def message_json(message: ChatMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "policy_version": message.policy_version or None,
        "finish_reason": message.finish_reason,
        "created": message.created,
        "feedback": feedback_json(message),
    }


def feedback_json(message: ChatMessage) -> dict[str, Any]:
    return {"liked": message.liked, "edited": message.edited, "comment": message.comment}


@router.get("/config")
def config(ctx: Ctx) -> dict[str, Any]:
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
        "ranking": {"tasks": progress["tasks"], "ranked": progress["ranked"]},
    }


@router.get("/conversations")
def list_conversations(ctx: Ctx) -> list[dict[str, Any]]:
    return [chat_json(chat) for chat in ctx.store.conversations()]


@router.post("/conversations")
def create_conversation(ctx: Ctx, body: NewConversation | None = None) -> dict[str, Any]:
    title = body.title if body else ""
    return chat_json(ctx.store.create_conversation(title, ctx.system_prompt))


@router.get("/conversations/{id}")
async def get_conversation(ctx: Ctx, id: str) -> dict[str, Any]:
    await ctx.generations.settle(id)
    chat = await run_in_threadpool(ctx.store.conversation, id)
    messages = await run_in_threadpool(ctx.store.messages, id)
    return {"id": chat.id, "title": chat.title, "messages": [message_json(m) for m in messages]}


@router.patch("/conversations/{id}")
def rename_conversation(ctx: Ctx, id: str, body: Title) -> dict[str, Any]:
    return chat_json(ctx.store.rename_conversation(id, body.title))


@router.delete("/conversations/{id}")
def delete_conversation(ctx: Ctx, id: str) -> dict[str, Any]:
    ctx.store.delete_conversation(id)
    return {"ok": True}


@router.post("/conversations/{id}/messages", response_class=EventSourceResponse)
async def ask(ctx: Ctx, id: str, body: Question, at_end: AtEnd) -> EventSourceResponse:
    place = at_end.enter_context(ctx.generations.reserve())
    await ctx.generations.settle(id)
    await run_in_threadpool(ctx.store.check_parent, id, body.parent_id)
    # Whether the dialogue fits is asked before the question is stored; a refused one leaves no trace.
    before = await run_in_threadpool(ctx.store.dialogue, id, body.parent_id)
    prompt = Conversation(id, (*before.messages, Message("user", body.content)))
    params = await _params(ctx, prompt)
    question = await run_in_threadpool(ctx.store.add_question, id, body.content, body.parent_id)
    return stream(_answer(ctx, place, question, prompt, params))


@router.post("/messages/{id}/regenerate", response_class=EventSourceResponse)
async def regenerate(ctx: Ctx, id: str, at_end: AtEnd) -> EventSourceResponse:
    place = at_end.enter_context(ctx.generations.reserve())
    await ctx.generations.settle(id)
    old = await run_in_threadpool(ctx.store.message, id)
    if old.role != "assistant" or old.parent_id is None:
        raise ApiError(400, "Only an answer can be regenerated, this is the id of a user's message")
    prompt = await run_in_threadpool(ctx.store.dialogue, old.conversation_id, old.parent_id)
    params = await _params(ctx, prompt)
    question = await run_in_threadpool(ctx.store.message, old.parent_id)
    await run_in_threadpool(ctx.store.add_feedback, id, "regenerate")
    return stream(_answer(ctx, place, question, prompt, params))


@router.post("/messages/{id}/feedback")
async def give_feedback(ctx: Ctx, id: str, body: Reaction) -> dict[str, Any]:
    await ctx.generations.settle(id)

    def record() -> ChatMessage:
        return ctx.store.add_feedback(id, body.kind, edited=body.edited, comment=body.comment)

    return {"feedback": feedback_json(await run_in_threadpool(record))}


async def _params(ctx: Context, prompt: Conversation) -> SamplingParams:
    fitted = await ctx.fit(prompt, None)
    return SamplingParams(max_tokens=fitted.room, temperature=ctx.temperature)


async def _answer(
    ctx: Context, place: Place, question: ChatMessage, prompt: Conversation, params: SamplingParams
) -> AsyncGenerator[ServerSentEvent]:
    """Events start, delta*, then done or error. The answer is stored before `done`, and also if the reader leaves."""
    answer_id = store.new_id()
    stored: list[ChatMessage] = []

    def keep(completion: Completion) -> None:
        stored.append(ctx.store.add_answer(question.id, completion, dataclasses.asdict(params), answer_id))

    generation = Generation(ctx.engine, prompt, params, keep, (question.conversation_id, answer_id))
    try:
        async with contextlib.aclosing(ctx.generations.run(generation, place)) as items:
            yield event({"type": "start", "user": message_json(question), "assistant_id": answer_id})
            async for item in items:
                if isinstance(item, str):
                    yield event({"type": "delta", "text": item})
        yield event({"type": "done", "message": message_json(stored[0])})
    except Exception as error:
        shown = shown_error(error)["error"]
        if shown["type"] == "server_error":
            log.exception("an answer failed")
        yield event({"type": "error", "message": shown["message"]})
