"""The ranking page's API. Blind: a labeler sees opaque keys in a random order and not which model answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server import ranking_flags
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import WHOLE, Number, Said, Text
from steersman.store import RankingTask
from steersman.store.ranking_tasks import LABELER_LIMIT
from steersman.types import Grade, Message

router = APIRouter(prefix="/api/rank")
T = TypeVar("T")
Labeler = Annotated[Said, Field(max_length=LABELER_LIMIT)]
_NAMED = Field(json_schema_extra={"additionalProperties": False})
"""JSON Schema: no other names than the dictionary's own."""


class Submission(BaseModel):
    """What a labeler says of a task: ranks, or grades, or all_bad, or skip."""

    model_config = ConfigDict(extra="forbid")

    labeler: Labeler
    ranks: Annotated[dict[Text, Annotated[StrictInt, WHOLE]], _NAMED] | None = None
    grades: Annotated[dict[Text, Grade], _NAMED] | None = None
    all_bad: StrictBool = False
    flags: Annotated[dict[Text, list[Literal["harmful", "wrong", "off-topic", "private"]]], _NAMED] | None = None
    """What is wrong with single answers, beside their order."""
    skip: StrictBool = False
    reason: Annotated[Text, Field(max_length=2000)] = ""
    seconds: Annotated[Number, Field(ge=0)] | None = None


def _progress(ctx: Context, labeler: str) -> dict[str, int]:
    progress = ctx.store.ranking_progress(ctx.open_round)
    mine = progress["by_labeler"].get(labeler.strip(), 0)
    return {"tasks": progress["tasks"], "ranked": progress["ranked"], "mine": mine}


def shown_message(message: Message) -> dict[str, Any]:
    """A turn of the prompt: its words as `content`; images and citations, where it has some, in `parts`."""
    shown = message.to_json() | {"content": message.text}
    return shown | ({"parts": [part.to_json() for part in message.said]} if message.images else {})


@router.get("/next")
def next_task(ctx: Ctx, who: Who, labeler: Annotated[Labeler, Query()]) -> dict[str, Any]:
    """With accounts the labeler is who is signed in, whatever name is sent; `submit` too."""
    labeler = who.id or labeler
    task = ctx.store.next_task(labeler, ctx.open_round)
    shown = None
    if task is not None:
        messages = [shown_message(message) for message in task.prompt.messages]
        answers = [{"key": key, "text": text} for key, text in task.presented]
        shown = {"id": task.id, "messages": messages, "answers": answers}
        shown |= {"objective": ctx.store.objective} if ctx.store.objective else {}
    return {"task": shown, "progress": _progress(ctx, labeler)}


def stored_order(task: RankingTask, by_key: Mapping[str, T] | None, name: str) -> list[T] | None:
    """What was said by key, in the order that the store refers to."""
    if by_key is None:
        return None
    if set(by_key) != set(task.keys):
        raise ApiError(400, f"{name}: expected exactly the {len(task.keys)} keys of this task's answers", param=name)
    return [by_key[key] for key in task.keys]


@router.post("/{task_id}")
def submit(ctx: Ctx, who: Who, task_id: str, body: Submission) -> dict[str, Any]:
    labeler = who.id or body.labeler
    task = ctx.store.task(task_id, labeler)
    said = body.ranks is not None or body.grades is not None or body.all_bad
    flags = ranking_flags.flagged(task, body.flags or {})
    if body.skip and said:
        raise ApiError(400, "skip: a task is either skipped or ranked", param="skip")
    if body.skip:
        ctx.store.skip_task(task_id, labeler, body.reason, flags)
    else:
        ctx.store.add_ranking(
            task_id,
            ranks=stored_order(task, body.ranks, "ranks"),
            grades=stored_order(task, body.grades, "grades"),
            all_bad=body.all_bad,
            labeler=labeler,
            seconds=body.seconds,
            flags=flags,
        )
    return {"ok": True, "progress": _progress(ctx, labeler)}
