"""Logs an error's place and kind without its text, which may quote a user's question.

Why so: decision 43 in docs/LOG.md.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger(__name__)
access = logging.getLogger(f"{__name__}.access")
"""A line for each request, at INFO."""
request: ContextVar[str] = ContextVar("request", default="")
"""Id of the request that is being answered, '' outside of one."""
words = logging.getLogger(f"{__name__}.words")
"""A logger that includes the texts, enabled only by setting its own level (`STEERSMAN_DEBUG=words`)."""
words.setLevel(logging.CRITICAL)


def failed(what: str, error: BaseException) -> None:
    log.error("%s: %s", what, wordless(error), extra={"kind": type(error).__name__})
    words.debug("%s", what, exc_info=error)


def answered(**told: Any) -> None:
    access.info(" ".join(f"{name}={value}" for name, value in told.items()), extra={"told": told})


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, logger, message, the request's id where there is one, and what a line of
    `answered` tells as members of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if id_ := request.get():
            line["request"] = id_
        told = getattr(record, "told", None)
        line |= told if told is not None else {"message": record.getMessage()}
        if kind := getattr(record, "kind", ""):
            line["error"] = kind
        if record.exc_info and record.exc_info[1] is not None:
            shown = super().formatException(record.exc_info) if words.isEnabledFor(logging.DEBUG) else None
            line |= {"error": type(record.exc_info[1]).__name__, "stack": shown or wordless(record.exc_info[1])}
        return json.dumps(line)


def wordless(error: BaseException) -> str:
    """Types of the error, its causes and its sub-errors, each with its stack."""
    return "\n".join(_lines(error))


def _lines(error: BaseException) -> Iterator[str]:
    yield type(error).__name__
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _lines(part)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield f"after {wordless(before)}"
