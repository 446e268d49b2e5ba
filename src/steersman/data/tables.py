"""Formats of whole files: CSV exports of a help desk, chat logs between two speakers, plain text."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.data.formats import Parsed, Turn, conversation
from steersman.data.readers import SHOWN, Record, scan_lines

CSV_FIELDS = ("question", "answer", "system", "id", "text")
RULE = re.compile(r"[-=*_]{3,}")
STAMP = r"(?:\[?\d[\d\-/:.,T ]*\]?\s+)?"
"""A time of day or date before the speaker's name."""


def parse_map(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Check --map's field names; raises ValueError naming the unknown one."""
    for field in settings:
        if field not in CSV_FIELDS:
            raise ValueError(f"--map {field}=...: expected one of {', '.join(CSV_FIELDS)} before the '='")
    return settings


def _columns(header: list[str], mapping: Mapping[str, str], path: Path) -> dict[str, int]:
    """Field -> column number, from --map or from headers that are named as the fields are."""
    lower = [h.strip().lower() for h in header]
    if not mapping:
        found = {field: lower.index(field) for field in CSV_FIELDS if field in lower}
    else:
        found = {}
        for field, column in mapping.items():
            if column.strip().lower() not in lower:
                near = difflib.get_close_matches(column, header, n=1, cutoff=0.0)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"{path}:1: expected a column '{column}', the file has: {', '.join(header)}{hint}")
            found[field] = lower.index(column.strip().lower())
    if "question" not in found and "text" not in found:
        raise ValueError(
            f"{path}:1: expected a column 'question' among {', '.join(header)}; "
            "say which it is, such as --map question=COLUMN,answer=COLUMN"
        )
    return found


def scan_csv(path: Path, mapping: Mapping[str, str], max_line_mb: float, encoding: str) -> Iterator[Record]:
    """Each row as {field: text}; .tsv files are separated by tabs. The first row must name the columns.

    A bad line of text (encoding, length) stops the reading: rows may span lines, so nothing after it is certain.
    """

    def texts() -> Iterator[str]:
        for record in scan_lines(path, max_line_mb, encoding):
            if record.error:
                raise ValueError(f"{path}:{record.line}: {record.error}")
            yield record.value + "\n"

    csv.field_size_limit(int(max_line_mb * 1024 * 1024))  # the module's only way to say it; 128 KB otherwise
    stem = path.with_suffix("") if path.suffix in (".xz", ".gz") else path
    reader = csv.reader(texts(), delimiter="\t" if stem.suffix == ".tsv" else ",", strict=True)
    try:
        header = next(reader, None) or []
        columns = _columns(header, parse_map(mapping), path)
        start = reader.line_num + 1
        for row in reader:
            raw = ",".join(row)[:SHOWN]
            if len(row) == len(header):
                yield Record(start, {field: row[i] for field, i in columns.items()}, raw)
            elif any(cell.strip() for cell in row):
                yield Record(start, None, raw, f"expected {len(header)} columns as in the first row, got {len(row)}")
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: expected a CSV row: {error}") from None


def from_row(record: Mapping[str, Any]) -> Parsed:
    """A CSV row: text alone, question alone (a prompt), or question and answer."""
    if "text" in record:
        return str(record["text"])
    turns: list[Turn] = [("system", record["system"])] if record.get("system") else []
    turns.append(("user", record["question"]))
    if "answer" in record:
        turns.append(("assistant", record["answer"]))
    return conversation(turns, "row", record)


def scan_chatlog(path: Path, speakers: tuple[str, str], max_line_mb: float, encoding: str) -> Iterator[Record]:
    """Dialogues of a log 'NAME: text', separated by a line of three or more '-', '=', '*' or '_'.

    `speakers` names the user and the assistant. A line without a name goes on with the turn before it, and
    messages sent in a row by one speaker become one turn. A date or time may stand before the name.
    """
    names = "|".join(re.escape(name) for name in speakers)
    begins = re.compile(rf"{STAMP}({names})\s*[:：]\s*(.*)")
    turns: list[Turn] = []
    first = 0
    for record in scan_lines(path, max_line_mb, encoding):
        if record.error:
            yield record
            continue
        line = record.value.strip()
        if RULE.fullmatch(line):
            if turns:
                yield Record(first, turns, _log_text(turns))
            turns = []
        elif match := begins.match(line):
            role = "user" if match[1] == speakers[0] else "assistant"
            if turns and turns[-1][0] == role:
                turns[-1] = (role, f"{turns[-1][1]}\n{match[2]}")
            else:
                first = record.line if not turns else first
                turns.append((role, match[2]))
        elif turns:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}\n{line}".rstrip())
        elif line:
            said = (
                f"expected '{speakers[0]}: ...' or '{speakers[1]}: ...', got {line[:40]!r}; name them with --speakers"
            )
            yield Record(record.line, None, record.raw[:SHOWN], said)
    if turns:
        yield Record(first, turns, _log_text(turns))


def _log_text(turns: list[Turn]) -> str:
    return "\n".join(f"{role}: {text}" for role, text in turns)[:SHOWN]


def from_log(turns: list[Turn]) -> Parsed:
    return conversation(turns, "dialogue", {})


def scan_text(path: Path, max_line_mb: float, encoding: str) -> Iterator[Record]:
    """A plain text file as one {"text"} record."""
    lines = []
    for record in scan_lines(path, max_line_mb, encoding):
        if record.error:
            raise ValueError(f"{path}:{record.line}: {record.error}")
        lines.append(record.value)
    yield Record(1, {"text": "\n".join(lines)}, lines[0][:SHOWN])
