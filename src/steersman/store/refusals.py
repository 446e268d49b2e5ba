"""Errors of the store.

ValueError
  └── StoreError    the caller asked for something that cannot be: a broken ranking, a wrong parent
        ├── Deleted     who asks was deleted meanwhile
        ├── NotFound    no such task, conversation or message
        ├── NotLearned  what goes with it holds feedback that no round has learned
        ├── NotYours    the task was given to somebody else
        └── Outdated    the chat went on since the caller looked
OSError
  ├── DiskError     the file's disk is full, read-only or failing
  └── Unreachable   the database's server is gone, or too busy
"""

from __future__ import annotations

import unicodedata

BUSY_SECONDS = 30.0
"""Seconds that a writer waits for others before an error."""


class StoreError(ValueError):
    """The request contradicts the store's rules; the text says which and what was expected, `code` tells programs."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Deleted(StoreError):
    """The account of whoever asks was deleted while they asked."""


class NotFound(StoreError):
    """No record has this id."""


class NotYours(StoreError):
    """The task was not given to the person who asks."""


class NotLearned(StoreError):
    """What is to be deleted holds feedback that no round has learned; the caller may say that this is meant."""

    def __init__(self, records: int) -> None:
        super().__init__(
            f"{records} piece{'s' * (records != 1)} of feedback that no round has learned would be lost",
            "feedback_not_learned",
        )
        self.records = records


class Outdated(StoreError):
    """The state that the caller's request is based on has changed."""


class DiskError(OSError):
    """The store's disk is full, read-only or failing; `errno` says which, `filename` is the store's."""


class Unreachable(OSError):
    """The database's server does not answer. What was being written is not acknowledged; later calls connect anew."""


def expect(condition: bool, message: str, code: str | None = None) -> None:
    if not condition:
        raise StoreError(message, code)


def shows(text: str) -> bool:
    """Whether anybody sees something of a text: more than white space and marks without a width."""
    return any(not c.isspace() and unicodedata.category(c) != "Cf" for c in text)


def clean_text(value: object, where: str, *, limit: int | None = None, empty: bool = False) -> str:
    """`value` as text that every database can hold: a string, UTF-8 encodable, without NUL characters."""
    if not isinstance(value, str):
        raise StoreError(f"{where}: expected text, got {type(value).__name__}")
    expect("\x00" not in value, f"{where}: expected text without NUL characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise StoreError(f"{where}: expected valid Unicode, got an unpaired surrogate") from None
    expect(empty or shows(value), f"{where}: expected some text, got none")
    expect(limit is None or len(value) <= limit, f"{where}: expected at most {limit} characters, got {len(value)}")
    return value
