"""Images of a workspace: a folder with one file per image, named by the hash of its bytes.

    media = Media(workspace.root)
    image = media.put(checked(data, "photo.png"))     media/ab/ab12....png
    data = media.read(image)

Images are checked before they are kept: the format by content, never by name; size and pixels within limits, so that
a small file cannot decode to gigabytes. Nothing is downloaded.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from steersman import locks
from steersman.artifact.files import atomic_write
from steersman.parts import IMAGE_PATH, MEDIA_TYPES, Image

LARGEST = 20 << 20
"""Most bytes of an image."""
MOST_PIXELS = 1 << 26
"""Most pixels of an image: 8192 x 8192, or 256 MiB when decoded."""
DATA_URL = re.compile(r"data:(?P<kind>[\w.+/-]*)(?:;[\w=.+-]+)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)
KINDS = ", ".join(kind.removeprefix("image/") for kind in MEDIA_TYPES)


def checked(data: bytes, where: str) -> Image:
    """The bytes as an `Image`. ValueError 'where: what was expected' for anything but a supported image."""
    import PIL.Image  # slow to import and seldom needed

    if len(data) > LARGEST:
        raise ValueError(f"{where}: expected an image of at most {LARGEST >> 20} MiB, got {len(data) >> 20} MiB")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as opened:
            name, (width, height) = str(opened.format), opened.size
            opened.verify()
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ValueError(f"{where}: expected an image of at most {MOST_PIXELS:,} pixels, got far more") from None
    except Exception:  # Pillow's readers may raise any error
        raise ValueError(f"{where}: expected an image ({KINDS}), got bytes that are none") from None
    if width * height > MOST_PIXELS:
        raise ValueError(f"{where}: expected an image of at most {MOST_PIXELS:,} pixels, got {width} x {height}")
    kind = "jpeg" if name == "MPO" else name.lower()  # a JPEG followed by a second picture, as phones write
    return Image(hashlib.sha256(data).hexdigest(), f"image/{kind}", width, height, data=data)


def from_url(url: str, where: str) -> Image:
    """The image of a `data:` URL. ValueError for any other address: nothing is fetched."""
    found = DATA_URL.fullmatch(url)
    if found is None:
        shown = url if len(url) <= 60 else f"{url[:57]}..."
        raise ValueError(
            f"{where}: expected the image itself as data:image/png;base64,..., got {shown!r}; none is fetched"
        )
    try:
        data = base64.b64decode("".join(found["data"].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{where}: expected base64 after data:...;base64,") from None
    return checked(data, where)


def to_url(image: Image) -> str:
    """A `data:` URL of an image whose bytes are loaded."""
    assert image.data, "an image without its bytes"
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def images_in(path: Path) -> Iterator[Image]:
    """Every image that a file of our own JSON names, as often as it does."""
    kinds = {ending: kind for kind, ending in MEDIA_TYPES.items()}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for found in IMAGE_PATH.finditer(line) if "media/" in line else ():
                yield Image(found[2], kinds[found[3]])


class Media:
    """The folder `media` of a workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, image: Image) -> Image:
        """Store an image whose bytes are loaded; returns it without them. An existing file is left unchanged."""
        path = self.root / image.path
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, "wb", words=True) as file:
                file.write(image.data)
        return dataclasses.replace(image, data=b"")

    def read(self, image: Image) -> bytes:
        """ValueError where the file is missing or damaged."""
        path = self.root / image.path
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file; an image of a message is missing, import its data again") from None
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ValueError(f"{path}: its content differs from its name; import the data that it came with again")
        return data

    def loaded(self, image: Image) -> Image:
        return image if image.data else dataclasses.replace(image, data=self.read(image))

    def drop_unused(self, images: Iterable[Image]) -> list[Image]:
        """Remove `images` that no data set, round or export names (the caller asked the store); returns them."""
        left = {image.sha256: image for image in images}
        if not left:
            return []
        for folder in ("data", "rounds", "exports"):
            for path in sorted((self.root / folder).rglob("*.jsonl")):
                for image in images_in(path):
                    left.pop(image.sha256, None)
        for image in left.values():
            (self.root / image.path).unlink(missing_ok=True)
        return list(left.values())

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Held while images are kept and named in the store, and while unused ones are removed."""
        return locks.brief(self.root / "media")
