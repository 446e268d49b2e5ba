"""Attachments of chats that are no text yet: the words of a PDF or Word file, which the page puts into the question.

Nothing is kept: what is sent with the question is text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from steersman.data import file_words
from steersman.server.body import FILE_LIMIT, until_gone
from steersman.server.buckets import address_of
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import Text
from steersman.server.taking_turns import Turns

router = APIRouter(prefix="/api/attachments")
TURNS = Turns(at_once=2, waiting=12, each=4)
"""Files that a process reads; each may take a minute of a processor and a gigabyte."""


class File(BaseModel):
    """A PDF or Word file in base64."""

    model_config = ConfigDict(extra="forbid")

    data: Annotated[Text, Field(min_length=1, max_length=FILE_LIMIT * 4 // 3 + 4)]


@router.post("")
async def words(body: File, who: Who, request: Request) -> dict[str, Any]:
    """The file's words, the number of its pages, those that could not be read, and how many characters are left out."""
    try:
        content = base64.b64decode(body.data, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "data: expected base64", param="data") from None
    reading = asyncio.ensure_future(_words(who.id or address_of(request.scope), content))
    gone = asyncio.ensure_future(until_gone(request.receive))
    gone.add_done_callback(lambda _: reading.cancel())
    try:
        found = await reading
    except ValueError as error:
        raise ApiError(400, f"data: {error}", param="data", code="unreadable_file") from None
    except asyncio.CancelledError:
        if not gone.done():  # the server ends
            raise
        raise ApiError(400, "The connection was broken off before the file was read", code="gone") from None
    finally:
        gone.cancel()
    return {"text": found.text, "pages": found.pages, "unread": list(found.unread), "cut": found.cut}


async def _words(person: str, content: bytes) -> file_words.Words:
    """In turn. Cancelled, it leaves the queue, or the process that reads is ended and the turn with it."""
    await TURNS.begin(person)
    reading = file_words.Reading(content)
    work = asyncio.ensure_future(run_in_threadpool(reading.words))
    work.add_done_callback(functools.partial(_done, person))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        reading.stop()
        raise


def _done(person: str, reading: asyncio.Future[file_words.Words]) -> None:
    TURNS.end(person)
    if not reading.cancelled():
        reading.exception()  # seen, where nobody waits for it
