"""Spreadsheets and files of columns (xlsx, parquet, Arrow) -> one record per row."""

from __future__ import annotations

import base64
import datetime
import decimal
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from steersman.data.containers import BOMB_MB, BOMB_RATIO, Part
from steersman.data.readers import Record
from steersman.data.reading import Reading
from steersman.data.tables import as_record, checked_names, column_names

BATCH = 512
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
"""First bytes of images."""
"""Rows held in memory at once."""


def cell_text(value: Any) -> str:
    """A cell as people see it: whole numbers without a point, dates in ISO form."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time(0)
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def scan_xlsx(part: Part, reading: Reading) -> Iterator[Record]:
    """Rows of the first sheet with rows (or of --sheet); other sheets with rows are named in a note."""
    import openpyxl

    with part.seekable() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings on styles and extensions that are not read
        try:
            values = openpyxl.load_workbook(file, read_only=True, data_only=True)
            formulas = openpyxl.load_workbook(file, read_only=True, data_only=False)
        except Exception as error:  # openpyxl passes on its parsers' errors
            raise ValueError(
                f"{part.name}: expected a whole .xlsx file, but: {error or type(error).__name__}"
            ) from None
        name = _sheet(part, reading, values)
        rows = zip(_rows(values[name], part.name), _rows(formulas[name], part.name), strict=False)
        names: list[str] = []
        for number, (cells, written) in enumerate(rows, 1):
            if not any(value is not None and str(value).strip() for value in written):
                continue
            texts = [cell_text(value) for value in cells]
            if not names:
                if sum(map(bool, texts)) == 1 and number < 4 and _wider(values[name], number):
                    reading.tell(f"note: {part.name}: row {number} of '{name}' is a title ({texts[0]!r}) and left out")
                    continue
                names = checked_names(column_names(texts), part, reading, number)
                continue
            unknown = [
                n for n, v, w in zip(names, cells, written, strict=False) if v is None and str(w or "").startswith("=")
            ]
            if unknown:
                why = f"column '{unknown[0]}' holds a formula whose value was never stored; open and save the file once"
                yield Record(number, None, ",".join(texts), f"expected text, {why}")
                continue
            yield as_record(number, names, texts + [""] * (len(names) - len(texts)))


def _sheet(part: Part, reading: Reading, book: Any) -> str:
    """The sheet to read."""
    sheets = [sheet for sheet in book.worksheets if hasattr(sheet, "reset_dimensions")]
    if reading.sheet:
        if reading.sheet not in [sheet.title for sheet in sheets]:
            raise ValueError(f"--sheet {reading.sheet}: expected one of {', '.join(s.title for s in sheets)}")
        return reading.sheet
    filled = [sheet.title for sheet in sheets if len(list(itertools.islice(_filled(sheet, part.name), 2))) == 2]
    if not filled:
        raise ValueError(f"{part.name}: expected a sheet with a row of names and rows below, found none")
    if len(filled) > 1:
        others = ", ".join(f"'{name}'" for name in filled[1:])
        reading.tell(f"note: {part.name}: sheet '{filled[0]}' is read; others are not: {others}; name one with --sheet")
    return str(filled[0])


def _rows(sheet: Any, name: str) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # a file's own size information is often wrong
    try:
        yield from sheet.iter_rows(values_only=True)
    except Exception as error:
        raise ValueError(f"{name}: expected a whole .xlsx file, but: {error or type(error).__name__}") from None


def _filled(sheet: Any, name: str) -> Iterator[tuple[Any, ...]]:
    return (row for row in _rows(sheet, name) if any(value is not None and str(value).strip() for value in row))


def _wider(sheet: Any, number: int) -> bool:
    """Whether the row after row `number` has more than one cell."""
    row = next(iter(sheet.iter_rows(min_row=number + 1, max_row=number + 1, values_only=True)), ())
    return sum(value is not None for value in row) > 1


def scan_parquet(part: Part, reading: Reading) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    with part.seekable() as file:
        size = file.seek(0, 2)
        try:
            table = pyarrow.parquet.ParquetFile(file, pre_buffer=False)  # else all that was read stays in memory
            groups = table.metadata
            total = sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups))
            if total > reading.max_unpacked_mb * 1024 * 1024 or (total > BOMB_MB << 20 and total > BOMB_RATIO * size):
                raise ValueError(
                    f"{part.name}: expected at most {reading.max_unpacked_mb:g} MB, found {total >> 20} MB"
                )
            yield from _records(batch.to_pylist() for batch in table.iter_batches(BATCH))
        except (pyarrow.ArrowException, OSError) as error:
            raise _broken(part, "parquet", file, error) from None


def scan_arrow(part: Part, reading: Reading) -> Iterator[Record]:
    """Arrow's file form (Feather 2) and its stream form (the form of Hugging Face datasets)."""
    import pyarrow.ipc

    with part.seekable() as file:
        try:
            if part.head.startswith(b"ARROW1"):
                found = pyarrow.ipc.open_file(file)
                batches: Iterable[Any] = (found.get_batch(i) for i in range(found.num_record_batches))
            else:
                batches = pyarrow.ipc.open_stream(file)
            pieces = (batch.slice(i, BATCH) for batch in batches for i in range(0, batch.num_rows, BATCH))
            yield from _records(piece.to_pylist() for piece in pieces)
        except (pyarrow.ArrowException, OSError) as error:
            raise _broken(part, "arrow", file, error) from None


def _broken(part: Part, kind: str, file: IO[bytes], error: Exception) -> ValueError:
    size = file.seek(0, 2)
    return ValueError(
        f"{part.name}: expected a whole .{kind} file; its {size} bytes begin like one, but: "
        + " ".join(str(error).split())[:160]
    )


def _records(batches: Iterable[list[dict[str, Any]]]) -> Iterator[Record]:
    for number, row in enumerate(itertools.chain.from_iterable(batches), 1):
        value = {key: plain_json(item) for key, item in row.items()}
        yield Record(number, value, str(value)[:500])


def plain_json(value: Any) -> Any:
    """A column's value as JSON: no nulls inside turns, dates and decimals as text."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, bytes):
        if value.startswith(PICTURES):  # the form of images in Hugging Face data sets
            return f"data:application/octet-stream;base64,{base64.b64encode(value).decode()}"
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time | decimal.Decimal):
        return cell_text(float(value) if isinstance(value, decimal.Decimal) else value)
    return value
