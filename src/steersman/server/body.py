"""A request's body, read whole before anything else, within limits of size and time.

Why so: decision 41 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from starlette.datastructures import Headers
from starlette.types import Message, Receive

BODY_LIMIT = 1_000_000
"""Most bytes of a request's body."""
IMAGES_LIMIT = 28_000_000
"""The same where the engine takes images: the largest one (`artifact.media`) in base64, with room for words."""
FILE_LIMIT = 10_000_000
"""Most bytes of a file whose words are asked for."""
TEXTS_LIMIT = 4_000_000
"""Most bytes of texts to be embedded: a thousand passages, which is what clients send at once."""
WITH_FILE = FILE_LIMIT * 4 // 3 + BODY_LIMIT
"""Most bytes of a body that may hold a file: the largest one in base64, and words beside it."""
LARGER = {
    "/api/attachments": FILE_LIMIT * 4 // 3 + 1000,
    "/v1/embeddings": TEXTS_LIMIT,
    "/v1/chat/completions": WITH_FILE,
    "/v1/responses": WITH_FILE,
    "/v1/messages": WITH_FILE,
    "/v1/messages/count_tokens": WITH_FILE,
}
"""Path -> most bytes of its bodies, where they are more than others."""
HELD_LIMIT = 256_000_000
"""Most bytes that the bodies above BODY_LIMIT of all requests under way take together."""
BODY_SECONDS = 20.0
"""Seconds within which the whole body must arrive."""

VALUES_LIMIT = 40_000
"""Most JSON values in a body, more than a prompt of 32,768 token ids: parsing a megabyte of small values would block
all requests for a second."""

_DRAIN = 8
"""Up to this multiple of the limit a too large body is read and dropped, so that the client sees the refusal."""


class BodyRefused(Exception):
    """The body is too large or does not arrive in time."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Room:
    """What the bodies above BODY_LIMIT of all requests under way take. Used from the event loop only."""

    def __init__(self) -> None:
        self.taken = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function to be told of a body's bytes so far, for as long as the request is under way. It raises
        BodyRefused where they find no room."""
        mine = 0

        def grow(size: int) -> None:
            nonlocal mine
            if size <= BODY_LIMIT:
                return
            if self.taken - mine + size > HELD_LIMIT:
                raise BodyRefused(429, "The server is reading too many large requests; try again")
            self.taken, mine = self.taken - mine + size, size

        try:
            yield grow
        finally:
            self.taken -= mine


async def read_body(
    headers: Headers, receive: Receive, limit: int = BODY_LIMIT, grow: Callable[[int], None] = lambda _size: None
) -> bytes:
    """The whole body; `grow` is told of its bytes as they come. Raises BodyRefused."""
    if "content-length" in headers and "transfer-encoding" in headers:  # a proxy might take the other one
        raise BodyRefused(400, "The body's length is given twice; expected Content-Length or Transfer-Encoding")
    packed = headers.get("content-encoding", "identity").lower()
    if packed != "identity":
        raise BodyRefused(415, f"The body is compressed ({packed[:20]}); expected it as it is")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(headers, receive, limit, grow)
    except TimeoutError:
        raise BodyRefused(408, f"The body did not come within {BODY_SECONDS:g} seconds") from None
    if body is None:
        raise BodyRefused(413, f"The body is larger than {limit} bytes")
    if _values(body) > VALUES_LIMIT and _too_many(body):
        raise BodyRefused(400, f"The body has more than {VALUES_LIMIT} values")
    return body


def _values(text: bytes) -> int:
    """An upper bound of the number of values in JSON without strings."""
    return sum(text.count(sign) for sign in (b",", b"[", b"{"))


def _too_many(body: bytes) -> bool:
    """Whether there are more than VALUES_LIMIT values outside of strings, or so many strings that half of them, the
    names, leave more. A loop over the strings would hold up the event loop for 0.1 s, and millions of them for longer.
    """
    plain = body.replace(b"\\\\", b"")
    if (plain.count(b'"') - plain.count(b'\\"') + 1) // 4 > VALUES_LIMIT:
        return True
    pieces = plain.replace(b'\\"', b"").split(b'"')  # every second one is a string's inside
    return _values(b"".join(pieces[::2])) > VALUES_LIMIT


async def _read(headers: Headers, receive: Receive, limit: int, grow: Callable[[int], None]) -> bytes | None:
    """The body; None where it is too large."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > _DRAIN * limit:
        return None
    chunks, size, more = [], 0, True
    while more and size <= _DRAIN * limit:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyRefused(400, "The body broke off before its end")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= limit:
            grow(size)
            chunks.append(chunk)
    return b"".join(chunks) if size <= limit else None


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns `body` once and then the client's disconnect."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def until_gone(receive: Receive) -> None:
    """Wait, once the body is read, until the client breaks the connection off or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
