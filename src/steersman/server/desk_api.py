"""The labeling desk's API for who labels: queues, tasks in hand, drafts, labels, history, guidelines.

A labeler is the person who is signed in; without accounts it is the name typed on the page. Nobody sees a task that the
desk did not give them, nor whether its answer is known, nor who labeled it besides.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from steersman.server import ranking_flags
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.desk_schema import Asked, Draft, Label, Labeler, Next, Read, Suggest, label_json, task_json
from steersman.server.errors import ApiError
from steersman.server.openai_api import complete
from steersman.server.people import Person, Who
from steersman.server.ranking_api import stored_order
from steersman.store.desk import DeskTask
from steersman.store.desk_labels import Submission
from steersman.store.desk_tasks import Asker
from steersman.store.desk_values import AXES, RANKING, clean_messages, to_messages
from steersman.store.schema import iso
from steersman.types import Conversation, Message, SamplingParams

router = APIRouter(prefix="/api/desk")
GUIDELINES = "guidelines.md"
Name = Annotated[Labeler, Query()]


def labeler_of(who: Person, typed: str) -> str:
    """Whose label it is. ApiError where nobody is signed in and no name was typed."""
    name = who.id or typed.strip()
    if not name:
        raise ApiError(403, "labeler: expected a name", param="labeler", code="no_name")
    return name


def asker_of(ctx: Context, labeler: str) -> Asker:
    return Asker(labeler, ctx.overlap, round=ctx.open_round)


def guidelines_file(ctx: Context) -> Path | None:
    return None if ctx.workspace is None else ctx.workspace / GUIDELINES


def guidelines_now(ctx: Context) -> tuple[str, str]:
    """(hash, text) of the workspace's guidelines; empty where there are none."""
    path = guidelines_file(ctx)
    if path is None or not path.is_file():
        return "", ""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    return ctx.store.desk.guidelines(text), text


@router.get("")
def home(ctx: Ctx, who: Who, labeler: Name = "") -> dict[str, Any]:
    """The queues, with how many tasks wait for this person; unfinished work; whether the guidelines changed."""
    name = labeler_of(who, labeler)
    hash_, _ = guidelines_now(ctx)
    drafts = [
        {"task": task, "kind": kind, "prompt": prompt, "updated": when}
        for task, kind, prompt, when in ctx.store.desk.drafts(name)
    ]
    read = ctx.store.desk.last_read(name)
    told = {"hash": hash_, "read": read == hash_, "changed": bool(hash_ and read and read != hash_)}
    queues = ctx.store.desk.waiting(asker_of(ctx, name))
    return {"queues": queues, "drafts": drafts, "guidelines": told, "objective": ctx.store.objective or ""}


@router.get("/guidelines")
def guidelines(ctx: Ctx, who: Who, labeler: Name = "") -> dict[str, Any]:
    """The guidelines, and where this person has read an earlier version, what changed since: [sign, line] each."""
    hash_, text = guidelines_now(ctx)
    read = ctx.store.desk.last_read(labeler_of(who, labeler))
    changes: list[list[str]] = []
    if hash_ and read and read != hash_:
        before = ctx.store.desk.guidelines_text(read).split("\n")
        lines = difflib.ndiff(before, text.split("\n"))
        changes = [[line[0], line[2:]] for line in lines if line[0] in "+-"]
    return {"hash": hash_, "text": text, "read": read == hash_, "changes": changes, "axes": list(AXES)}


@router.post("/guidelines/read")
def guidelines_read(ctx: Ctx, who: Who, body: Read) -> dict[str, Any]:
    ctx.store.desk.read(labeler_of(who, body.labeler), body.guidelines)
    return {"ok": True}


@router.post("/next")
def next_task(ctx: Ctx, who: Who, body: Next) -> dict[str, Any]:
    """The next task of a queue, in this person's hands for a while; null where none waits for them."""
    name = labeler_of(who, body.labeler)
    task = ctx.store.desk.take(asker_of(ctx, name), body.kind)
    hash_, _ = guidelines_now(ctx)
    queues = ctx.store.desk.waiting(asker_of(ctx, name))
    shown = None if task is None else task_json(task, ctx.store.objective)
    return {"task": shown, "guidelines": hash_, "queues": queues}


