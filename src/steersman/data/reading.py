"""How a file is read: limits, the user's options, and the receiver of the reader's notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from steersman.config import DataConfig
from steersman.data.pictures import Pictures

Tell = Callable[[str], None]
"""Receives a reader's notes on parts left out and choices made."""


AS_THEY_ARE: Mapping[str, str] = {"ignore": ""}
"""A `mapping` for callers that look for their own columns: a table's are not searched for question and answer."""


def silent(text: str) -> None:
    """A `tell` that drops notes."""


class Position:
    """How far the files have been read: bytes of the disk, also of packed ones."""

    def __init__(self) -> None:
        self._path, self._size, self._before = Path(), 0, 0
        self._file: IO[bytes] | None = None

    def open(self, path: Path) -> IO[bytes]:
        """The file, which may be opened several times; another begins where it ends."""
        if path != self._path:
            self._path, self._before, self._size = path, self._before + self._size, path.stat().st_size
        self._file = open(path, "rb")  # noqa: SIM115
        return self._file

    @property
    def bytes(self) -> int:
        if self._file is None:
            return 0
        return self._before + (self._size if self._file.closed else self._file.tell())


@dataclass(frozen=True)
class Reading:
    """Options of one reading; `changed` counts what became of parts of records that stay."""

    encoding: str = "utf-8"
    format: str = ""
    """One of `sources.FILE_FORMATS`; empty: detected from the content."""
    speakers: str = ""
    """--speakers of a chat log: the users' names, then the assistants'."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """--map: role -> column; without it a table's headings must show the roles."""
    sheet: str = ""
    """The sheet of a workbook; empty: the first with rows."""
    max_line_mb: float = DataConfig.max_line_mb
    max_unpacked_mb: float = DataConfig.max_unpacked_mb
    session_hours: float = DataConfig.session_hours
    odd_lines: bool = False
    """Whether a few lines in no sure encoding, in a file that is UTF-8 otherwise, are each an error of its own."""
    pictures: Pictures | None = None
    """Where images are kept; None: only text is read."""
    tell: Tell = silent
    prompts: bool = False
    """Whether dialogues may end with the user, since prompts are read."""
    importer: Callable[[Path], Iterator[Any]] | None = None
    """A user's function that reads each file instead of the built-in readers."""
    encodings: dict[str, str] = field(default_factory=dict)
    """Encodings found so far, by the part's name: each is detected and noted once."""
    changed: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    """Options that had something to be of: "sheet"."""
    position: Position = field(default_factory=Position)
    tick: Callable[[int, int], None] = lambda read, records: None
    """Told the bytes and the records that have been read."""
    labels: dict[str, list[dict[str, str]]] | None = None
    """Where labels of comparisons, such as their subset, are kept: a ranking's id -> field -> value, for each of that
    id in order. None: nowhere."""

    @property
    def line_bytes(self) -> int:
        return int(self.max_line_mb * 1024 * 1024)
