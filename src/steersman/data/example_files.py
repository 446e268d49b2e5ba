"""Files -> rows of labelled sets: tables without headings too, SQuAD's nested JSON flattened."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.data.containers import Part, parts
from steersman.data.example_fields import ROLES, Row, plain
from steersman.data.readers import Line, lines_of
from steersman.data.reading import AS_THEY_ARE, Reading
from steersman.data.sources import BY_SUFFIX, JSON_START, scan_part
from steersman.data.tables import column_names, delimiter_of

PEEK = 200
KNOWN = {name for names in ROLES.values() for name in names}
WIDTHS = {2: ("text", "label"), 3: ("sentence1", "sentence2", "label"), 4: ("id", "sentence1", "sentence2", "label")}
"""Columns of a table without headings, by their number, the label last; of three, the first may be a number (id)."""
DOCUMENT_MB = 512.0
"""SQuAD's files are one line of JSON."""


def rows_in(
    path: Path, reading: Reading, columns: Mapping[str, str], left_out: Counter[str], notes: list[str]
) -> Iterator[Row]:
    """Every record of a file as {column: value}. Raises ValueError where nothing can be read as records."""
    how = dataclasses.replace(
        reading, max_line_mb=max(reading.max_line_mb, DOCUMENT_MB), mapping=AS_THEY_ARE, tell=notes.append
    )
    wanted = {plain(name) for name in columns.values()}
    for part in parts(path, how):
        if part.kind == "text" and _is_table(part, how):
            yield from _table(part, how, wanted, left_out, notes)
            continue
        for record in scan_part(part, how):
            if record.error:
                left_out[f"unreadable ({record.error[:60]})"] += 1
                continue
            yield from flat(record.value, left_out)


def _is_table(part: Part, reading: Reading) -> bool:
    first = next((line.text.strip("\ufeff \t\r\n") for line in lines_of(part, reading) if line.text.strip()), "")
    if JSON_START.match(first):
        return False
    return part.suffix in (".csv", ".tsv", ".tab", ".txt") or part.suffix not in BY_SUFFIX


def _table(part: Part, reading: Reading, wanted: set[str], left_out: Counter[str], notes: list[str]) -> Iterator[Row]:
    """Rows by their headings; without headings as `WIDTHS` says, where the last column has few values."""
    lines = lines_of(part, reading)
    head = list(itertools.islice(lines, PEEK))
    delimiter = delimiter_of([line for line in head if not line.error], part.suffix)
    csv.field_size_limit(reading.line_bytes)  # csv has only this global setting; its default is 128 KB
    texts = _readable(itertools.chain(head, lines), left_out)
    cells = (row for row in _cells(texts, delimiter, part.name) if any(cell.strip() for cell in row))
    first = list(itertools.islice(cells, PEEK))
    if not first:
        raise ValueError(f"{part.name}: the file is empty; expected at least one record")
    if {plain(cell) for cell in first[0]} & (KNOWN | wanted):
        names, rows = column_names(first[0]), itertools.chain(first[1:], cells)
    else:
        names, rows = _guessed(first, part.name), itertools.chain(first, cells)
        notes.append(f"{part.name}: no headings; columns are read as {', '.join(names)}")
    for row in rows:
        if len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        else:
            left_out[f"of {len(row)} columns where {len(names)} were expected"] += 1


def _readable(lines: Iterable[Line], left_out: Counter[str]) -> Iterator[str]:
    for line in lines:
        if line.error:
            left_out[f"unreadable ({line.error[:60]})"] += 1
        else:
            yield line.text


def _cells(lines: Iterator[str], delimiter: str, name: str) -> Iterator[list[str]]:
    """Rows of cells. Between tabs quotes are text, as public sets have them, unless they enclose a cell."""
    if delimiter == "\t":
        for line in lines:
            yield [_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")]
        return
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error as error:
        raise ValueError(f"{name}: expected a table with '{delimiter}' between columns: {error}") from None


def _unquoted(cell: str) -> str:
    inside = cell[1:-1]
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if whole else cell


def _guessed(rows: Sequence[Sequence[str]], name: str) -> list[str]:
    width = len(rows[0])
    labels = {row[-1].strip() for row in rows if len(row) == width}
    if width not in WIDTHS or len(labels) > max(2, len(rows) // 2) or any(len(label) > 60 for label in labels):
        raise ValueError(
            f"{name}: no headings that are known ({', '.join(cell[:20] for cell in rows[0][:6])}), and its "
            f"{width} columns do not look like texts with a label last; expected headings such as text,label or "
            "sentence1,sentence2,label"
        )
    if width == 3 and all(row[0].strip().isdigit() for row in rows if len(row) == width):
        return ["id", "text", "label"]
    return list(WIDTHS[width])


def flat(value: Any, left_out: Counter[str]) -> Iterator[Row]:
    """A record, or the questions of a document of SQuAD's form: data, paragraphs, qas at any depth."""
    if not isinstance(value, Mapping):
        left_out["that are no objects"] += 1
        return
    if isinstance(value.get("data"), list) and not ({"text", "sentence"} & value.keys()):
        for item in value["data"]:
            yield from flat(item, left_out)
        return
    if isinstance(value.get("paragraphs"), list):
        for paragraph in value["paragraphs"]:
            yield from flat(paragraph, left_out)
        return
    passage = value.get("context", value.get("context_text"))
    if isinstance(value.get("qas"), list) and isinstance(passage, str):
        for asked in value["qas"]:
            if not isinstance(asked, Mapping):
                left_out["that are no objects"] += 1
                continue
            question = asked.get("question", asked.get("query_text", ""))
            answers = [] if asked.get("is_impossible") else asked.get("answers", asked.get("answer", []))
            yield {
                "id": asked.get("id", asked.get("query_id")),
                "question": question,
                "context": passage,
                "answers": answers,
            }
        return
    yield value
