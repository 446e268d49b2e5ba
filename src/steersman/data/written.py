"""What a data set's file holds, as it was written, or as somebody has written there since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.data.formats import Parsed, from_steersman, shown
from steersman.data.json_values import read_jsonl


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
