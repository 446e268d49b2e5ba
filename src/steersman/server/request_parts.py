"""Content of requests that comes in parts: words, and images as `data:` URLs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from steersman.artifact.media import from_url
from steersman.parts import Said
from steersman.parts import Text as Words
from steersman.server.errors import ApiError
from steersman.server.request_text import Text

_URL = r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}$"


class ImageUrl(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Text = Field(json_schema_extra={"pattern": _URL})
    detail: Literal["auto", "low", "high"] | None = None
    media_type: Text | None = None
    """As editors send it beside the URL, which says it itself."""


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(BaseModel):
    type: Literal["text"]
    text: Text


def to_said(parts: Sequence[TextPart | ImagePart | Any], where: str) -> list[Said]:
    """Parts of a request's content. ApiError where an image is not included or invalid; nothing is downloaded."""
    out: list[Said] = []
    for i, part in enumerate(parts):
        if not isinstance(part, ImagePart):
            out.append(Words(part.text))
            continue
        place = f"{where}[{i}].image_url.url"
        try:
            image = from_url(part.image_url.url, place)
        except ValueError as error:
            raise ApiError(400, str(error), param=place, code="invalid_image") from None
        out.append(dataclasses.replace(image, detail=part.image_url.detail or ""))
    return out
