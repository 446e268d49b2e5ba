"""Stages' settings, looked at and changed: what the next run of a stage takes. Numbers, switches and choices alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as FromPath
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from steersman.rounds import stage_settings
from steersman.server.audit import audit
from steersman.server.context import Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import Said
from steersman.server.rounds_api import space_of

router = APIRouter(prefix="/api/rounds/settings")
Section = Annotated[str, FromPath(max_length=40)]
Value = StrictBool | StrictInt | StrictFloat | Annotated[Said, Field(max_length=200)]


class Change(BaseModel):
    """Settings by their names below the section, such as {"kl.coef": 0.05}."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[dict[str, Value], Field(min_length=1, max_length=200)]


@router.get("/{section}")
def settings(ctx: Ctx, section: Section) -> dict[str, Any]:
    """Each setting of a stage's section: value, default, type, bounds, meaning, and whether it can be changed here."""
    try:
        return {"section": section, "settings": stage_settings.described(space_of(ctx), section)}
    except ValueError as error:
        raise ApiError(404, str(error), param="section") from None


@router.put("/{section}")
def change(ctx: Ctx, who: Who, section: Section, body: Change) -> dict[str, Any]:
    """Put values into the workspace's steersman.toml, where people's comments stay. A run under way keeps its own."""
    try:
        stage_settings.change(space_of(ctx), section, body.values)
    except ValueError as error:
        raise ApiError(400, str(error), param="values") from None
    audit(ctx, who, "settings changed", section, **{name: str(value) for name, value in body.values.items()})
    return settings(ctx, section)
