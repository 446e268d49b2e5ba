"""The workspace's data sets: looked at, and made of files that a browser sends piece by piece.

Pieces are base64 in small JSON bodies: each passes the same checks of origin, key, size and time as every request.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.rounds import data_sets, jobs, uploads
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.request_text import WHOLE, Said, Text
from steersman.server.rounds_api import space_of

router = APIRouter(prefix="/api/data")
PIECE = 512 * 1024
"""Bytes of a file in one request."""
Splits = Literal["auto", "train", "validation", "test"]
Kinds = Literal["", "demonstrations", "prompts", "rankings", "feedback", "texts"]


class Begin(BaseModel):
    """A file that is to be sent in pieces."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Said, Field(max_length=200)]
    size: Annotated[StrictInt, Field(ge=1, le=uploads.LARGEST), WHOLE]


class Piece(BaseModel):
    """Bytes of the file from `offset` on, in base64."""

    model_config = ConfigDict(extra="forbid")

    offset: Annotated[StrictInt, Field(ge=0, le=uploads.LARGEST), WHOLE]
    data: Annotated[Text, Field(min_length=1, max_length=PIECE * 4 // 3 + 4)]


class Import(BaseModel):
    """How the file is imported; what is not said is found by the file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(max_length=100)] = ""
    """Of the data set; the file's unless named."""
    split: Splits = "auto"
    kind: Kinds = ""
    skip_bad: StrictBool = False
    """Leave bad records out and count them, instead of refusing the file."""


@router.get("")
def listed(ctx: Ctx) -> dict[str, Any]:
    """The data sets, without their records."""
    space = space_of(ctx)
    uploads.sweep(space)
    return {"sets": data_sets.listed(space), "piece": PIECE, "largest": uploads.LARGEST}


@router.get("/{name}/records")
def shown(
    ctx: Ctx,
    name: str,
    start: Annotated[int, Query(ge=1, le=10**9)] = 1,
    count: Annotated[int, Query(ge=1, le=100)] = 10,
    containing: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Records of a data set, or those that contain some words."""
    return _of(ctx, lambda space: data_sets.shown(space, name, start, count, containing))


@router.get("/{name}/dropped")
def dropped(ctx: Ctx, name: str, count: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
    """Records that cleaning left out to make this set, and why."""
    return _of(ctx, lambda space: {"records": data_sets.dropped(space, name, count)})


def _of(ctx: Context, ask: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ask(space_of(ctx))
        return found
    except ValueError as error:
        raise ApiError(404, str(error), param="name") from None


@router.post("/uploads", status_code=201)
def begin(ctx: Ctx, body: Begin) -> dict[str, Any]:
    """Begin to send a file. 409 where too many are under way or the disk has no room."""
    try:
        made = uploads.begin(space_of(ctx), body.name, body.size)
    except ValueError as error:
        status = 400 if str(error).startswith(("name:", "size:")) else 409
        raise ApiError(status, str(error), param=str(error).split(":")[0] if status == 400 else None) from None
    return {"id": made.id, "piece": PIECE, "received": 0}


@router.post("/uploads/{id}")
def add(ctx: Ctx, id: str, body: Piece) -> dict[str, Any]:
    """Add a piece. 409 with code `misplaced` where it does not begin at the end of what has come."""
    try:
        piece = base64.b64decode(body.data, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "data: expected base64", param="data") from None
    try:
        return {"received": uploads.add(space_of(ctx), id, body.offset, piece)}
    except uploads.NoUpload as error:
        raise ApiError(404, str(error)) from None
    except uploads.Misplaced as error:
        raise ApiError(409, str(error), param="offset", code="misplaced") from None
    except ValueError as error:
        raise ApiError(400, str(error), param="data") from None


@router.delete("/uploads/{id}")
def drop(ctx: Ctx, id: str) -> dict[str, Any]:
    """Throw a file away that was begun."""
    try:
        uploads.drop(space_of(ctx), id)
    except uploads.NoUpload as error:
        raise ApiError(404, str(error)) from None
    return {"dropped": id}


@router.post("/uploads/{id}/import", status_code=201)
def import_it(ctx: Ctx, id: str, body: Import) -> dict[str, Any]:
    """Import a file that has come whole, as a job; the file is deleted when that has ended."""
    options = ["--split", body.split, *(["--kind", body.kind] if body.kind else [])]
    options += [*(["--name", body.name] if body.name else []), *(["--skip-bad"] if body.skip_bad else [])]
    if body.name.startswith("-"):
        raise ApiError(400, "name: expected letters, digits, '-', '_' and '.', beginning with a letter", param="name")
    try:
        return uploads.import_it(space_of(ctx), id, options).to_json()
    except uploads.NoUpload as error:
        raise ApiError(404, str(error)) from None
    except jobs.Busy as error:
        raise ApiError(409, str(error), code="busy") from None
    except ValueError as error:
        raise ApiError(409, str(error)) from None
