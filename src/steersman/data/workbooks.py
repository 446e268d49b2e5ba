"""Workbooks (xlsx) -> one record per row, in memory that does not grow with them.

openpyxl alone holds all texts of a workbook and a node of each row that it has read.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, Any

from steersman.data import cell_formats
from steersman.data.columns import cell_text
from steersman.data.containers import Part
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import plain
from steersman.data.formats.message_rows import names_a_time
from steersman.data.readers import Record
from steersman.data.reading import Reading
from steersman.data.shelves import Shelf
from steersman.data.tables import records_of
from steersman.progress import activity

COUNTED = ("ranks", "scores", "label")
"""Roles whose numbers are read as they are stored."""
REFERENCE = re.compile(r"[\w.\\$:!'\[\]@#]+")
"""Pattern of a cell, a range, or a name in a formula."""


def scan_xlsx(part: Part, reading: Reading) -> Iterator[Record]:
    """Rows of the first sheet with rows and of those with its columns (or of --sheet); others are named in a note."""
    with part.seekable() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings on styles and extensions that are not read
        with _whole(part.name):
            book = _opened(file)
        for sheet in _sheets(part, reading, book):
            yield from _of_sheet(book[sheet], part, reading)


def _of_sheet(sheet: Any, part: Part, reading: Reading) -> Iterator[Record]:
    rows = (
        Record(number, _texts_of(cells, written, forms, reading), "")
        for number, cells, written, forms in _rows(sheet, part.name)
        if any(value is not None and str(value).strip() for value in written)
    )
    for record in records_of(rows, part, reading, f"'{sheet.title}', row", pad=True):
        cells = record.value.items() if isinstance(record.value, dict) else ()
        if (name := next((name for name, text in cells if isinstance(text, Unstored)), None)) is not None:
            why = f"column '{name}' holds a formula whose value was never stored; open and save the file once"
            yield Record(record.line, None, record.raw, f"expected text, {why}")
        elif any(isinstance(text, Formatted) for _, text in cells):
            seen = {name: text if _counts(name, reading) else _seen(text, reading) for name, text in cells}
            yield Record(record.line, seen, record.raw)
        else:
            yield record


class Unstored(str):
    """A formula, in place of its value, which the file does not have."""


class Formatted(str):
    """A value as it is stored, which its cell shows in a number format."""

    value: Any
    form: str


def _counts(name: str, reading: Reading) -> bool:
    """Whether a column holds times or scores, which are read as they are stored, whatever their cells show."""
    told = {role for role, columns in reading.mapping.items() if plain(name) in map(plain, columns.split(","))}
    if told:
        return bool(told & {"time", "preference", *COUNTED})
    return names_a_time(name) or any(plain(name) in NAMES[role] for role in COUNTED)


def _seen(text: str, reading: Reading) -> str:
    """What people see of a cell."""
    if not isinstance(text, Formatted):
        return text
    try:
        out = cell_formats.shown(text.value, text.form)
    except (cell_formats.Unknown, ArithmeticError):
        kind = "dates and times" if isinstance(text.value, cell_formats.Moment) else "numbers"
        reading.changed[
            f"cells in a number format that shows each reader something else, or is not known: {kind} as stored"
        ] += 1
        return str(text)
    if out != text:
        reading.changed["cells read as they are shown (15 %) and not as they are stored (0.15)"] += 1
    return out


@contextlib.contextmanager
def _whole(name: str) -> Iterator[None]:
    """Turns errors of openpyxl and its parsers into a ValueError; those of the system, as of a full disk, stay."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{name}: expected a whole .xlsx file, but: {error or type(error).__name__}") from None


def _texts_of(cells: Sequence[Any], written: Sequence[Any], forms: Sequence[str], reading: Reading) -> list[str]:
    """Texts of a row's cells. Of a text that a library wrote as a formula, as it begins with '=', the text."""
    texts = [_text_of(value, form) for value, form in zip(cells, forms, strict=True)]
    for i, formula in enumerate(written):
        if not str(formula or "").startswith("=") or cells[i] == formula:
            continue
        if not _computes(formula):
            texts[i] = formula
            reading.changed["cells that begin with '=' and are no formula, read as text"] += 1
        elif cells[i] is None:
            texts[i] = Unstored(formula)
    return texts


def _text_of(value: Any, form: str) -> str:
    if (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, str) and (not form or "@" not in form or form == "@"))
    ):
        return cell_text(value)
    text = Formatted(cell_text(value))
    text.value, text.form = value, form
    return text


def _computes(formula: str) -> bool:
    """Whether what follows '=' is a formula: operands with an operator between any two, and no sentence."""
    from openpyxl.formula.tokenizer import Token, Tokenizer, TokenizerError

    try:
        tokens = [token for token in Tokenizer(formula).items if token.type != Token.WSPACE]
    except (TokenizerError, IndexError):
        return False
    ended = False
    """Whether the token before ends an operand."""
    for token in tokens:
        if token.subtype == Token.RANGE and not REFERENCE.fullmatch(token.value):
            return False
        begins = token.type in (Token.OPERAND, Token.OP_PRE) or token.subtype == Token.OPEN
        if (begins and ended) or (token.type in (Token.OP_IN, Token.OP_POST) and not ended):
            return False
        ended = token.type in (Token.OPERAND, Token.OP_POST) or token.subtype == Token.CLOSE
    return ended


