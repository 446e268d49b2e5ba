"""The canary: a candidate model that answers a share of new chats, what votes say of it, and its promotion."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from steersman.rounds import canary, gate
from steersman.server.audit import audit
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import WHOLE
from steersman.server.rounds_api import MOST, Name, space_of

router = APIRouter(prefix="/api/canary")


class Compare(BaseModel):
    """A round's model that is to answer a share of new chats."""

    model_config = ConfigDict(extra="forbid")

    round: Annotated[StrictInt, Field(ge=1, lt=MOST), WHOLE]
    stage: Name = ""
    """The furthest of the round unless named."""
    share: Annotated[StrictFloat, Field(gt=0, le=0.9)] = 0.1
    force: StrictBool = False
    """Start it whatever its report says."""


class Decide(BaseModel):
    """Promote the candidate; `force` without votes that call it better."""

    model_config = ConfigDict(extra="forbid")

    force: StrictBool = False


@router.get("")
def status(ctx: Ctx) -> dict[str, Any]:
    """The canary that is under way, or the last one, with votes, interval and decision; null where there was none."""
    return _status(ctx)


@router.post("", status_code=201)
def start(ctx: Ctx, who: Who, body: Compare) -> dict[str, Any]:
    """Start to send a share of new chats to a round's model, which the server loads within seconds.

    409 where its report says that it is worse.
    """
    try:
        canary.start(space_of(ctx), body.round, body.stage, body.share, body.force)
    except canary.NotStarted as error:
        raise ApiError(409, str(error), param=error.option, code="not_started") from None
    except ValueError as error:
        raise ApiError(400, str(error), param="round") from None
    audit(ctx, who, "canary started", f"{body.round:03d}/{body.stage}")
    return _status(ctx)


@router.delete("")
def stop(ctx: Ctx, who: Who) -> dict[str, Any]:
    """End the canary: all chats go to the served model again."""
    try:
        canary.end(space_of(ctx), "stopped")
    except ValueError as error:
        raise ApiError(409, str(error)) from None
    audit(ctx, who, "canary stopped")
    return _status(ctx)


@router.post("/promote")
def promote(ctx: Ctx, who: Who, body: Decide | None = None) -> dict[str, Any]:
    """Promote the candidate, which the server then serves within seconds. 409 where votes do not call it better."""
    try:
        made = canary.promote(space_of(ctx), ctx.store, force=body is not None and body.force)
    except gate.Refused as error:
        raise ApiError(409, str(error), param=error.option, code="not_promoted") from None
    except ValueError as error:
        raise ApiError(409, str(error)) from None
    audit(ctx, who, "canary promoted", force=body is not None and body.force)
    return {**made.to_json(), **_status(ctx)}


def _status(ctx: Context) -> dict[str, Any]:
    try:
        found = canary.look(space_of(ctx), ctx.store)
    except ValueError as error:
        raise ApiError(409, str(error)) from None
    loaded = ctx.models.canary
    told: dict[str, Any] = found.to_json() if found else {"canary": None, "now": None}
    told["answering"] = loaded is not None and found is not None and loaded.salt == found.canary.salt
    if told["canary"]:
        del told["canary"]["salt"]
    return told
