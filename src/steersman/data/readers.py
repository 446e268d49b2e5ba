"""Lines and records out of files, each with its place, so that an error can say where it was.

Plain, .xz and .gz files; strict UTF-8 with a byte order mark tolerated. A record that cannot be read is handed
on as such (`Record.error`), because whether one bad line stops an import is the caller's decision.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ENCODINGS = ("utf-8", "gb18030", "auto")
BOM = b"\xef\xbb\xbf"
SHOWN = 500
"""Characters of a bad line that are kept to show it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line (or item of a JSON array): its number from 1, its value, or why it has none."""

    line: int
    value: Any
    raw: str
    error: str = ""


def open_bytes(path: Path) -> IO[bytes]:
    """Open for reading, decompressing by suffix. Raises ValueError where there is no such file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file" if not path.exists() else f"{path}: expected a file, found a folder")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


@contextlib.contextmanager
def _whole_archive(path: Path) -> Iterator[None]:
    try:
        yield
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: expected a whole {path.suffix} file, but: {error}") from None


def choose_encoding(path: Path, encoding: str) -> str:
    """`encoding`, or for 'auto' utf-8 where the whole file is that and gb18030 otherwise."""
    if encoding not in ENCODINGS:
        raise ValueError(f"--encoding {encoding}: expected one of {', '.join(ENCODINGS)}")
    if encoding != "auto":
        return encoding
    with _whole_archive(path), open_bytes(path) as file:
        try:
            file.read().decode("utf-8")
        except UnicodeDecodeError:
            return "gb18030"
    return "utf-8"


def _decode(raw: bytes, start: int, encoding: str) -> str:
    """Text of one line that begins at byte `start` of the file; ValueError names the first bad byte."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        at, byte = start + error.start, raw[error.start]
        advice = "convert it, or name its encoding with --encoding" if encoding == "utf-8" else "check --encoding"
        raise ValueError(
            f"expected {encoding.upper()} text, but byte {at} of the file is 0x{byte:02x}; {advice}"
        ) from None


def _lines(path: Path, max_line_mb: float) -> Iterator[tuple[int, int, bytes, bool]]:
    """(line number, byte offset, bytes without the line end, whether it was cut at the limit)."""
    limit = int(max_line_mb * 1024 * 1024)
    offset, number = 0, 0
    with _whole_archive(path), open_bytes(path) as file:
        while line := file.readline(limit + 1):
            number += 1
            start, cut = offset, len(line) > limit and not line.endswith(b"\n")
            offset += len(line)
            if number == 1:
                if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise ValueError(f"{path}: expected UTF-8 text, but the file begins with a UTF-16 mark; convert it")
                line = line.removeprefix(BOM)
                start = offset - len(line)
            yield number, start, line.rstrip(b"\r\n"), cut
            while cut and (rest := file.readline(limit)):
                offset += len(rest)
                cut = not rest.endswith(b"\n")


def scan_lines(path: Path, max_line_mb: float = 8.0, encoding: str = "utf-8") -> Iterator[Record]:
    """Every line as text in `value`, blank ones too. An empty file is a ValueError."""
    encoding = choose_encoding(path, encoding)
    empty = True
    for number, start, raw, cut in _lines(path, max_line_mb):
        empty = False
        try:
            if cut:
                raise ValueError(
                    f"expected a line of at most {max_line_mb:g} MB; raise data.max_line_mb if it is meant to be"
                )
            text = _decode(raw, start, encoding)
            yield Record(number, text, text)
        except ValueError as error:
            yield Record(number, None, raw[:SHOWN].decode("utf-8", "replace"), str(error))
    if empty:
        raise ValueError(f"{path}: the file is empty; expected at least one record")


def _no_constant(name: str) -> Any:
    raise ValueError(f"expected JSON, got {name}, which is not")


def parse_json(text: str) -> Any:
    """The value, or a ValueError that says where in the line it stops being JSON."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        around = text[max(0, error.pos - 20) : error.pos + 20]
        raise ValueError(
            f"expected one JSON value; {error.msg} at character {error.pos + 1}, near {around!r}"
        ) from None
    except RecursionError:
        raise ValueError("expected JSON of sensible depth, this nests too deep") from None
    if "\\ud" in text.lower():
        try:  # half of an escaped pair is legal JSON, but no text: it could never be written out again
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("expected text, got half of a surrogate pair (an escape such as \\ud800 alone)") from None
    return value


def _array(path: Path, encoding: str) -> Iterator[Record]:
    with _whole_archive(path), open_bytes(path) as file:
        raw = file.read().removeprefix(BOM)
    try:
        values = parse_json(_decode(raw, 0, encoding))
    except ValueError as error:
        raise ValueError(f"{path}: {error} (the file begins with '[', so it was read as one JSON array)") from None
    if not values:
        raise ValueError(f"{path}: the list is empty; expected at least one record")
    for number, value in enumerate(values, 1):
        yield Record(number, value, json.dumps(value, ensure_ascii=False))


def scan_jsonl(path: Path, max_line_mb: float = 8.0, encoding: str = "utf-8") -> Iterator[Record]:
    """Every record of a JSON-lines file, or every item of a file that is one JSON array.

    Blank lines are skipped. A line that cannot be read comes as a Record with `error`; an empty file, a damaged
    archive or a broken array is a ValueError that names the file.
    """
    encoding = choose_encoding(path, encoding)
    with _whole_archive(path), open_bytes(path) as file:
        head = file.read(4096).removeprefix(BOM).lstrip()
    if head.startswith(b"["):
        yield from _array(path, encoding)
        return
    found = False
    for record in scan_lines(path, max_line_mb, encoding):
        if record.error:
            found = True
            yield record
        elif record.value.strip():
            found = True
            try:
                yield Record(record.line, parse_json(record.value), record.raw)
            except ValueError as error:
                yield Record(record.line, None, record.raw, str(error))
    if not found:
        raise ValueError(f"{path}: only blank lines; expected at least one record")


def read_jsonl(path: Path, max_line_mb: float = 8.0) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every record; the first bad line is a ValueError 'file:line: what was expected'."""
    for record in scan_jsonl(path, max_line_mb):
        if record.error:
            raise ValueError(f"{path}:{record.line}: {record.error}")
        yield record.line, record.value