@router.get("/tasks/{id}")
def get_task(ctx: Ctx, who: Who, id: str, labeler: Name = "") -> dict[str, Any]:
    """A task that this person has or had in hand, or has labeled, with their label. 403 for any other."""
    task = ctx.store.desk.task(id, labeler_of(who, labeler))
    return {"task": task_json(task, ctx.store.objective), "guidelines": guidelines_now(ctx)[0]}


@router.post("/tasks/{id}/lease")
def renew(ctx: Ctx, who: Who, id: str, body: Asked) -> dict[str, Any]:
    """Hold a task longer. 409 where it went to somebody else meanwhile."""
    return {"expires": iso(ctx.store.desk.renew(id, asker_of(ctx, labeler_of(who, body.labeler))))}


@router.delete("/tasks/{id}/lease")
def release(ctx: Ctx, who: Who, id: str, labeler: Name = "") -> dict[str, Any]:
    """Give a task back, with what was begun on it."""
    ctx.store.desk.release(id, labeler_of(who, labeler))
    return {"ok": True}


@router.put("/tasks/{id}/draft")
def keep_draft(ctx: Ctx, who: Who, id: str, body: Draft) -> dict[str, Any]:
    ctx.store.desk.keep_draft(id, labeler_of(who, body.labeler), body.value)
    return {"ok": True}


@router.post("/tasks/{id}/suggest")
async def suggest(ctx: Ctx, who: Who, id: str, body: Suggest, request: Request, at_end: AtEnd) -> dict[str, Any]:
    """What the model would answer to the dialogue so far. It is kept, so that a label's origin can be told."""
    name = labeler_of(who, body.labeler)
    await run_in_threadpool(ctx.store.desk.task, id, name)
    turns = to_messages(clean_messages([turn.model_dump() for turn in body.messages], "messages"))
    if turns[-1].role != "user":
        raise ApiError(400, "messages: expected a dialogue that ends with the user", param="messages")
    engine = ctx.engine
    place = at_end.enter_context(ctx.generations.reserve())
    if ctx.system_prompt and turns[0].role != "system":
        turns = (Message("system", ctx.system_prompt), *turns)
    fitted = await ctx.fit(engine, Conversation("desk", turns), None)
    params = SamplingParams(max_tokens=fitted.room, temperature=ctx.temperature)
    (answer,) = await complete(ctx, engine, place, request, fitted.prompt, params)
    text = answer.text.strip()
    if text:
        await run_in_threadpool(ctx.store.desk.suggested, id, name, text, answer.policy_version)
    return {"text": text, "policy_version": answer.policy_version}


@router.post("/tasks/{id}/label")
def submit(ctx: Ctx, who: Who, id: str, body: Label) -> dict[str, Any]:
    """Label a task, skip it, or say that its prompt is bad. A later label of the same person replaces this one."""
    name = labeler_of(who, body.labeler)
    task = ctx.store.desk.task(id, name)
    said = submission(task, name, body)
    if task.ranking is not None:
        said = replace(said, flags=ranking_flags.flagged(task.ranking, (body.value or {}).get("flags", {})))
    label = ctx.store.desk.submit(id, said)
    queues = ctx.store.desk.waiting(asker_of(ctx, name))
    return {"label": label_json(label, task), "queues": queues, "replaced": task.mine is not None}


def submission(task: DeskTask, labeler: str, body: Label, adjudicated: bool = False) -> Submission:
    """A body as the store takes it: a ranking's keys become the stored order."""
    value = body.value
    if task.kind == RANKING and body.said == "label" and task.ranking is not None:
        given = body.value or {}
        value = {"all_bad": given.get("all_bad") is True}
        for name in ("ranks", "grades"):
            by_key = given.get(name)
            if by_key is not None and not isinstance(by_key, dict):
                raise ApiError(400, f"{name}: expected an object by the keys of the answers", param=name)
            value[name] = stored_order(task.ranking, by_key, name)
    return Submission(labeler, body.said, value, body.comment, body.guidelines, body.seconds, adjudicated)


@router.get("/history")
def history(ctx: Ctx, who: Who, labeler: Name = "") -> JSONResponse:
    """This person's labels, the latest first; `all` says how many there are, where these are the newest alone."""
    found, number = ctx.store.desk.history(labeler_of(who, labeler))
    labels = [label_json(label) | {"value": None, "prompt": prompt} for label, prompt in found]
    return JSONResponse({"labels": labels, "all": number})
