"""Files that come piece by piece, to be imported by a job: uploads/ID/NAME, the owner's alone.

A piece says where it begins, so one that was lost is sent again and one that came twice changes nothing. What is
complete is imported by `steersman data import` in a process of its own; the file goes when that has ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from steersman import locks
from steersman.artifact.files import mode_of, read_object, write_json
from steersman.artifact.workspace import Workspace
from steersman.rounds import jobs

FOLDER, ABOUT = "uploads", "upload.json"
LARGEST = 2**30
"""Bytes of a file."""
MOST = 8
"""Uploads at a time."""
SPARE = 2**30
"""Bytes of the disk that an upload leaves free."""
KEPT_SECONDS = 86400.0
"""An upload that nobody went on with is dropped after this."""


@dataclass(frozen=True)
class Upload:
    """One file under way. `job` is 0 until its import has begun."""

    id: str
    name: str
    size: int
    job: int = 0


class NoUpload(ValueError):
    """There is no upload of that id."""


class Misplaced(ValueError):
    """A piece that does not begin where the last one ended; `received` bytes are there."""

    def __init__(self, received: int, offset: int) -> None:
        super().__init__(f"offset: expected {received}, where the last piece ended, got {offset}")
        self.received = received


def begin(space: Workspace, name: str, size: int) -> Upload:
    """ValueError for a name that is no file's, a file too large, or where there are too many or no room."""
    if not name or name != Path(name).name or name.startswith(".") or re.search(r"[\\/\x00-\x1f\x7f]", name):
        raise ValueError("name: expected a file's name without a folder, that does not begin with a dot")
    if re.search(r"[\u2028-\u202e\u2066-\u2069]", name):  # "x\u202elnosj.exe" looks like "xexe.jsonl"
        raise ValueError("name: expected no marks that turn the direction of writing")
    if len(name.encode()) > 200:
        raise ValueError("name: expected at most 200 bytes")
    if name == ABOUT:
        raise ValueError(f"name: expected another than {ABOUT}")
    if not 0 < size <= LARGEST:
        raise ValueError(
            f"size: expected 1 to {LARGEST} bytes, got {size}; import larger files by: steersman data import"
        )
    folder = space.root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with locks.brief(folder):
        sweep(space)
        if len(uploads(space)) >= MOST:
            raise ValueError(f"{MOST} files are being uploaded or imported; wait until one is done")
        if shutil.disk_usage(folder).free < size + SPARE:
            raise ValueError(f"the disk has no room for {size} bytes; expected {SPARE} to be left free beside them")
        made = Upload(secrets.token_hex(8), name, size)
        place = folder / made.id
        place.mkdir(mode=0o700)
        _file(place / name, "xb").close()
        write_json(place / ABOUT, asdict(made))
    return made


def _file(path: Path, mode: str):  # type: ignore[no-untyped-def]
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, mode_of(path, words=True)))


def uploads(space: Workspace) -> list[Upload]:
    found = []
    for path in sorted((space.root / FOLDER).glob(f"*/{ABOUT}")):
        with contextlib.suppress(ValueError, TypeError, OSError):
            found.append(Upload(**read_object(path, "an upload")))
    return found


def upload(space: Workspace, id_: str) -> Upload:
    found = next((one for one in uploads(space) if one.id == id_), None)
    if found is None:
        raise NoUpload(f"{id_[:40]}: no upload of that id; it was finished, or dropped after a day: begin again")
    return found


def path_of(space: Workspace, one: Upload) -> Path:
    return space.root / FOLDER / one.id / one.name


def add(space: Workspace, id_: str, offset: int, piece: bytes) -> int:
    """Append a piece; returns how many bytes are there. Misplaced where it begins elsewhere than at the end."""
    one = upload(space, id_)
    path = path_of(space, one)
    with locks.brief(path.parent):
        received = path.stat().st_size
        if offset + len(piece) <= received:
            return received  # it came before; the answer was lost
        if offset != received:
            raise Misplaced(received, offset)
        if offset + len(piece) > one.size:
            raise ValueError(f"data: expected {one.size - offset} bytes at most, the file's rest; got {len(piece)}")
        with _file(path, "ab") as file:
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return received + len(piece)


def drop(space: Workspace, id_: str) -> None:
    one = upload(space, id_)
    shutil.rmtree(path_of(space, one).parent, ignore_errors=True)


def import_it(space: Workspace, id_: str, options: list[str]) -> jobs.Job:
    """Start the import of a complete upload as a job. ValueError where bytes are missing."""
    one = upload(space, id_)
    path = path_of(space, one)
    if (received := path.stat().st_size) != one.size:
        raise ValueError(f"{one.name}: expected {one.size} bytes, {received} have come")
    if one.job:
        return jobs.job(space, one.job)
    job = jobs.start(space, jobs.IMPORT, arguments=[str(path), *options])
    write_json(path.parent / ABOUT, asdict(one) | {"job": job.record.number})
    return job


def sweep(space: Workspace) -> None:
    """Delete files whose import has ended, and uploads that nobody went on with."""
    for one in uploads(space):
        path = path_of(space, one)
        with contextlib.suppress(OSError):
            ended = bool(one.job) and not jobs.job(space, one.job).alive
            if ended or (not one.job and time.time() - path.stat().st_mtime > KEPT_SECONDS):
                shutil.rmtree(path.parent, ignore_errors=True)
