"""The labeling desk's API for who leads a team: tasks, assignment, agreement, each labeler, differences."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from steersman import locks
from steersman.artifact.files import atomic_write
from steersman.rounds.desk_import import Defaults, import_rows, people
from steersman.rounds.desk_team import differing, team
from steersman.server.context import Context, Ctx
from steersman.server.desk_api import guidelines_file, guidelines_now, labeler_of, submission
from steersman.server.desk_schema import Assign, Decision, Guidelines, Kind, Rows, label_json, task_json
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.store.desk_labels import Submission

router = APIRouter(prefix="/api/desk")
PAGE = 500


def names_of(ctx: Context) -> dict[str, str]:
    """Person -> name, of a server with accounts; {} of one without, where people are called by their names."""
    return ctx.store.accounts.names()


@router.get("/team")
def get_team(ctx: Ctx) -> JSONResponse:
    """Agreement between people and with judges; each labeler's labels, speed, accuracy on known items, drift."""
    hash_, _ = guidelines_now(ctx)
    found = team(ctx.store, ctx.store.desk.reads(hash_) if hash_ else {}).to_json()
    progress = ctx.store.desk.progress(ctx.overlap)
    return JSONResponse(found | {"names": names_of(ctx), "progress": progress, "guidelines": hash_})


@router.get("/tasks")
def tasks(
    ctx: Ctx, kind: Annotated[Kind | None, Query()] = None, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
) -> JSONResponse:
    """A page of tasks in order, with who has them and how many labels each has; `next`: `after` of the next page."""
    found = ctx.store.desk.overview(kind, limit=PAGE + 1, after=after)
    shown = found[:PAGE]
    following = shown[-1].number if len(found) > PAGE else None
    told = {"tasks": [dataclasses.asdict(one) for one in shown], "names": names_of(ctx), "next": following}
    return JSONResponse(told)


@router.post("/tasks", status_code=201)
def add_tasks(ctx: Ctx, body: Rows) -> dict[str, Any]:
    """Add tasks, as `steersman desk import` reads them: all of them, or none where one cannot be."""
    rows = ((f"rows[{i}]", row) for i, row in enumerate(body.rows))
    given = Defaults(body.kind or "", _people(ctx, body.assign), body.overlap, ctx.open_round)
    try:
        return import_rows(ctx.store, rows, given).to_json()
    except ValueError as error:
        raise ApiError(409, str(error), param="rows", code="no_task") from None


@router.post("/assign")
def assign(ctx: Ctx, body: Assign) -> dict[str, Any]:
    """Give tasks, or what waits for somebody, to these people alone; to all where nobody is named."""
    if bool(body.tasks) == bool(body.of):
        raise ApiError(400, "tasks: expected either tasks or `of`, whose tasks they are", param="tasks")
    desk, to = ctx.store.desk, _people(ctx, body.to)
    return {"assigned": desk.hand_over(body.of, to) if body.of else desk.assign(body.tasks, to)}


def _people(ctx: Context, given: list[str]) -> tuple[str, ...]:
    try:
        return people(ctx.store, given)
    except ValueError as error:
        raise ApiError(404, str(error)) from None


@router.put("/guidelines")
def write_guidelines(ctx: Ctx, body: Guidelines) -> dict[str, Any]:
    """Write the workspace's guidelines; who labels is told that they changed."""
    path = guidelines_file(ctx)
    if path is None:
        raise ApiError(404, "This server shows no workspace, which guidelines could be written to")
    with locks.brief(path):
        if body.before is not None and body.before != guidelines_now(ctx)[0]:
            said = "Somebody else changed the guidelines meanwhile; save again to put yours in their place"
            raise ApiError(409, said, code="guidelines_changed")
        with atomic_write(path) as file:
            file.write(body.text)
        return {"hash": guidelines_now(ctx)[0]}


@router.get("/differences")
def differences(ctx: Ctx, who: Who, labeler: Annotated[str, Query(max_length=100)] = "") -> JSONResponse:
    """Tasks on which people differ and nobody has decided, the strongest difference first, with their labels.

    `all`: how many there are, of which 100 are told.
    """
    found, shown = differing(ctx.store), []
    for one in found[:100]:
        task = ctx.store.desk.open_task(one.task, labeler_of(who, labeler))
        labels = [label_json(label, task) for label in one.labels]
        whole = task_json(task, ctx.store.objective)
        shown.append({"task": whole, "strength": one.strength, "labels": labels})
    return JSONResponse({"differences": shown, "all": len(found), "names": names_of(ctx)})


@router.post("/tasks/{id}/decision")
def decide(ctx: Ctx, who: Who, id: str, body: Decision) -> dict[str, Any]:
    """Decide what is right of a task: by choosing a label, or by one of one's own. It counts in place of the others."""
    name = labeler_of(who, body.labeler)
    task = ctx.store.desk.open_task(id, name)
    said = submission(task, name, body, adjudicated=True) if not body.choose else _chosen(ctx, id, name, body)
    return {"label": label_json(ctx.store.desk.submit(id, said), task)}


def _chosen(ctx: Context, task: str, manager: str, body: Decision) -> Submission:
    found = next((one for one in ctx.store.desk.labels(tasks=[task]) if one.id == body.choose), None)
    if found is None:
        raise ApiError(404, f"task {task} has no label {body.choose!r}", param="choose")
    note = body.comment or f"chosen: {found.id}"
    return Submission(manager, found.said, found.value, note, body.guidelines, body.seconds, adjudicated=True)
