"""The workspace's rounds: what is made and stale, stages started and cancelled as jobs, promotion through the gate;
what the next round would learn, what one has decided, and what became of an answer or a piece of feedback.

Stages run in processes of their own (`steersman.rounds.jobs`): torch stays out of this one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as FromPath
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.artifact.files import hash_json
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.rounds import all_rounds, consequences, gate, jobs, loop, overview, provenance, registry
from steersman.rounds.planned import planned
from steersman.server.audit import audit
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import WHOLE, Said
from steersman.server.started import started

router = APIRouter(prefix="/api/rounds")
MOST = 10**6
"""Largest number of a round or job."""
SHOWN = 20
"""Newest jobs that are shown with what they do now."""
Number = Annotated[int, FromPath(ge=1, lt=MOST)]
Name = Annotated[Said, Field(max_length=100)]
Round = Annotated[StrictInt, Field(ge=0, lt=MOST), WHOLE]


STAGE = Annotated[str, Query(max_length=100)]


class Start(BaseModel):
    """A stage to compute, by its verb; `run` makes all that is missing, `round` the next model of what people said."""

    model_config = ConfigDict(extra="forbid")

    stage: Name
    fresh: StrictBool = False
    """Throw away an unfinished run's work."""


class Compare(BaseModel):
    """Two rounds whose models are to answer the same test prompts: is the second's better than the first's?"""

    model_config = ConfigDict(extra="forbid")

    first: Annotated[StrictInt, Field(ge=1, lt=MOST), WHOLE]
    second: Annotated[StrictInt, Field(ge=1, lt=MOST), WHOLE]


class Promote(BaseModel):
    """A model to make the current one; the gate says no where the report says that it is worse, or not better."""

    model_config = ConfigDict(extra="forbid")

    stage: Name | None = None
    """PPO's unless another is named."""
    round: Round = 0
    """0 means the latest."""
    anyway: StrictBool = False
    """Promote where there is no evidence, or few test prompts."""
    force: StrictBool = False
    """Promote whatever the verdict says."""


def space_of(ctx: Context) -> Workspace:
    """The workspace, opened again. ApiError where the server has none, or its settings, or code that they name, changed
    so that it cannot be opened any more."""
    if ctx.workspace is None:
        raise ApiError(404, "This server shows no workspace; expected one that was started by steersman serve")
    try:
        return Workspace.open(ctx.workspace)
    except ValueError as error:
        raise ApiError(409, str(error), code="workspace") from None


@router.get("")
def rounds(ctx: Ctx) -> dict[str, Any]:
    """Everything that `steersman status --json` says of the latest round, and the jobs."""
    space = space_of(ctx)
    try:
        found = overview.collect(space, space.round)
        if found["damage"]:  # the page would show that nothing was promoted
            raise ValueError(found["damage"])
        return {**found, "jobs": [job.to_json() for job in jobs.jobs(space)]}
    except ValueError as error:  # the workspace is damaged; the text says which file
        raise ApiError(409, str(error)) from None


@router.get("/all")
def every(ctx: Ctx) -> dict[str, Any]:
    """Every round, the newest first: its verdict, what the gate decided, what is served of it."""
    return _answer(lambda space: {"rounds": all_rounds.all_rounds(space)}, ctx, 409)


@router.get("/now")
def now(ctx: Ctx) -> dict[str, Any]:
    """What changes from moment to moment: the newest jobs; `mark` differs once anything else is worth asking again."""
    return {"started": started(), **_answer(_now, ctx, 409)}


def _now(space: Workspace) -> dict[str, Any]:
    found = [job.to_json() for job in jobs.jobs(space)]
    rounds = space.root / "rounds"
    folders = {}
    for path in sorted(rounds.glob("*/*")):
        with contextlib.suppress(FileNotFoundError):  # a stage that ends gives its folder another name meanwhile
            if path.is_dir():
                folders[str(path.relative_to(rounds))] = path.stat().st_mtime_ns
    settings = (space.root / CONFIG_NAME).stat().st_mtime_ns
    seen = [settings, space.history()[-1:], [(one["number"], one["state"]) for one in found]]
    mark = hash_json([*seen, folders])
    return {"mark": mark[:16], "jobs": found[: -SHOWN - 1 : -1], "more": max(0, len(found) - SHOWN)}


@router.get("/feedback")
def feedback(
    ctx: Ctx, days: Annotated[int, Query(ge=1, le=366)] = 30, east: Annotated[int, Query(ge=-840, le=840)] = 0
) -> dict[str, Any]:
    """Likes, dislikes, edits, flags and rankings by day; `east`: minutes by which the reader is ahead of UTC."""
    return {"days": ctx.store.said_by_day(days, east)}


@router.get("/plan")
def plan(ctx: Ctx, stage: STAGE = "") -> dict[str, Any]:
    """Memory and time of the training stages (or one), before they start; found by another process within
    seconds, and at once where nothing changed since."""
    space = space_of(ctx)
    if stage and stage not in [one.verb for one in registry.stages() if one.sizes is not None]:
        raise ApiError(400, f"stage: no plan of {stage!r}; expected a stage that trains", param="stage")
    try:
        return planned(space, stage)
    except ValueError as error:
        raise ApiError(409, str(error), param="stage") from None


@router.post("/compare", status_code=201)
def compare(ctx: Ctx, body: Compare) -> dict[str, Any]:
    """Compare two rounds' models on the same test prompts, as a job; its result is the verdict."""
    space = space_of(ctx)
    known = space.rounds()
    if missing := [number for number in (body.first, body.second) if number not in known]:
        raise ApiError(404, f"There is no round {missing[0]}; expected one of {', '.join(map(str, known))}")
    if body.first == body.second:
        raise ApiError(400, "second: expected another round than the first", param="second")
    try:
        return jobs.start(space, jobs.COMPARE, arguments=[str(body.first), str(body.second)]).to_json()
    except jobs.Busy as error:
        raise ApiError(409, str(error), code="busy") from None


