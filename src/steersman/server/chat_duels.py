"""Side by side: two models answer one question, in random order and without names, until somebody chooses."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from steersman.server.answers import Answer
from steersman.server.chat_asking import asked, began, stored
from steersman.server.chat_schema import Question, message_json
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.models import Found
from steersman.server.people import Who
from steersman.server.request_text import Number, Said, Text
from steersman.store import new_id
from steersman.store.duels import Choice, Duel

router = APIRouter(prefix="/api")
ANYBODY = "chat"
"""The labeler of votes on a server without accounts where nobody gave a name."""


class SideBySide(Question):
    models: Annotated[list[Annotated[Text, Field(max_length=200)]], Field(min_length=2, max_length=2)]
    """Two names of /v1/models."""


class VoteOn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    choice: Choice | None
    """null: the answers are no longer to be compared, and nothing is learned."""
    instead_of: Choice | None = None
    """The choice that was made before, which this one replaces, or null takes back; 409 where another one holds."""
    labeler: Annotated[Said, Field(max_length=60)] | None = None
    """Who says it; with accounts that is who is signed in."""
    seconds: Annotated[Number, Field(ge=0, le=1e6)] | None = None


@router.post("/conversations/{id}/side-by-side")
async def side_by_side(ctx: Ctx, id: str, body: SideBySide, at_end: AtEnd) -> dict[str, Any]:
    """Store a question and begin two answers to it, which are read along with /api/messages/{id}/stream."""
    first, second = body.models
    found = [await ctx.named(name) for name in body.models]
    if found[0].engine is found[1].engine and found[0].adapter == found[1].adapter:
        raise ApiError(409, f"models: {first} and {second} are the same model here", param="models", code="same_model")
    places = [at_end.enter_context(ctx.generations.reserve()) for _ in found]
    ready = [await asked(ctx, id, body, model) for model in found]
    if secrets.randbelow(2):
        ready.reverse()
    question = await stored(ctx, id, body)
    ids = (new_id(), new_id())
    names = (_name(ready[0].model), _name(ready[1].model))

    def begin() -> Duel:
        return ctx.store.duels.begin(question.id, ids, names)

    duel = await run_in_threadpool(begin)
    answers = [
        began(ctx, one, place, question, id_=answer, blind=True)
        for one, place, answer in zip(ready, places, ids, strict=True)
    ]
    return {"question": message_json(question), "duel": duel_json(duel), "answers": [_begun(one) for one in answers]}


def _name(model: Found) -> str:
    return model.name if model.adapter else model.engine.policy_version


def _begun(answer: Answer) -> dict[str, Any]:
    return message_json(answer.message, writing=True)


@router.post("/messages/{id}/vote")
async def vote(ctx: Ctx, id: str, body: VoteOn, who: Who) -> dict[str, Any]:
    """Choose between the answers to the question `id`; the names are in the answer."""
    if ctx.answers.of_question(id) is not None:
        raise ApiError(409, "One of the answers is still being written", code="still_writing")
    return {"duel": duel_json(await run_in_threadpool(_vote, ctx, id, body, who.id))}


def _vote(ctx: Context, id_: str, body: VoteOn, person: str) -> Duel:
    if body.choice is None:
        return ctx.store.duels.give_up(id_, body.instead_of)
    labeler, instead = person or body.labeler or ANYBODY, body.instead_of
    return ctx.store.duels.vote(
        id_, body.choice, labeler=labeler, round=ctx.open_round, seconds=body.seconds, instead=instead
    )


def duel_json(duel: Duel) -> dict[str, Any]:
    """The models' names only once somebody has chosen."""
    models = {"left": duel.left_model, "right": duel.right_model} if duel.choice else None
    ids = {"question_id": duel.question_id, "left_id": duel.left_id, "right_id": duel.right_id}
    return ids | {"choice": duel.choice or None, "models": models}
