"""Files in requests, as words in the turn: texts, PDF and Word files that are included. Nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Sequence

from steersman.data import file_words
from steersman.parts import Said
from steersman.parts import Text as Words
from steersman.server.errors import ApiError
from steersman.server.generation import RETRY_SECONDS

AT_ONCE = 4
"""PDF and Word files that a process reads for requests at a time; each may take half a minute."""
_turns = threading.BoundedSemaphore(AT_ONCE)
_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


def document(said: Sequence[Said], *heads: str | None) -> list[Said]:
    """A document in a turn, under its name and what else is said of it."""
    head = "".join(f"{line}\n" for line in ("<document>", *heads) if line)
    return [Words(head), *said, Words("\n</document>\n\n")]


def file_said(data: str | None, name: str | None, where: str) -> list[Said]:
    """The words of a file in base64, alone or as a `data:` URL, as a document. It may block for a minute.

    ApiError where none is included, or some of it cannot be read: nothing is left out in silence.
    """
    if not data:
        raise ApiError(400, f"{where}: expected the file itself (file_data); none is kept or fetched here", param=where)
    try:
        content = base64.b64decode(_URL.sub("", data, count=1), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, f"{where}: expected base64 or a data: URL of it", param=where) from None
    return document([Words(_text(content, where))], name)


def _text(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if text.strip() and not text.startswith("%PDF-") and not _CONTROL.search(text):
        return text.replace("\r\n", "\n")
    if not _turns.acquire(blocking=False):  # who waits here would hold a thread that others need
        raise ApiError(429, f"At most {AT_ONCE} files are read at a time; try again", retry_after=RETRY_SECONDS)
    try:
        found = file_words.words_of(content)
    except ValueError as error:
        told = str(error).replace("expected a PDF", "expected a text in UTF-8, a PDF")
        raise ApiError(400, f"{where}: {told}", param=where, code="unreadable_file") from None
    finally:
        _turns.release()
    if found.unread or found.cut:
        pages = ", ".join(map(str, found.unread[:10]))
        lost = f"no words can be read of its pages {pages}" if found.unread else f"{found.cut} characters are too many"
        raise ApiError(400, f"{where}: {lost}; expected the file without them", param=where, code="unreadable_file")
    return found.text
