"""Images of imported records: their sources, and their places in a dialogue.

Records bring them as parts of a turn (OpenAI, Anthropic, Gemini), or beside the dialogue (`images`), with `<image>` or
a part of type image where each belongs. They come as bytes, `data:` URLs or files below the imported file's folder,
and are kept in the workspace; nothing is downloaded.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from steersman.artifact.media import LARGEST, Media, checked, from_url
from steersman.parts import IMAGE_PATH, Image, Part, Text
from steersman.types import Conversation, Feedback, Message, Ranking

PLACE = Image("0" * 64, "image/png")
"""Placeholder for an image that the record names in another field."""
MARK = "<image>"
SOURCES = ("bytes", "image_url", "url", "source", "image", "data", "path", "file", "inlineData", "inline_data", "value")
"""Fields of an object that contain an image, the most reliable first."""
ENCODED = re.compile(r"[A-Za-z0-9+/\s]{200,}={0,2}\s*")


@dataclass(frozen=True)
class Pictures:
    """Finds and keeps the images of records. `folder`: the folder of the file that names them."""

    media: Media
    folder: Path
    kept: dict[str, Image] = field(default_factory=dict)
    """Images kept so far, by path."""

    def take(self, value: Any, where: str) -> Image:
        """The image in a field or a part. ValueError where there is none."""
        image = self._read(value, where)
        self.kept[image.path] = self.media.put(image)
        return self.kept[image.path]

    def found(self, image: Image, where: str) -> Image:
        """An image named by our own JSON: in this workspace, or in a media folder beside the exported file."""
        if (self.media.root / image.path).is_file():
            return image
        return dataclasses.replace(self.take(image.path, where), detail=image.detail)

    def _read(self, value: Any, where: str, encoded: bool = False) -> Image:
        """`encoded`: any string that is no URL is base64; else only a string that looks like base64."""
        if isinstance(value, Mapping):
            key = next((k for k in SOURCES if value.get(k)), None)
            if key is None:
                raise ValueError(f"{where}: expected an image in one of {', '.join(SOURCES)}, got {sorted(value)}")
            return self._read(value[key], f"{where}.{key}", encoded=key in ("bytes", "data"))
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where}: expected an image, got {str(value)[:60]!r}")
        text = value.strip()
        if re.match(r"(?:data|https?|ftp|s3|gs|file):", text, re.IGNORECASE):
            return from_url(text, where)
        if encoded or ENCODED.fullmatch(text):
            try:
                return checked(base64.b64decode("".join(text.split()), validate=True), where)
            except (binascii.Error, ValueError):
                raise ValueError(f"{where}: expected an image, got base64 of none") from None
        try:
            return checked(self._file(text).read_bytes(), where)
        except OSError:  # no such file, or not a valid file name
            below = f"expected an image's file below {self.folder}"
            raise ValueError(f"{where}: {below}, got {text[:100]!r}") from None

    def _file(self, name: str) -> Path:
        """A file in the folder. OSError where there is none."""
        path = PurePosixPath(name.replace("\\", "/").replace("\0", "?"))  # no file has a NUL in its name
        if path.parts[:1] == (self.folder.resolve().name,) and not (self.folder / path).is_file():
            path = path.relative_to(path.parts[0])  # relative to the parent folder
        places = [self.media.root, self.folder, self.folder.parent] if IMAGE_PATH.fullmatch(name) else []
        folder = next((p for p in places if (p / name).is_file()), self.folder).resolve()
        file = (folder / path).resolve()
        if not file.is_relative_to(folder):
            raise FileNotFoundError(name)
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{name}: expected an image of at most {LARGEST >> 20} MiB")
        return file


def beside(value: Any) -> list[Any]:
    """The images in a record's field, which contains one or a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def placed(
    parsed: Conversation | Ranking | Feedback, images: Iterable[Image], where: str
) -> Conversation | Ranking | Feedback:
    """The record with its separate images inserted: each at a PLACE or `<image>`, in order, or without any, before the
    user's first words. ValueError where the numbers of images and places differ."""
    whole = parsed if isinstance(parsed, Conversation) else parsed.prompt
    left = list(images)
    if left:
        whole = dataclasses.replace(whole, messages=tuple(map(_marked, whole.messages)))
    places = sum(image == PLACE for message in whole.messages for image in message.images)
    if not places and left:
        first = next((i for i, m in enumerate(whole.messages) if m.role == "user"), 0)
        turn = whole.messages[first]
        opened = turn.saying([*[PLACE] * len(left), *turn.said])
        whole = dataclasses.replace(whole, messages=(*whole.messages[:first], opened, *whole.messages[first + 1 :]))
        places = len(left)
    if places != len(left):
        raise ValueError(f"{where}: expected an image for each of {places} places in the dialogue, got {len(left)}")
    own = iter(left)
    if left:
        whole = dataclasses.replace(whole, messages=tuple(_filled(m, own) for m in whole.messages))
    return whole if isinstance(parsed, Conversation) else dataclasses.replace(parsed, prompt=whole)


def _marked(message: Message) -> Message:
    """A turn of people or tools with a PLACE for each `<image>` in its words, an adjacent line end removed."""
    if message.role == "assistant" or MARK not in message.text:
        return message
    said: list[Part] = []
    for part in message.said:
        if not isinstance(part, Text):
            said.append(part)
            continue
        pieces = part.text.split(MARK)
        for i, words in enumerate(pieces):
            said += [PLACE] if i else []
            words = words.removeprefix("\n") if i else words
            said.append(Text(words.removesuffix("\n") if i < len(pieces) - 1 else words))
    return message.saying(said)


def _filled(message: Message, images: Iterator[Image]) -> Message:
    return message.saying([next(images) if part == PLACE else part for part in message.said])
