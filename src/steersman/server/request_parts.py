"""Content of requests that comes in parts: words, and images as `data:` URLs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from steersman.artifact.media import from_url
from steersman.parts import Said
from steersman.parts import Text as Words
from steersman.server.errors import ApiError
from steersman.server.file_parts import file_said
from steersman.server.request_text import Text

_URL = r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}$"


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_MOST_NAMED = 16
PART_MARKS = frozenset({"annotations", "cache_control", "copilot_cache_control", "prompt_cache_breakpoint"})
"""Fields of a part that no model is shown: marks for a cache of prompts, and an answer's sources."""


def closed(ignored: Iterable[str], neutral: Mapping[str, Sequence[Any]]) -> Callable[[dict[str, Any]], None]:
    """What writes into a model's schema the fields that are read and ignored, those that take some values alone, and
    that there are no others."""

    def close(schema: dict[str, Any]) -> None:
        schema["properties"] |= {name: {"enum": [*values, None]} for name, values in neutral.items()}
        schema["properties"] |= {name: {} for name in ignored}
        schema["additionalProperties"] = False

    return close


class Loose(BaseModel):
    """A part of a request that may have more fields than are known here: they have no effect, and are in `unknown`."""

    model_config = ConfigDict(extra="ignore")

    marks: ClassVar[frozenset[str]] = PART_MARKS
    """Further fields, which everybody knows to have no effect on an answer."""
    _unknown: tuple[str, ...] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _look(cls, value: Any, build: Callable[[Any], Self]) -> Self:
        made = build(value)
        if isinstance(value, dict):
            more = value.keys() - cls.model_fields.keys() - cls.marks
            made._unknown = tuple(sorted(name for name in more if value[name] not in (None, [], {})))
        return made

    def lacks(self, name: str) -> None:
        """No model is shown this of it."""
        self._unknown = (*self._unknown, name)

    @property
    def unknown(self) -> tuple[str, ...]:
        return self._unknown


def unknown_in(parts: Iterable[Any], where: str) -> Iterator[str]:
    """`where`.NAME of each field of these parts that is not known here."""
    for part in parts:
        if isinstance(part, Loose):
            yield from (f"{where}.{name}" for name in part.unknown)


def told_names(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, as a header may have it: a request can name its fields with any characters."""
    plain = dict.fromkeys(name if _NAME.fullmatch(name) else f"{name.rpartition('.')[0]}.?" for name in names)
    return tuple(plain)[:_MOST_NAMED]


class ImageUrl(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Text = Field(json_schema_extra={"pattern": _URL})
    detail: Literal["auto", "low", "high", "original"] | None = None
    media_type: Text | None = None
    """As editors send it beside the URL, which says it itself."""


class ImagePart(Loose):
    type: Literal["image_url"]
    image_url: ImageUrl


class FileData(Loose):
    file_data: Text | None = None
    filename: Text | None = None
    file_id: Text | None = None
    """Of a file that OpenAI keeps: refused."""


class FilePart(Loose):
    type: Literal["file"]
    file: FileData


class TextPart(Loose):
    type: Literal["text"]
    text: Text


def refuse_files(parts: Iterable[Any], kind: type[Loose], where: str) -> None:
    """ApiError where one of an assistant's parts is a file: no answer has any."""
    for i, part in enumerate(parts):
        if isinstance(part, kind):
            place = f"{where}[{i}]"
            raise ApiError(400, f"{place}: expected no file in the assistant's turn", param=place)


def to_said(parts: Sequence[TextPart | ImagePart | Any], where: str) -> list[Said]:
    """Parts of a request's content. ApiError where an image or file is not included or invalid; nothing is
    downloaded."""
    out: list[Said] = []
    for i, part in enumerate(parts):
        if isinstance(part, FilePart):
            out += file_said(part, part.file.file_data, part.file.filename, f"{where}[{i}].file.file_data")
            continue
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
