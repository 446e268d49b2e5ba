"""The workspace's rounds: what is made and stale, stages started and cancelled as jobs, promotion through the gate;
what the next round would learn, what one has decided, and what became of an answer or a piece of feedback.

Stages run in processes of their own (`steersman.rounds.jobs`): torch stays out of this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as FromPath
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.artifact.workspace import Workspace
from steersman.rounds import gate, jobs, loop, overview, provenance, registry
from steersman.server.audit import audit
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import WHOLE, Said

router = APIRouter(prefix="/api/rounds")
MOST = 10**6
"""Largest number of a round or job."""
Number = Annotated[int, FromPath(ge=1, lt=MOST)]
Name = Annotated[Said, Field(max_length=100)]
Round = Annotated[StrictInt, Field(ge=0, lt=MOST), WHOLE]


class Start(BaseModel):
    """A stage to compute, by its verb; `run` makes all that is missing, `round` the next model of what people said."""

    model_config = ConfigDict(extra="forbid")

    stage: Name
    fresh: StrictBool = False
    """Throw away an unfinished run's work."""


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
    """The workspace, opened again. ApiError where the server has none."""
    if ctx.workspace is None:
        raise ApiError(404, "This server shows no workspace; expected one that was started by steersman serve")
    try:
        return Workspace.open(ctx.workspace)
    except ValueError as error:
        raise ApiError(404, str(error)) from None


@router.get("")
def rounds(ctx: Ctx) -> dict[str, Any]:
    """Everything that `steersman status --json` says of the latest round, and the jobs."""
    space = space_of(ctx)
    try:
        found = overview.collect(space, space.round)
        return {**found, "jobs": [job.to_json() for job in jobs.jobs(space)]}
    except ValueError as error:  # the workspace is damaged; the text says which file
        raise ApiError(409, str(error)) from None


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
    return _answer(lambda space: loop.preview(space).to_json(), ctx, 409)


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
