"""Files in requests, as words in the turn: texts, PDF and Word files that are included. Nothing is fetched.

Why only so many at a time: decision 41 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextvars
import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from steersman.data import file_words
from steersman.parts import Said
from steersman.parts import Text as Words
from steersman.server.body import until_gone
from steersman.server.errors import ApiError
from steersman.server.generation import RETRY_SECONDS

if TYPE_CHECKING:
    from steersman.server.request_parts import Loose

AT_ONCE, WAITING, PATIENCE = 2, 6, 20.0
"""PDF and Word files that a process reads for requests at a time, that wait for it, and for how many seconds: each may
take half a minute, and who waits holds a thread that others need."""
MOST = 8
"""PDF and Word files in one request."""
_turns, _room = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + WAITING)
_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
T = TypeVar("T")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class _Files:
    """Of one request, as they are read; `stop` may be called from another thread."""

    def __init__(self) -> None:
        self._left = MOST
        self._stopped = False
        self._reading: file_words.Reading | None = None

    def stop(self) -> None:
        self._stopped = True
        if (reading := self._reading) is not None:
            reading.stop()

    def count(self, where: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise ApiError(400, f"{where}: expected at most {MOST} PDF and Word files in a request", param=where)
        self.check()

    def check(self) -> None:
        if self._stopped:
            raise ApiError(400, "The connection was broken off before the files were read", code="gone")

    def words(self, content: bytes) -> file_words.Words:
        self._reading = file_words.Reading(content)
        self.check()
        try:
            return self._reading.words()
        finally:
            self._reading = None
            self.check()


_files: contextvars.ContextVar[_Files | None] = contextvars.ContextVar("files", default=None)


async def reading(request: Request, read: Callable[[], T]) -> T:
    """`read`, which may come to `file_said`, in a thread. No file is read on where the client leaves or this is
    cancelled."""
    files = _Files()
    _files.set(files)
    gone = asyncio.ensure_future(until_gone(request.receive))
    gone.add_done_callback(lambda _: files.stop())
    try:
        return await run_in_threadpool(read)
    finally:
        gone.cancel()
        files.stop()


def document(said: Sequence[Said], *heads: str | None) -> list[Said]:
    """A document in a turn, under its name and what else is said of it."""
    head = "".join(f"{line}\n" for line in ("<document>", *heads) if line)
    return [Words(head), *said, Words("\n</document>\n\n")]


def file_said(part: Loose, data: str | None, name: str | None, where: str) -> list[Said]:
    """The words of a file in base64, alone or as a `data:` URL, as a document. It may block for a minute.

    Of what cannot be read the document tells the model, and `part.unknown` the caller. ApiError where no file is
    included, or none of it can be read.
    """
    if not data:
        raise ApiError(400, f"{where}: expected the file itself (file_data); none is kept or fetched here", param=where)
    try:
        content = base64.b64decode(data[head.end() if (head := _URL.match(data)) else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, f"{where}: expected base64 or a data: URL of it", param=where) from None
    if (text := _plain(content)) is not None:
        return document([Words(text)], name)
    found = _read(content, where)
    lines = [found.text]
    if found.unread:
        lines.append(f"[No words could be read of page {', '.join(map(str, found.unread[:20]))}.]")
        part.lacks("unread_pages")
    if found.cut:
        lines.append(f"[{found.cut} further characters are left out.]")
        part.lacks("unread_characters")
    return document([Words("\n".join(lines))], name)


def _plain(content: bytes) -> str | None:
    """A text; None of other files."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    is_text = text.strip() and not text.startswith("%PDF-") and not _CONTROL.search(text)
    return text.replace("\r\n", "\n") if is_text else None


def _read(content: bytes, where: str) -> file_words.Words:
    files = _files.get() or _Files()
    files.count(where)
    busy = ApiError(429, f"{AT_ONCE + WAITING} files are being read; try again", retry_after=RETRY_SECONDS)
    if not _room.acquire(blocking=False):
        raise busy
    try:
        if not _turns.acquire(timeout=PATIENCE):
            raise busy
        try:
            return files.words(content)
        finally:
            _turns.release()
    except ValueError as error:
        told = str(error).replace("expected a PDF", "expected a text in UTF-8, a PDF")
        raise ApiError(400, f"{where}: {told}", param=where, code="unreadable_file") from None
    finally:
        _room.release()
