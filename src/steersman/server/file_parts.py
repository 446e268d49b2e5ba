"""Files in requests, as words in the turn: texts, PDF and Word files that are included. Nothing is fetched.

Why only so many at a time: decision 41 in docs/LOG.md.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steersman.data import file_words
from steersman.parts import Said
from steersman.parts import Text as Words
from steersman.server.errors import ApiError
from steersman.server.generation import RETRY_SECONDS

if TYPE_CHECKING:
    from steersman.server.request_parts import Loose

AT_ONCE, WAITING, PATIENCE = 2, 6, 20.0
"""PDF and Word files that a process reads for requests at a time, that wait for it, and for how many seconds: each may
take half a minute, and who waits holds a thread that others need."""
_turns, _room = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + WAITING)
_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


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
        content = base64.b64decode(_URL.sub("", data, count=1), validate=True)
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
    busy = ApiError(429, f"{AT_ONCE + WAITING} files are being read; try again", retry_after=RETRY_SECONDS)
    if not _room.acquire(blocking=False):
        raise busy
    try:
        if not _turns.acquire(timeout=PATIENCE):
            raise busy
        try:
            return file_words.words_of(content)
        finally:
            _turns.release()
    except ValueError as error:
        told = str(error).replace("expected a PDF", "expected a text in UTF-8, a PDF")
        raise ApiError(400, f"{where}: {told}", param=where, code="unreadable_file") from None
    finally:
        _room.release()
