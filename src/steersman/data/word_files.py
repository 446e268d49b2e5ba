"""Word files (FAQ.docx) -> {"question", "answer"}: of headings, bold lines, lines marked with Q and A, and tables.

The words come from `file_words`, which reads such files in a process of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from steersman.data import file_words, markdown, web_pages
from steersman.data.containers import Part
from steersman.data.readers import SHOWN, Line, Record
from steersman.data.reading import Reading

TABLES = "rows of tables of two columns without names, of which the first asks, read as questions and answers"
ROWS = "rows of tables of questions and answers without one of both left out"


def scan_docx(part: Part, reading: Reading) -> Iterator[Record]:
    """The questions and answers of a Word file; without any, the whole text as one {"text"} record."""
    with part.open() as file:
        content = file.read(file_words.UNPACKED + 1)
    try:
        words = file_words.words_of(content, marked=True)
    except ValueError as error:
        raise ValueError(f"{part.name}: {error}") from None
    if words.cut:
        raise ValueError(
            f"{part.name}: {words.cut} characters more than can be read of a Word file; expected several files"
        )
    lines = [Line(number, f"{text}\n") for number, text in enumerate(words.text.split("\n"), 1)]
    pairs = _pairs(lines, reading) if reading.format != "text" else []
    if not pairs:
        yield Record(1, {"text": words.text}, words.text[:SHOWN])
        return
    reading.changed["lines outside of questions and answers left out"] += markdown.outside(lines, pairs)
    for number, question, answer in pairs:
        yield Record(number, {"question": question, "answer": answer}, f"{question}\n{answer}"[:SHOWN])


def _pairs(lines: Sequence[Line], reading: Reading) -> list[markdown.Pair]:
    """The pairs of tables, and of headings, bold or marked lines beside them."""
    tabled = markdown.table_pairs(lines)
    reading.changed[TABLES] += 0 if tabled else len(tabled := list(_two_columns(lines)))
    at, rest = {number for number, _, _ in tabled}, list[Line]()
    for is_row, group in itertools.groupby(lines, key=lambda line: bool(markdown.cells_of(line.text))):
        table = list(group)
        if is_row and at & {line.number for line in table}:
            reading.changed[ROWS] += sum(line.number not in at and not _is_ruled(line) for line in table[2:])
        else:
            rest += table
    return sorted([*tabled, *(markdown.pairs_in(rest) or web_pages.folded_pairs(rest))])


def _two_columns(lines: Sequence[Line]) -> Iterator[markdown.Pair]:
    """The rows of tables of two columns whose first one asks in most rows, without a first row that does not."""
    for _, group in itertools.groupby(lines, key=lambda line: bool(markdown.cells_of(line.text))):
        rows = [(line.number, markdown.cells_of(line.text)) for line in group if not _is_ruled(line)]
        rows = [(number, cells) for number, cells in rows if len(cells) == 2 and all(cells)]
        asking = [web_pages.asks(cells[0]) for _, cells in rows]
        if len(rows) > 1 and 2 * sum(asking) > len(rows):
            yield from ((number, *cells) for number, cells in rows[0 if asking[0] else 1 :])  # type: ignore[misc]


def _is_ruled(line: Line) -> bool:
    return markdown.RULED.fullmatch(line.text.strip()) is not None
