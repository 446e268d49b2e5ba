"""The chat page's API: conversations, messages with streamed answers, feedback."""

from __future__ import annotations

import functools
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from steersman import __version__
from steersman.server.audit import audit
from steersman.server.chat_asking import asked, asked_again, asked_on, began, stored
from steersman.server.chat_duels import duel_json
from steersman.server.chat_images import delete_chat
from steersman.server.chat_schema import (
    Changes,
    NewConversation,
    Question,
    Reaction,
    Settings,
    Wanted,
    chat_json,
    feedback_json,
    message_json,
)
from steersman.server.chat_settings import defaults_json, models_json, settings_json
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who, person_json
from steersman.server.sse import EventStream, event, events_of, stream
from steersman.store import ChatMessage, NotFound

router = APIRouter(prefix="/api")


@router.get("/config")
def config(ctx: Ctx, who: Who) -> dict[str, Any]:
    progress = ctx.store.ranking_progress(ctx.open_round)
    return {
        "name": ctx.name,
        "language": ctx.language,
        "model": ctx.engine.model_name,
        "policy_version": ctx.engine.policy_version,
        "version": __version__,
        "round": ctx.open_round,
        "report": ctx.report() is not None,
        "max_context": ctx.engine.max_context,
        "auth": ctx.team is not None,
        "me": person_json(who),
        "ranking": {"tasks": progress["tasks"], "ranked": progress["ranked"]},
        "models": models_json(ctx.models),
        "defaults": defaults_json(ctx),
        "greeting": ctx.greeting,
        "examples": ctx.examples(),
    }


@router.get("/conversations")
def list_conversations(ctx: Ctx, who: Who) -> JSONResponse:
    # serialised here, in a thread: FastAPI would convert a returned object value by value in the event loop
    return JSONResponse([chat_json(chat) for chat in ctx.store.conversations(who.owners)])


@router.post("/conversations")
def create_conversation(ctx: Ctx, who: Who, body: NewConversation | None = None) -> dict[str, Any]:
    title = body.title if body else ""
    settings = body.settings if body and body.settings else Settings()
    chat = ctx.store.create_conversation(title, _system(ctx, settings), owner=who.id)
    return chat_json(ctx.store.shelf.arrange(chat.id, settings=settings.kept()) if settings.kept() else chat)


@router.get("/conversations/{id}")
async def get_conversation(ctx: Ctx, id: str) -> JSONResponse:
    """The chat as it is now, answers under way included; `writing` names these."""
    chat = await run_in_threadpool(ctx.store.conversation, id)
    # Asked for in this order: an answer that ends in between is stored by then.
    writing = {answer.message.id: answer.message for answer in ctx.answers.of_chat(id)}
    there = await run_in_threadpool(ctx.store.messages, id)
    duels = await run_in_threadpool(ctx.store.duels.of_chat, id)
    whole = {m.id for m in there if m.finish_reason is not None}
    writing = {id_: message for id_, message in writing.items() if id_ not in whole}
    messages = [m for m in there if m.id not in writing] + list(writing.values())

    def written() -> JSONResponse:
        shown = [message_json(m, writing=m.id in writing) for m in messages]
        told = chat_json(chat) | {"settings": settings_json(ctx, chat), "duels": [duel_json(duel) for duel in duels]}
        return JSONResponse(told | {"messages": shown, "writing": list(writing)})

    return await run_in_threadpool(written)


@router.patch("/conversations/{id}")
def change_conversation(ctx: Ctx, id: str, body: Changes) -> dict[str, Any]:
    """Change title, folder, pin or settings; what is not given stays."""
    said = body.settings
    chat = ctx.store.shelf.arrange(
        id,
        title=body.title,
        folder=body.folder,
        pinned=body.pinned,
        system_prompt=None if said is None else _system(ctx, said),
        settings=None if said is None else said.kept(),
    )
    return chat_json(chat) | {"settings": settings_json(ctx, chat)}


def _system(ctx: Context, settings: Settings) -> str:
    return ctx.system_prompt if settings.system_prompt is None else settings.system_prompt


@router.delete("/conversations/{id}")
async def delete_conversation(
    ctx: Ctx, who: Who, id: str, feedback: Literal["keep", "delete"] = "keep"
) -> dict[str, Any]:
    """409 `feedback_not_learned`, with how many `records`, where feedback would be lost that no round has learned;
    `feedback=delete` says that this is meant."""
    await run_in_threadpool(functools.partial(delete_chat, ctx, id, anyway=feedback == "delete"))
    await run_in_threadpool(audit, ctx, who, "chat deleted", id)
    ctx.answers.cancel(id)
    return {"ok": True}


@router.post("/conversations/{id}/messages", response_class=EventStream)
async def ask(ctx: Ctx, id: str, body: Question, at_end: AtEnd) -> EventStream:
    """Store a question and stream its answer, which goes on if the reader leaves."""
    place = at_end.enter_context(ctx.generations.reserve())
    _settled(ctx, body.parent_id)
    ready = await asked(ctx, id, body)
    return stream(began(ctx, ready, place, await stored(ctx, id, body)).events())


@router.post("/messages/{id}/answer", response_class=EventStream)
async def answer_question(ctx: Ctx, id: str, at_end: AtEnd, body: Wanted | None = None) -> EventStream:
    """Answer a question that is stored, such as one whose answer failed. One that is being answered is read along."""
    if (under_way := ctx.answers.of_question(id)) is not None:
        return stream(under_way.events())
    place = at_end.enter_context(ctx.generations.reserve())
    question = await run_in_threadpool(ctx.store.message, id)
    if question.role != "user":
        raise ApiError(400, "Only a question can be answered, this is the id of an answer")
    ready = await asked_again(ctx, question, body is not None and body.shorten)
    return stream(began(ctx, ready, place, question).events())


@router.post("/messages/{id}/regenerate", response_class=EventStream)
async def regenerate(ctx: Ctx, who: Who, id: str, at_end: AtEnd, body: Wanted | None = None) -> EventStream:
    place = at_end.enter_context(ctx.generations.reserve())
    _settled(ctx, id)
    old = await run_in_threadpool(ctx.store.message, id)
    if old.role != "assistant" or old.parent_id is None:
        raise ApiError(400, "Only an answer can be regenerated, this is the id of a user's message")
    question = await run_in_threadpool(ctx.store.message, old.parent_id)
    ready = await asked_again(ctx, question, body is not None and body.shorten)
    await run_in_threadpool(functools.partial(ctx.store.add_feedback, id, "regenerate", user=who.id))
    return stream(began(ctx, ready, place, question).events())


@router.post("/messages/{id}/continue", response_class=EventStream)
async def go_on(ctx: Ctx, id: str, at_end: AtEnd, body: Wanted | None = None) -> EventStream:
    """Go on with an answer that was cut off or stopped. The whole is an answer beside it: what people said of the
    shorter one stays with that."""
    place = at_end.enter_context(ctx.generations.reserve())
    _settled(ctx, id)
    cut = await _answer(ctx, id)
    if cut.finish_reason not in (None, "length", "cancelled") or cut.parent_id is None or cut.blind:
        raise ApiError(400, "Only an answer that was cut off or stopped can be continued")
    question = await run_in_threadpool(ctx.store.message, cut.parent_id)
    ready = await asked_on(ctx, question, cut, body is not None and body.shorten)
    return stream(began(ctx, ready, place, question, continues=id).events())


@router.get("/messages/{id}/stream", response_class=EventStream)
async def read_along(ctx: Ctx, id: str) -> EventStream:
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
