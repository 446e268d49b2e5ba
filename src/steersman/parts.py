"""The parts of a message: text, images, calls of tools and their results, citations (standard library only).

An image is named by the hash of its bytes, which lie in a workspace's `media` folder (`artifact.media`); in JSON it is
OpenAI's `image_url` with the path there. Citations are OpenAI's `url_citation` annotations.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

MEDIA_TYPES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
"""Kinds of images that messages may have -> the ending of their files."""
IMAGE_PATH = re.compile(rf"media/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})\.({'|'.join(MEDIA_TYPES.values())})")


class CannotTake(ValueError):
    """A model, or its chat template, does not support a part of a message; the text names both."""


def expect(condition: bool, where: str, expected: str, got: object) -> None:
    """ValueError that names the field and what was expected, unless `condition`."""
    if not condition:
        shown = repr(got)
        raise ValueError(f"{where}: expected {expected}, got {shown if len(shown) < 80 else shown[:77] + '...'}")


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str

    def to_json(self) -> Json:
        return {"type": "text", "text": self.text}


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, by the SHA-256 of its bytes in hexadecimal digits; width and height in pixels, 0 where unknown."""

    sha256: str
    media_type: str
    width: int = 0
    height: int = 0
    detail: str = ""
    """OpenAI's level of detail ("low", "high"); empty: the model's default."""
    data: bytes = field(default=b"", compare=False, repr=False)
    """The image's bytes, if a request contained them or they were loaded for one; never in the JSON."""

    def __post_init__(self) -> None:
        expect(self.media_type in MEDIA_TYPES, "image.media_type", f"one of {', '.join(MEDIA_TYPES)}", self.media_type)
        good = re.fullmatch("[0-9a-f]{64}", self.sha256) is not None
        expect(good, "image.sha256", "64 hexadecimal digits", self.sha256)

    @property
    def path(self) -> str:
        """Path of the image's file, relative to the workspace."""
        return f"media/{self.sha256[:2]}/{self.sha256}.{MEDIA_TYPES[self.media_type]}"

    def to_json(self) -> Json:
        told = {"width": self.width, "height": self.height, "detail": self.detail}
        return {"type": "image_url", "image_url": {"url": self.path} | {k: v for k, v in told.items() if v}}

    @staticmethod
    def from_json(value: Any, where: str) -> Image:
        """ValueError for any image but one of the `media` folder: other forms are read by importers and the server."""
        inner = value.get("image_url") if isinstance(value, Mapping) else None
        inner = inner if isinstance(inner, Mapping) else {"url": inner}
        url = inner.get("url")
        found = IMAGE_PATH.fullmatch(url) if isinstance(url, str) else None
        if found is None:
            raise ValueError(
                f"{where}.image_url.url: expected an image of this workspace (media/12/12ab....png), got "
                f"{repr(url)[:60]}; `steersman data import` reads images as files and as data: URLs"
            )
        kinds = {ending: kind for kind, ending in MEDIA_TYPES.items()}
        width, height = (inner.get(side, 0) for side in ("width", "height"))
        for side, pixels in (("width", width), ("height", height)):
            expect(type(pixels) is int and pixels >= 0, f"{where}.image_url.{side}", "a number of pixels", pixels)
        detail = inner.get("detail") or ""
        expect(isinstance(detail, str), f"{where}.image_url.detail", "a string", detail)
        return Image(found[2], kinds[found[3]], width, height, detail)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An assistant's call of a tool."""

    id: str
    name: str
    arguments: str
    """JSON of an object, as OpenAI has it."""
    given: Json | None = field(default=None, repr=False)
    """The call's JSON as read, if `to_json` would write it differently; it is then written unchanged."""

    def to_json(self) -> Json:
        if self.given is not None:
            return self.given
        function = {"name": self.name, "arguments": self.arguments}
        return ({"id": self.id} if self.id else {}) | {"type": "function", "function": function}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ToolCall:
        """Any object: a call that is not in OpenAI's form is kept unchanged, and a chat template may refuse it."""
        inner = value.get("function", value)
        inner = inner if isinstance(inner, Mapping) else {}
        arguments = inner.get("arguments", {})
        arguments = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        call = ToolCall(str(value.get("id") or ""), str(inner.get("name", "")), arguments)
        same = json.dumps(call.to_json()) == json.dumps(value)
        return call if same else dataclasses.replace(call, given=dict(value))


