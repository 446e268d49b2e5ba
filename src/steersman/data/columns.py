"""Files of columns (parquet, Arrow) -> one record per row; cells as text."""

from __future__ import annotations

import base64
import datetime
import decimal
import errno
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from steersman.data.containers import BOMB_MB, BOMB_RATIO, Part
from steersman.data.readers import Record
from steersman.data.reading import Reading

BATCH = 512
"""Rows held in memory at once."""
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
"""First bytes of images."""


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


def _broken(part: Part, kind: str, file: IO[bytes], error: Exception) -> Exception:
    """What to raise: what the system says, as of a damaged disk, stays as it is."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return error
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
