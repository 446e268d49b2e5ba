"""Attachments of chats that are no text yet: the words of a PDF or Word file, which the page puts into the question.

Nothing is kept: what is sent with the question is text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from steersman.data import file_words
from steersman.server.body import FILE_LIMIT
from steersman.server.errors import ApiError
from steersman.server.request_text import Text

router = APIRouter(prefix="/api/attachments")
AT_ONCE = 2
"""Files that a process reads at a time; each may take a minute of a processor and a gigabyte."""
_reading = 0


class File(BaseModel):
    """A PDF or Word file in base64."""

    model_config = ConfigDict(extra="forbid")

    data: Annotated[Text, Field(min_length=1, max_length=FILE_LIMIT * 4 // 3 + 4)]


@router.post("")
async def words(body: File) -> dict[str, Any]:
    """The file's words, the number of its pages, those that could not be read, and how many characters are left out."""
    global _reading
    try:
        content = base64.b64decode(body.data, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "data: expected base64", param="data") from None
    if _reading >= AT_ONCE:
        raise ApiError(429, f"{AT_ONCE} files are being read; try again in a moment", code="busy", retry_after=5)
    _reading += 1
    reading = asyncio.ensure_future(run_in_threadpool(file_words.words_of, content))
    reading.add_done_callback(_done)  # also where the client has gone
    try:
        found = await asyncio.shield(reading)
    except ValueError as error:
        raise ApiError(400, f"data: {error}", param="data", code="unreadable_file") from None
    return {"text": found.text, "pages": found.pages, "unread": list(found.unread), "cut": found.cut}


def _done(reading: asyncio.Future[file_words.Words]) -> None:
    global _reading
    _reading -= 1
    if not reading.cancelled():
        reading.exception()  # seen, where nobody waits for it