@dataclass(frozen=True, slots=True)
class Citation:
    """Source of some of a message's words. `start`, `end`: characters of the text; 0 and 0: all."""

    url: str
    title: str = ""
    start: int = 0
    end: int = 0
    source: str = ""
    """SHA-256 of the cited document, if it is kept."""

    def __post_init__(self) -> None:
        expect(0 <= self.start <= self.end, "citation", "0 <= start <= end", (self.start, self.end))

    def to_json(self) -> Json:
        """An annotation."""
        told = {"start_index": self.start, "end_index": self.end, "url": self.url, "title": self.title}
        return {"type": "url_citation", "url_citation": told | ({"source": self.source} if self.source else {})}

    @staticmethod
    def from_json(value: Any, where: str) -> Citation:
        expect(isinstance(value, Mapping), where, "an annotation, an object", value)
        kind = value.get("type")
        expect(kind == "url_citation", f"{where}.type", "'url_citation'", kind)
        told = value.get("url_citation", value)
        expect(isinstance(told, Mapping), f"{where}.url_citation", "an object", told)
        texts = {name: told.get(name) or "" for name in ("url", "title", "source")}
        for name, text in texts.items():
            expect(isinstance(text, str), f"{where}.url_citation.{name}", "a string", text)
        start, end = told.get("start_index") or 0, told.get("end_index") or 0
        good = type(start) is int and type(end) is int and 0 <= start <= end
        expect(good, f"{where}.url_citation", "start_index and end_index, places in the text", (start, end))
        return Citation(texts["url"], texts["title"], start, end, texts["source"])

    def moved(self, old: str, new: str) -> Citation:
        """The citation in a text that was changed: its words are searched; if they are gone it covers all."""
        quoted = old[self.start : self.end]
        at = new.find(quoted) if quoted else -1
        start, end = (at, at + len(quoted)) if at >= 0 else (0, 0)
        return dataclasses.replace(self, start=start, end=end)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's result. `call_id`: id of the answered call; `name`: the tool's name."""

    call_id: str
    name: str
    content: tuple[Text | Image | Citation, ...] = ()


Said = Text | Image | Citation
"""Parts that have content of their own."""
Part = Text | Image | ToolCall | ToolResult | Citation


def merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Parts in their usual order: content (adjacent texts joined, empty ones dropped), citations, calls."""
    said: list[Part] = []
    citations: list[Part] = []
    calls: list[Part] = []
    for part in parts:
        if isinstance(part, Citation | ToolCall):
            (citations if isinstance(part, Citation) else calls).append(part)
        elif isinstance(part, Text) and said and isinstance(before := said[-1], Text):
            said[-1] = Text(before.text + part.text)
        elif part != Text(""):
            said.append(part)
    return (*said, *citations, *calls)


def joined(first: Iterable[Part], second: Iterable[Part], gap: str) -> tuple[Part, ...]:
    """The parts of two turns as those of one, with `gap` between their words where both have some."""
    first, second = tuple(first), tuple(second)
    words, more = text_of(first), text_of(second)
    between = gap if words and more else ""
    offset = len(words) + len(between)
    later = (
        dataclasses.replace(p, start=p.start + offset, end=p.end + offset) if isinstance(p, Citation) and p.end else p
        for p in second
    )
    return merged((*first, Text(between), *later))


def said_in(parts: Iterable[Part]) -> tuple[Said, ...]:
    """The content parts in order, including those in tools' results, without calls."""
    out: list[Said] = []
    for part in parts:
        out += part.content if isinstance(part, ToolResult) else () if isinstance(part, ToolCall) else (part,)
    return tuple(out)


def text_of(parts: Iterable[Part]) -> str:
    """The words alone."""
    return "".join(part.text for part in said_in(parts) if isinstance(part, Text))
