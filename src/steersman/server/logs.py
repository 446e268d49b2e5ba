"""Logs an error's place and kind without its text, which may quote a user's question.

Why so: decision 43 in docs/LOG.md.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

log = logging.getLogger(__name__)
words = logging.getLogger(f"{__name__}.words")
"""Tells the texts too, where somebody lowers its own level on purpose (`STEERSMAN_DEBUG=words`)."""
words.setLevel(logging.CRITICAL)

_WORDY = "sse_starlette"


def quiet() -> None:
    """Keep libraries from logging answers, whatever level is set for all."""
    logging.getLogger(_WORDY).setLevel(logging.INFO)


def failed(what: str, error: BaseException) -> None:
    log.error("%s: %s", what, wordless(error))
    words.debug("%s", what, exc_info=error)


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
