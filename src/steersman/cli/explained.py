"""What the command line says of an error: one line for what the user can put right."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from steersman import installed

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")


def explain(error: BaseException) -> str | None:
    """One line for an error that the user can put right; None for everything else, which is a bug of ours."""
    cause = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's error
    text = " ".join(str(error).split())
    for reason in _behind(error):
        said = " ".join(str(reason).split())
        full = isinstance(reason, OSError) and reason.errno in FULL_DISK
        if full or "No space left on device" in said or "database or disk is full" in said:
            return _full_disk(getattr(reason, "filename", None), said)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(m in text for m in NO_MEMORY)):
        return f"out of memory{f' ({text[:200]})' if text else ''}; `steersman plan` says what fits and what to set"
    if isinstance(error, RecursionError):
        return "something among the files that were read is nested too deeply; expected a few levels"
    if isinstance(cause, sqlite3.Error):
        return f"store.db: {cause}; expected a database that this version can read and write"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{error.filename}: no such file or folder"
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: permission denied; expected a place that you may read and write"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"{error.filename or 'the disk'}: the disk is read-only; expected one that can be written to"
    if (isinstance(error, OSError) and error.errno == errno.EFBIG) or "File too large" in text:
        where = getattr(error, "filename", None) or "a file"
        return (
            f"{where}: too large for this disk (FAT32: 4 GiB) or this shell (ulimit -f); expected a place without such"
        )
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # such a part of a text is a byte of a file's name or of an argument that Python could not read
        return (
            f"{ascii(error.object)[:200]}: a name in another encoding than {sys.getfilesystemencoding()}, that of this "
            "system; expected one that it can read: set LC_ALL=C.UTF-8 or PYTHONUTF8=1, or rename the file"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    # FloatingPointError is how a stage says that training diverged
    told = isinstance(error, ValueError | OSError | FloatingPointError)
    return text or type(error).__name__ if told else installed.lacking(error)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes and contexts: libraries wrap the disk's errors in their own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _full_disk(where: str | None, text: str) -> str:
    """A message with the path, the bytes needed and the bytes free there, as far as known."""
    known = ""
    if where:
        place = Path(where).absolute()
        while not place.exists():
            place = place.parent
        needed = text[text.index("needs ") :].partition(")")[0] + ", " if "needs " in text else ""
        known = f" ({needed}{shutil.disk_usage(place).free >> 20} MiB are free there)"
    return (
        f"{where or 'the disk'}: no space left; nothing half-written was kept{known}. Free some space and run the same "
        "command again"
    )