@router.get("/jobs")
def list_jobs(ctx: Ctx) -> list[dict[str, Any]]:
    """Every job of the workspace, the oldest first."""
    try:
        return [job.to_json() for job in jobs.jobs(space_of(ctx))]
    except ValueError as error:
        raise ApiError(409, str(error)) from None


@router.post("/jobs", status_code=201)
def start(ctx: Ctx, who: Who, body: Start) -> dict[str, Any]:
    """Start a stage as a process of its own. 409 where another job is running or the artifact is being made."""
    if body.stage in jobs.OTHERS:
        raise ApiError(400, f"stage {body.stage!r}: expected a stage, run or round", param="stage")
    try:
        started = jobs.start(space_of(ctx), body.stage, body.fresh).to_json()
    except jobs.Busy as error:
        raise ApiError(409, str(error), code="busy") from None
    except ValueError as error:
        raise ApiError(400, str(error), param="stage") from None
    audit(ctx, who, "job started", body.stage, fresh=body.fresh)
    return started


@router.get("/jobs/{number}")
def job(ctx: Ctx, number: Number) -> dict[str, Any]:
    """One job: its state, progress, time to go, newest metrics, and what it ended with."""
    return _job(ctx, number).to_json()


@router.delete("/jobs/{number}")
def cancel(ctx: Ctx, who: Who, number: Number) -> dict[str, Any]:
    """Ask a job to stop. It saves what it can go on from; the job's state says when that is done."""
    _job(ctx, number)
    try:
        told = jobs.cancel(space_of(ctx), number).to_json()
    except ValueError as error:
        raise ApiError(409, str(error)) from None
    audit(ctx, who, "job stopped", str(number))
    return told


@router.get("/jobs/{number}/log")
def log(ctx: Ctx, number: Number) -> dict[str, Any]:
    """The end of what a job said while it ran, line by line."""
    _job(ctx, number)
    return {"lines": jobs.log_of(space_of(ctx), number)}


def _job(ctx: Context, number: int) -> jobs.Job:
    try:
        return jobs.job(space_of(ctx), number)
    except jobs.NoJob as error:
        raise ApiError(404, str(error)) from None
    except ValueError as error:
        raise ApiError(409, str(error)) from None


@router.get("/preview")
def preview(ctx: Ctx) -> dict[str, Any]:
    """What a round that is started now would learn, counted by rule. 409 where none can be started."""
    return _answer(lambda space: loop.preview(space, light=True).to_json(), ctx, 409)


@router.get("/promotion")
def promotion(ctx: Ctx, round: Annotated[int, Query(ge=1, lt=MOST)], stage: STAGE = "") -> dict[str, Any]:
    """What a promotion would change: the model, the verdict on it, who is affected, and whether the gate lets it."""
    name = stage or registry.improved()[0].name
    return _answer(lambda space: consequences.of_promotion(space, ctx.store, name, round), ctx, 404)


@router.get("/rollback")
def back(ctx: Ctx) -> dict[str, Any]:
    """What a rollback would change. 409 where nothing was promoted before."""
    return _answer(lambda space: consequences.of_rollback(space, ctx.store), ctx, 409)


@router.get("/{number}/stages")
def one(ctx: Ctx, number: Number) -> dict[str, Any]:
    """A round with its stages, their settings, the conditions of the gate and the cautions of its report."""
    return _answer(lambda space: all_rounds.one_round(space, number), ctx, 404)


@router.get("/{number}/decision")
def decision(ctx: Ctx, number: Number) -> dict[str, Any]:
    """What a round decided on its model and why, and what data it was made of. 404 where it has not decided."""
    return _answer(lambda space: loop.read_decision(space, number), ctx, 404)


@router.get("/lineage/{id}")
def lineage(ctx: Ctx, id: str) -> dict[str, Any]:
    """What the model of an answer learned from, or which rounds learned a piece of feedback; people by id only."""
    return _answer(lambda space: provenance.about(space, id), ctx, 404)


def _answer(ask: Callable[[Workspace], dict[str, Any]], ctx: Context, code: int) -> dict[str, Any]:
    space = space_of(ctx)
    try:
        return ask(space)
    except ValueError as error:
        raise ApiError(code, str(error)) from None


@router.post("/promote")
def promote(ctx: Ctx, who: Who, body: Promote) -> dict[str, Any]:
    """Make a round's model the current one. 409 where the gate says no.

    A server that was started with the promoted model loads it beside that, and new requests go to it within seconds.
    """
    space = space_of(ctx)
    name = body.stage or registry.improved()[0].name
    try:
        done = gate.promote(space, name, body.round or space.round, anyway=body.anyway, force=body.force)
    except gate.Refused as error:
        raise ApiError(409, str(error), param=error.option, code="not_promoted") from None
    except ValueError as error:
        raise ApiError(400, str(error), param="stage") from None
    audit(ctx, who, "promoted", f"{body.round or space.round:03d}/{name}", force=body.force, anyway=body.anyway)
    return {**done.to_json(), "serving": ctx.engine.policy_version}


@router.post("/rollback")
def rollback(ctx: Ctx, who: Who) -> dict[str, Any]:
    """Make the model that was promoted before the current one current again."""
    try:
        told = {"current": space_of(ctx).rollback(), "serving": ctx.engine.policy_version}
    except ValueError as error:
        raise ApiError(409, str(error)) from None
    audit(ctx, who, "rolled back", str(told["current"]))
    return told