def _sheets(part: Part, reading: Reading, book: Any) -> list[str]:
    """The sheets to read: the named one, or the first with rows and those that begin with the same row."""
    sheets = [sheet for sheet in book.worksheets if hasattr(sheet, "reset_dimensions")]
    if reading.sheet:
        reading.used.add("sheet")
        if reading.sheet not in [sheet.title for sheet in sheets]:
            raise ValueError(f"--sheet {reading.sheet}: expected one of {', '.join(s.title for s in sheets)}")
        return [reading.sheet]
    tops = {str(sheet.title): list(itertools.islice(_filled(sheet, part.name), 2)) for sheet in sheets}
    filled = {name: rows[0] for name, rows in tops.items() if len(rows) == 2}
    if not filled:
        raise ValueError(f"{part.name}: expected a sheet with a row of names and rows below, found none")
    first = next(iter(filled.values()))
    same = [name for name, row in filled.items() if row == first and len(first) > 1]
    read = same or [next(iter(filled))]
    others = ", ".join(f"'{name}'" for name in filled if name not in read)
    if others:
        names = ", ".join(f"'{name}'" for name in read)
        are = "is" if len(read) == 1 else "are"
        reading.tell(f"note: {part.name}: sheet {names} {are} read; others are not: {others}; name one with --sheet")
    elif len(read) > 1:
        reading.tell(f"note: {part.name}: {len(read)} sheets with the same columns are read")
    return read


def _opened(file: IO[bytes]) -> Any:
    """The workbook; texts that its cells share lie on disk."""
    from openpyxl.reader.excel import SHARED_STRINGS, ExcelReader

    class Reader(ExcelReader):  # type: ignore[misc]
        def read_strings(self) -> None:
            if (part := self.package.find(SHARED_STRINGS)) is not None:
                with self.archive.open(part.PartName[1:]) as source:
                    self.shared_strings = _texts(source)

    reader = Reader(file, read_only=True, data_only=True)
    reader.read()
    return reader.wb


def _texts(source: IO[bytes]) -> Shelf[str]:
    from openpyxl.cell.text import Text
    from openpyxl.xml.constants import SHEET_MAIN_NS

    out = Shelf[str]()
    with activity("reading the texts of a workbook", unit="text") as shown:
        for parent, node in _nodes(source, f"{{{SHEET_MAIN_NS}}}sst", f"{{{SHEET_MAIN_NS}}}si"):
            out.append(Text.from_tree(node).content.replace("x005F_", ""))  # as openpyxl reads them
            parent.clear()
            shown.update(len(out))
    return out


def _nodes(source: IO[bytes], outer: str, inner: str) -> Iterator[tuple[Any, Any]]:
    """(parent, node) of every `inner` node in an `outer` one."""
    from openpyxl.xml.functions import iterparse

    parent = None
    for event, node in iterparse(source, ("start", "end")):
        if node.tag == outer:
            parent = node if event == "start" else None
        elif event == "end" and node.tag == inner and parent is not None:
            yield parent, node


def _rows(sheet: Any, name: str) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...], tuple[str, ...]]]:
    """(number, values, what was written: values and formulas, number formats) of every row that the sheet's file
    has."""
    from openpyxl.styles.numbers import is_date_format, is_timedelta_format
    from openpyxl.worksheet._reader import DATA_TAG, ROW_TAG, WorkSheetParser

    book = sheet.parent
    forms = [_form(style.numFmtId, book) for style in book._cell_styles]
    with _whole(name), sheet._get_source() as source:
        values, written = (
            WorkSheetParser(
                source,
                sheet._shared_strings,
                data_only=data_only,
                epoch=book.epoch,
                date_formats={i for i, form in enumerate(forms) if is_date_format(form)},
                timedelta_formats={i for i, form in enumerate(forms) if is_timedelta_format(form)},
            )
            for data_only in (True, False)
        )
        for parent, node in _nodes(source, DATA_TAG, ROW_TAG):
            (number, cells), (_, formulas) = values.parse_row(node), written.parse_row(node)
            for held in (parent, values.row_dimensions, written.row_dimensions):
                held.clear()
            found, said = _in_columns(cells), [""] * len(_in_columns(cells))
            for cell in cells:
                said[cell["column"] - 1] = forms[cell["style_id"]] if cell["style_id"] < len(forms) else ""
            yield number, found, _in_columns(formulas), tuple(said)


def _form(number: int, book: Any) -> str:
    """The number format of this number."""
    from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE

    if number >= BUILTIN_FORMATS_MAX_SIZE:
        return str(book._number_formats[number - BUILTIN_FORMATS_MAX_SIZE])
    return cell_formats.CHINESE_DATES.get(number) or BUILTIN_FORMATS.get(number, cell_formats.GENERAL)


def _in_columns(cells: list[dict[str, Any]]) -> tuple[Any, ...]:
    out = [None] * max((cell["column"] for cell in cells), default=0)
    for cell in cells:
        value = cell["value"]
        if cell["data_type"] == "f":
            value = value if isinstance(value, str) else getattr(value, "text", "=TABLE()")  # of arrays, tables
        elif value is None and cell["data_type"] == "str":
            value = ""  # a formula's stored value
        out[cell["column"] - 1] = value
    return tuple(out)


def _filled(sheet: Any, name: str) -> Iterator[tuple[Any, ...]]:
    return (
        row for _, row, _, _ in _rows(sheet, name) if any(value is not None and str(value).strip() for value in row)
    )
