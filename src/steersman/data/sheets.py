"""Sheets (CSV) that people filled in and a spreadsheet saved: with commas, semicolons or tabs, in whatever encoding."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

from steersman.data.encodings import guesses, sure


def filled_in(sheet: Path, needed: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """The sheet's rows with their lines. Raises ValueError where a column is missing or the encoding is not certain."""
    raw = sheet.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        found = guesses(raw)
        if not sure(found):
            raise ValueError(f"{sheet}: expected UTF-8; save the sheet as CSV UTF-8") from None
        text = raw.decode(found[0].encoding)
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if missing := [column for column in needed if column not in (reader.fieldnames or ())]:
        raise ValueError(f"{sheet}:1: expected the columns {', '.join(needed)}; missing: {', '.join(sorted(missing))}")
    return [(reader.line_num, {k: v or "" for k, v in row.items() if isinstance(k, str)}) for row in reader]
