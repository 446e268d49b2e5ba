"""Files that are whole or absent: a temporary sibling, fsync, rename; permissions, hashes, JSON."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import IO, Any

from steersman.progress import activity
from steersman.terminal import finite

TORN = (".*.tmp", ".tmp*")
"""Suffixes of temporary files left after a kill: ours, and safetensors'."""
WORDS = (".jsonl", ".html")
"""Suffixes of files that contain people's words or answers to them."""
BLOCK = 1 << 22
SHOWN_MIB = 64
"""Size of a file from which on its hashing is shown."""
# A context variable: the open workspace's rule, for all code that writes its files.
private: ContextVar[bool] = ContextVar("private", default=True)
"""Whether files with people's words are for their owner alone (`project.private`)."""


def now() -> str:
    """UTC time as ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def fsync_dir(path: Path) -> None:
    """Flush a folder's names to disk. Windows cannot open folders and does not need it."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def umask() -> int:
    """The process's umask."""
    mask = os.umask(0o077)  # reading it means setting it; files that other threads create meanwhile are private
    os.umask(mask)
    return mask


def mode_of(path: Path, words: bool) -> int:
    """Permissions of a new file: those that the umask leaves; for people's words the owner's only."""
    return (0o600 if private.get() and (words or path.suffix in WORDS) else 0o666) & ~umask()


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", words: bool = False, like: Path | None = None) -> Iterator[IO[Any]]:
    """Open a temporary sibling of `path`; on success fsync and rename it, on any error remove it.

    `words`: the file contains people's words, whatever its name (see `private`). `like`: a file whose permissions it
    gets. A device or pipe is written to as it is: root's rename onto /dev/null would leave a file in its place.
    """
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    if is_special(path):
        with naming(path), open(path, mode, encoding=encoding, newline=newline) as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with open(temporary, mode, encoding=encoding, newline=newline) as file:
                temporary.chmod(stat.S_IMODE(like.stat().st_mode) if like else mode_of(path, words))
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def is_special(path: Path) -> bool:
    """Whether nothing can be put in its place: a device, a pipe, a socket, or a link to what a process has open."""
    opened = path.is_absolute() and path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
    return opened or (path.exists() and not path.is_file() and not path.is_dir())


def rewrite(path: Path, text: str) -> None:
    """Other text in a file that its owner wrote: permissions, ends of lines and a link that leads to it stay."""
    path = path.resolve()
    ends = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
    with atomic_write(path, "wb", like=path) as file:
        file.write(text.replace("\n", ends).encode())


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of a full or read-only disk inside the context name `path`, since a failed write does not.

    safetensors hides the errno in its text.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except Exception as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from None
        raise


def write_json(path: Path, value: Any, words: bool = False) -> None:
    """NaN and infinity become null: JSON has neither, and other readers would refuse the file."""
    with atomic_write(path, words=words) as file:
        json.dump(finite(value), file, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from one of our files. Raises ValueError that names the file and `what` was expected."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: not {what}: nested too deeply") from None
    except ValueError as error:  # invalid JSON or UTF-8, or an integer of thousands of digits
        raise ValueError(f"{path}: not {what}: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: not {what}: expected an object, found {type(raw).__name__}")
    return raw


def file_sha256(path: Path) -> str:
    total, done = hashlib.sha256(), 0
    size = path.stat().st_size >> 20
    # the many small files of a folder are no activities of their own
    shows = activity(f"hashing {path.name}", size, "MiB") if size >= SHOWN_MIB else contextlib.nullcontext(None)
    with open(path, "rb") as file, shows as shown:
        while block := file.read(BLOCK):
            total.update(block)
            done += len(block)
            if shown is not None:
                shown.update(done >> 20)
    return total.hexdigest()


def hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside its base folder."""
    path = PurePosixPath(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts
