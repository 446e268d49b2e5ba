"""CSV and other text in columns -> one record per row, fields named by the first row."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from steersman.data import formats, mail, transcript_cells, who_said
from steersman.data.containers import Part
from steersman.data.formats import desks, exports, guessed_rows
from steersman.data.formats.field_names import BODIES, META_NAME
from steersman.data.formats.fields import parsed_json, plain
from steersman.data.formats.message_rows import columns_of_messages, tells
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading

DELIMITERS = (",", ";", "\t", "|")
SEPARATOR = re.compile(r"\"?sep=(.)\"?", re.I)
"""Excel's first line that names the column separator."""
ASKS = re.compile(r"\b(?:question|query|enquiry|inquiry|\w*frage|pregunta|pergunta)\b|问题|提问|問題|咨询", re.I)
ANSWERS = re.compile(
    r"\b(?:answer|response|reply|antwort|respuesta|resposta|réponse|resolution)\b|回答|答案|答复|回复|回覆|解答", re.I
)
"""Words in headings of columns with questions and answers."""
VALUE = re.compile(r"\+?\d[\d\s./:-]{5,}(?:[AP]M)?|[^\s@]+@[^\s@]+\.\w+|.*[^\W\d_]\w*[?？]", re.I | re.S)
"""Pattern of what stands in a row of data and not in one of names: a time, a number, an address, a question."""
LONGEST = 200
"""Characters of a name of a column; what is longer is data, and would take the pattern its square."""
PEEK = 60
TITLES, SHOWN_TITLE = 8, 60
"""First rows among which the headings are, and characters of a title that are shown."""


class _Rows:
    """Lines for csv.reader; remembers the current row's lines, so that they can be read again."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines, self._again = lines, deque[Line]()
        self.row: list[Line] = []

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        return line.text if line.text.endswith(("\n", "\r")) else line.text + "\n"

    def back(self) -> None:
        """Gives the lines after the first of this row back, to be read as rows of their own."""
        self._again.extendleft(reversed(self.row[1:]))
        self.row = self.row[:1]


def scan_csv(part: Part, reading: Reading) -> Iterator[Record]:
    """Each row as {column: text}. The separator is detected; the first row must name the columns.

    An invalid row is a Record with an error, and reading continues with the line after the row's first.
    """
    lines = (line for line in lines_of(part, reading))
    head = list(itertools.islice(lines, PEEK))
    if not any(line.text.strip() for line in head):
        raise ValueError(f"{part.name}: the file is empty; expected at least one record")
    said = SEPARATOR.fullmatch(head[0].text.strip())
    head = head[1:] if said else head
    delimiter = said[1] if said else delimiter_of(head, part.suffix)
    csv.field_size_limit(reading.line_bytes)  # csv has only this global setting; its default is 128 KB
    yield from records_of(_rows(_Rows(itertools.chain(head, lines)), delimiter, reading), part, reading, "line")


def records_of(rows: Iterator[Record], part: Part, reading: Reading, place: str, pad: bool = False) -> Iterator[Record]:
    """Rows of cells as records by the names of the first that is no title. `place`: what a row's number counts; `pad`:
    rows may end before the last column."""
    every = (row for row in rows if row.error or _filled(row))
    top = list(itertools.islice(every, TITLES))
    if not top or top[0].error:
        raise ValueError(f"{part.name}:{top[0].line if top else 1}: {top[0].error if top else 'expected a row'}")
    titles = titles_of([row.value for row in itertools.takewhile(lambda row: not row.error, top)])
    for row in top[:titles]:
        title = next(cell for cell in row.value if cell.strip())
        reading.tell(f"note: {part.name}: {place} {row.line} is a title ({title[:SHOWN_TITLE]!r}) and left out")
    names = column_names(top[titles].value)
    padding = [""] * len(names) if pad else []
    records = (
        row if row.error else as_record(row.line, names, [*row.value, *padding[len(row.value) :]])
        for row in itertools.chain(top[titles + 1 :], every)
    )
    first = next(records, None)
    if reading.mapping or first is None or first.error or not _holds_chat(first.value):
        told = checked_names(names, part, reading, top[titles].line)
        first = first if first is None or first.error else as_record(first.line, told, [*first.value.values()])
        names[:] = told
    found = records if first is None else itertools.chain([first], records)
    yield from mail.of_rows(found, part.name, reading) if mail.is_table(names) else filled_down(found, reading)


def titles_of(rows: Sequence[Sequence[str]]) -> int:
    """How many of a table's first rows are titles above its headings: rows of at most half as many cells."""
    widths = [sum(bool(cell.strip()) for cell in row) for row in rows]
    named = (width > 1 and _tells(column_names(list(row))) for width, row in zip(widths, rows, strict=True))
    heads = (
        known or (width and 2 * max(widths[i:]) <= 3 * width)
        for i, (width, known) in enumerate(zip(widths, named, strict=True))
    )
    return next((i for i, found in enumerate(heads) if found), 0)


def filled_down(records: Iterator[Record], reading: Reading) -> Iterator[Record]:
    """Records; where each conversation is named in its first row alone (merged cells), with its name in every row."""
    head = list(itertools.islice(records, TITLES * 2))
    found = next((f for row in head if not row.error and (f := columns_of_messages(row.value)) is not None), None)
    key = found[0] if found else ""
    named = [row.value[key] for row in head if not row.error and isinstance(row.value.get(key), str)]
    once = len(set(filter(None, named))) == sum(map(bool, named)) < len(named)
    last = ""
    for row in itertools.chain(head, records):
        if once and not row.error and not row.value.get(key, "").strip() and last:
            reading.changed[f"empty cells of '{key}' taken from the row above"] += 1
            yield dataclasses.replace(row, value={**row.value, key: last})
            continue
        last = last if row.error else str(row.value.get(key, ""))
        yield row


def _filled(row: Record) -> bool:
    return any(cell.strip() for cell in row.value)


def _rows(lines: _Rows, delimiter: str, reading: Reading) -> Iterator[Record]:
    """Every row with the number of its first line; invalid rows with an error.

    Tables with tabs often quote nothing (GLUE's, XNLI's): a row that is one by its tabs alone is taken so.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    after_bad, width = False, 0
    while True:
        lines.row = []
        error = ""
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as found:
            row, error = [], f"expected a CSV row: {found}"
        if not lines.row:
            return
        first = lines.row[0]
        unread = next((line for line in lines.row if line.error), None)
        text = "".join(line.text for line in lines.row)
        if unread is not None:
            error = unread.error
        elif not error and after_bad and text.count('"') % 2:
            error = "expected a CSV row: a quote without its pair, after a row that could not be read"
        bare = first.text.rstrip("\r\n").split(delimiter) if delimiter == "\t" and unread is None else []
        if bare and len(bare) == width and (error or len(row) != width):
            reading.changed["rows with a quotation mark without its pair, taken as it stands"] += 1
            lines.back()
            row, error = bare, ""
        width = max(width, len(row))
        after_bad = bool(error)
        if error:
            lines.back()
            yield Record(first.number, None, first.text.rstrip("\r\n")[:SHOWN], error)
        else:
            yield Record(first.number, row, delimiter.join(row)[:SHOWN])


def column_names(cells: Sequence[str]) -> list[str]:
    """Unique column names: empty names become numbers, repeated ones are numbered, blank ones at the end dropped."""
    names: list[str] = []
    last = max((i for i, cell in enumerate(cells) if cell.strip()), default=-1)
    for number, cell in enumerate(cells[: last + 1], 1):
        name = " ".join(cell.replace("\ufeff", "").split()) or f"column {number}"
        taken = sum(name == n or n.startswith(f"{name} (") for n in names)
        names.append(f"{name} ({taken + 1})" if taken else name)
    return names


def checked_names(names: list[str], part: Part, reading: Reading, line: int) -> list[str]:
    """The names; guessed columns of question and answer are renamed to these, with a note.

    ValueError where --map names a column that is not there, or without --map the columns' roles are unknown.
    """
    lower = [plain(name) for name in names]
    for role, wanted in reading.mapping.items():
        for column in wanted.split(","):
            if role != "ignore" and plain(column) not in lower:
                near = difflib.get_close_matches(column, names, n=1, cutoff=0.0)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(
                    f"{part.name}:{line}: expected a column '{column}', the file has: {', '.join(names)}{hint}"
                )
    if reading.mapping or _tells(names):
        return names
    asked, answered = (_only(names, words) for words in (ASKS, ANSWERS))
    told = next((name for name in names if plain(name) in BODIES), None)
    if asked is None and answered is not None and told is not None:
        reading.tell(f"note: {part.name}: column '{answered}' is read as the answer; otherwise --map answer=COLUMN")
        return ["answer" if name == answered else name for name in names]
    if asked is None or answered is None or asked == answered:
        if (cell := next((n for n in names if len(n) > LONGEST or VALUE.fullmatch(n)), None)) is not None:
            raise ValueError(
                f"{part.name}:{line}: expected a first row of column names, got a row of data ({cell[:40]!r}); write "
                "the names above it, such as conversation_id,date,sender,message"
            )
        raise ValueError(
            f"{part.name}:{line}: expected a column 'question' among {', '.join(names)}; "
            "say which it is, such as --map question=COLUMN,answer=COLUMN; of a table with one message a row "
            "--map conversation=COLUMN,sender=COLUMN,message=COLUMN,time=COLUMN"
        )

    reading.tell(
        f"note: {part.name}: column '{asked}' is read as the question and '{answered}' as the answer; otherwise --map "
        "question=COLUMN,answer=COLUMN"
    )
    return [{asked: "question", answered: "answer"}.get(name, name) for name in names]


def _holds_chat(row: Any) -> bool:
    """Whether a cell of a row is a dialogue, or JSON with a message or a chat, whatever the columns are called."""
    if transcript_cells.field_of(row) is not None or columns_of_messages(row) is not None:
        return True
    cells = row.values() if isinstance(row, dict) else ()
    within = any(isinstance(parsed_json(cell), dict) for cell in cells)
    return within and (tells(row) or exports.is_export(row))


def _only(names: Sequence[str], words: re.Pattern[str]) -> str | None:
    """The only name that contains one of the words; None for no or several such names."""
    found = [name for name in names if words.search(name) and not META_NAME.fullmatch(plain(name))]
    return found[0] if len(found) == 1 else None


def _tells(names: Sequence[str]) -> bool:
    record = dict.fromkeys(names, "?")
    if mail.is_table(names):
        return True
    try:
        known = columns_of_messages(record) is not None or guessed_rows.guess(tuple(names)) is not None
        return known or desks.has_comments(record) or bool(formats.detect(record))
    except ValueError:
        return who_said.keys_of(record) is not None


def as_record(line: int, names: Sequence[str], cells: Sequence[Any]) -> Record:
    """A row as {column: cell}; additional cells are dropped if blank, otherwise an error."""
    raw = ",".join(str(cell) for cell in cells)[:SHOWN]
    values = list(cells)
    while len(values) > len(names) and str(values[-1]).strip() == "":
        values.pop()
    if len(values) != len(names):
        return Record(line, None, raw, f"expected {len(names)} columns as in the first row, got {len(values)}")
    return Record(line, dict(zip(names, values, strict=True)), raw)


def delimiter_of(lines: Sequence[Line], suffix: str) -> str:
    """The separator with which most of the first rows have as many columns as the first row; else by the suffix."""
    usual = "\t" if suffix in (".tsv", ".tab") else ","
    best, most = usual, (0.0, 1)
    for delimiter in (usual, *(d for d in DELIMITERS if d != usual)):
        reader = csv.reader((line.text for line in lines), delimiter=delimiter)
        try:
            rows = [row for row in reader if any(cell.strip() for cell in row)]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 0
        if width == 1:  # a title above the headings
            width = Counter(map(len, rows)).most_common(1)[0][0]
        if width < 2:
            continue
        found = (round(sum(len(row) == width for row in rows) / len(rows), 2), width)
        if found > most:
            best, most = delimiter, found
    return best


def looks_like(lines: Sequence[Line]) -> bool:
    """Whether a text without a known suffix is a table: rows of equal numbers of columns, at least two."""
    texts = [line for line in lines if line.text.strip()][:PEEK]
    if len(texts) < 2:
        return False
    if SEPARATOR.fullmatch(texts[0].text.strip()):
        return True
    delimiter = delimiter_of(texts, "")
    rows = list(csv.reader((line.text for line in texts), delimiter=delimiter))
    width = len(rows[0])
    known = all(re.fullmatch(r"[\w \-./]{0,40}", cell.strip()) for cell in rows[0])
    return width > 1 and known and sum(len(row) == width for row in rows) > 0.9 * len(rows)
