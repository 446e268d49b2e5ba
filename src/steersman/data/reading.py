"""How a file is read: limits, what the user said of it, and where the reader says what it chose and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.config import DataConfig
from steersman.data.pictures import Pictures

Tell = Callable[[str], None]
"""Where a reader says what it left out or chose."""


def silent(text: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Reading:
    """Options of one reading; `changed` counts what became of parts of records that stay."""

    encoding: str = "utf-8"
    format: str = ""
    """One of `sources.FILE_FORMATS`; empty: by what the file holds."""
    speakers: str = ""
    """--speakers of a chat log: the users' names, then the assistants'."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """--map: what is in which column; otherwise a table's columns must tell it themselves."""
    sheet: str = ""
    """The sheet of a workbook; empty: the first that holds something."""
    max_line_mb: float = DataConfig.max_line_mb
    max_unpacked_mb: float = DataConfig.max_unpacked_mb
    session_hours: float = DataConfig.session_hours
    pictures: Pictures | None = None
    """Where images are kept; None: text alone is read."""
    tell: Tell = silent
    prompts: bool = False
    """Dialogues may end with the user: what is read are prompts."""
    importer: Callable[[Path], Iterator[Any]] | None = None
    """A user's function that reads each file in place of all that is here."""
    encodings: dict[str, str] = field(default_factory=dict)
    """Encodings found so far, by the part's name: each is looked for, and told, once."""
    changed: Counter[str] = field(default_factory=Counter)

    @property
    def line_bytes(self) -> int:
        return int(self.max_line_mb * 1024 * 1024)
