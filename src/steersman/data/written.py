"""What a data set's file holds, as it was written, or as somebody has written there since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.data.containers import parts
from steersman.data.formats import Parsed, from_steersman, shown
from steersman.data.readers import Record
from steersman.data.reading import Reading


def scan_jsonl(path: Path, max_line_mb: float = 8.0, encoding: str = "utf-8") -> Iterator[Record]:
    """Every record of a file of JSON, see `scan_json`."""
    from steersman.data.json_values import scan_json  # all that knows the forms of others, which few commands need

    reading = Reading(encoding=encoding, max_line_mb=max_line_mb)
    for part in parts(path, reading):
        yield from scan_json(part, reading)


def read_jsonl(path: Path, max_line_mb: float = 8.0) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every record; the first bad line is a ValueError 'file:line: what was expected'."""
    for record in scan_jsonl(path, max_line_mb):
        if record.error:
            raise ValueError(f"{path}:{record.line}: {record.error}")
        yield record.line, record.value


def parsed(value: Any, path: Path, line: int) -> Parsed:
    try:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a record, got {shown(value)}")
        return str(value["text"]) if "text" in value else from_steersman(value)
    except ValueError as error:
        raise ValueError(f"{path}:{line}: {error}") from None


def values_of(path: Path, max_line_mb: float = 1024.0) -> Iterator[dict[str, Any]]:
    """A data set's records as JSON; ValueError at one that is none, as somebody may have written there."""
    for line, value in read_jsonl(path, max_line_mb):
        parsed(value, path, line)
        yield value
