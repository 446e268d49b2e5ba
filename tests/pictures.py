"""Small pictures of every kind, made here."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib

import PIL.Image

KINDS = ("png", "jpeg", "webp", "gif")


@functools.cache
def picture(kind: str = "png", colour: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def data_url(kind: str = "png", colour: str = "red", size: tuple[int, int] = (8, 6)) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture(kind, colour, size)).decode()}"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that unfolds to so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
