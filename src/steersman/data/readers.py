"""Lines of text from files, each with its position for error messages.

Lines end at \\n, \\r\\n or \\r. An unreadable line is passed on with `Record.error`: the caller decides whether one bad
line stops an import. Nothing longer than the limit of a line is ever held in memory.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from steersman.data import encodings
from steersman.data.containers import Part, whole
from steersman.data.reading import Reading

BLOCK = 1 << 18
PIECE = 120
"""Bytes beside an odd one that are looked at."""
SHOWN = 500
"""Characters of a bad line that are kept to show it."""
END = re.compile(rb"\r\n|\r|\n")
CUT = ("unexpected end of data", "incomplete multibyte sequence", "truncated data")
"""What decoders say of a character whose last bytes are not there."""
CUT_OFF = (
    "the file ends in the middle of a character (byte {}): it was cut off there; take the whole file, or leave the "
    "last record out: --skip-bad"
)


@dataclass(frozen=True, slots=True)
class Record:
    """One line, row, item or dialogue: its number from 1, its value or the error.

    `file` names the file or the member of an archive where several are read as one.
    """

    line: int
    value: Any
    raw: str
    error: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its end, or the error; `text` is then the beginning where it was too long, or has U+FFFD for what
    could not be decoded."""

    number: int
    text: str
    error: str = ""
    cut: bool = False


def lines_of(part: Part, reading: Reading) -> Iterator[Line]:
    """Every line of a part, blank ones too, byte order marks at their starts taken off. An empty part has none."""
    if part.name not in reading.encodings:
        reading.encodings[part.name] = encoding_of(part, reading)
    encoding = reading.encodings[part.name]
    transcode = not _splits_as_ascii(encoding)
    found = reading.encoding.lower() == encodings.AUTO and not transcode and encoding != "utf-8"
    for number, start, raw, cut in _raw_lines(part, reading, encoding if transcode else ""):
        try:
            if cut:
                raise ValueError(
                    f"expected a line of at most {reading.max_line_mb:g} MB; raise data.max_line_mb if it is meant so"
                )
            other = found and encodings.is_utf8_beside(raw, encoding)
            if other and (again := f"{part.name}\0utf-8") not in reading.encodings:
                reading.encodings[again] = "utf-8"
                reading.tell(f"note: {part.name} holds UTF-8 too, such as line {number}; such lines are read as that")
            yield Line(number, _decode(raw, start, "utf-8" if transcode or other else encoding).removeprefix("\ufeff"))
        except ValueError as error:
            shown = raw[:SHOWN] if cut else raw
            yield Line(number, shown.decode("utf-8" if transcode else encoding, "replace"), str(error), cut)


def _raw_lines(part: Part, reading: Reading, transcode: str) -> Iterator[tuple[int, int, bytes, bool]]:
    """(line number, byte offset, bytes with the line end, whether it was cut at the limit); UTF-8 if transcoded."""
    limit = reading.line_bytes
    offset, number, buffer, skipping = 0, 0, b"", False
    for block in _blocks(part, transcode):
        searched, buffer = max(0, len(buffer) - 1), buffer + block
        end = 0
        for text_end, line_end in _line_ends(buffer, searched):
            start, end = end, line_end
            if skipping:
                skipping = False
            else:
                number += 1
                yield number, offset + start, buffer[start:end], text_end - start > limit
        offset, buffer = offset + end, buffer[end:]
        if not skipping and len(buffer) > limit + 2:
            number, skipping = number + 1, True
            yield number, offset, buffer[: 4 * SHOWN], True
        if skipping:
            offset, buffer = offset + max(0, len(buffer) - 1), buffer[-1:]
    if buffer and not skipping:
        yield number + 1, offset, buffer, len(buffer.rstrip(b"\r\n")) > limit


def _line_ends(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """(end of text, end of line) of every line that ends in `data`; a \\r at its very end may go on as \\r\\n."""
    if data.find(b"\r", start) >= 0:
        last = len(data) - (1 if data.endswith(b"\r") else 0)
        yield from (match.span() for match in END.finditer(data, start, last))
        return
    while (at := data.find(b"\n", start)) >= 0:
        yield at, at + 1
        start = at + 1


def _count_lines(data: bytes) -> int:
    ends = data.count(b"\n")
    return ends + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else ends


def _blocks(part: Part, transcode: str) -> Iterator[bytes]:
    """Blocks of a part; with `transcode`, an encoding whose lines do not end in ASCII, as UTF-8."""
    with whole(part.name), part.open() as file:
        if not transcode:
            yield from iter(functools.partial(file.read, BLOCK), b"")
            return
        decoder, read = codecs.getincrementaldecoder(transcode)("strict"), 0
        while True:
            block = file.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                at = read + getattr(error, "start", 0)
                if not block and getattr(error, "reason", "") in CUT:
                    raise ValueError(f"{part.name}: {CUT_OFF.format(at)}") from None
                raise ValueError(
                    f"{part.name}: expected {transcode.upper()} text, but byte {at} of the file is not"
                ) from None
            read += len(block)
            if text:
                yield text.encode("utf-8", "surrogatepass")
            if not block:
                return


def _decode(raw: bytes, start: int, encoding: str) -> str:
    """Text of one line that begins at byte `start` of the file; ValueError names the first bad byte."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        at, byte = start + error.start, raw[error.start]
        if error.reason in CUT and not raw.endswith((b"\n", b"\r")):
            raise ValueError(CUT_OFF.format(at)) from None
        advice = "convert it, or name its encoding with --encoding" if encoding == "utf-8" else "check --encoding"
        raise ValueError(
            f"expected {encoding.upper()} text, but byte {at} of the file is 0x{byte:02x}; {advice}"
        ) from None


CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
CONTROL_SHARE = 0.02
"""Characters that texts do not have, and the share of them from which on a file is none."""


@functools.cache
def _splits_as_ascii(encoding: str) -> bool:
    """Whether a line end is one byte of ASCII in this encoding, and that byte nothing else."""
    wide = ("utf-16", "utf-32", "utf-7", "hz", "iso2022")
    return "\n\r{,".encode(encoding) == b"\n\r{," and not encoding.replace("_", "-").startswith(wide)


def encoding_of(part: Part, reading: Reading) -> str:
    """The encoding that the user named, or for 'auto' the detected one; ValueError where that is unsure."""
    if reading.encoding.lower() != encodings.AUTO:
        return _named(part, encodings.lookup(reading.encoding), reading)
    found = encodings.marked(part.head) or encodings.by_zeros(part.head)
    if found is not None:
        if found not in ("utf-8",):
            _told(part, reading, found, _sample(part, found))
        return found
    with whole(part.name), part.open() as file:
        start, at, line = _first_no_utf8(file)
        if start is None:
            return "utf-8"
        sample = start[: encodings.SAMPLE]
        seen = encodings.priced(encodings.stray(sample))
        later = _odd_later(itertools.chain([start], iter(functools.partial(file.read, BLOCK), b"")), seen)
    if (n := len(CONTROLS.findall(sample))) > CONTROL_SHARE * len(sample):
        if (found := encodings.wide(part.head)) is not None:
            _told(part, reading, found, _sample(part, found))
            return found
        raise ValueError(
            f"{part.name}: this is no text: {n} of {len(sample)} bytes looked at are control characters; expected "
            "JSON, CSV, a workbook, parquet, Markdown or a chat log, packed or not"
        )
    guesses = encodings.guesses(encodings.stray(sample))
    few = reading.odd_lines and encodings.few_odd(sample, line - 1)
    if not encodings.sure(guesses) and (few or encodings.mostly_utf8(sample)):
        return "utf-8"
    if encodings.sure(guesses):
        found, rival, shown = encodings.with_later(guesses[0], seen, later)
        _told(part, reading, found, guesses[0].text)
        if rival:
            reading.tell(
                f"caution: {part.name} may be in {rival}: later in it stands {shown}; --encoding {rival} if so"
            )
        return found
    shown = "; ".join(f"{g.encoding}: {_records_shown(g.text)}" for g in guesses[:4]) or "no other encoding reads it"
    raise ValueError(
        f"{part.name}:{line}: expected UTF-8 text, but byte {at} of the file is 0x{sample[_high(sample)]:02x}, and "
        f"which encoding it is in is not sure; name it with --encoding. It may be {shown}"
    )


def _named(part: Part, encoding: str, reading: Reading) -> str:
    """A named encoding, checked against a byte order mark; a mark settles the order of UTF-16 and UTF-32."""
    mark = encodings.marked(part.head)
    if mark is not None and mark.startswith("utf-") and mark != "utf-8":
        if encoding.replace("_", "-") in (mark, mark[:6]):
            return mark
        raise ValueError(
            f"{part.name}: expected {encoding.upper()} text, but the file begins with a {mark[:6].upper()} mark; "
            f"read it with --encoding {mark[:6]} or auto"
        )
    if encoding != "utf-8" and not part.head.isascii() and encodings.begins_as_utf8(part.head):
        reading.tell(f"caution: {part.name} looks like UTF-8 and is read as {encoding}, as --encoding asks")
    return encoding


def _told(part: Part, reading: Reading, encoding: str, text: str) -> None:
    reading.tell(f"note: {part.name} is read as {encoding} (it is no UTF-8): {_records_shown(text)}")


def _records_shown(text: str) -> str:
    """Three lines of a text, shortened."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text.removeprefix("\ufeff")) if line.strip()]
    return " | ".join(repr(line[:40])[1:-1] for line in lines[:3])


def _sample(part: Part, encoding: str) -> str:
    return codecs.getincrementaldecoder(encoding)("replace").decode(part.head[:4096], False)


def _high(sample: bytes) -> int:
    found = re.search(rb"[\x80-\xff\x1b]|~\{", sample)
    return found.start() if found else 0


def _first_no_utf8(file: IO[bytes]) -> tuple[bytes | None, int, int]:
    """(what follows the first line that is no UTF-8, from its start; place of its first odd byte; its number).

    The first is None where all is UTF-8. Text of ISO-2022 and HZ is ASCII with escapes and counts as none.
    """
    decoder, before, lines, offset, beyond = codecs.getincrementaldecoder("utf-8")("strict"), b"", 0, 0, False
    while block := file.read(BLOCK):
        data = before + block
        try:
            beyond = not decoder.decode(block).isascii() or beyond
            escape = encodings.ESCAPES.search(block) if b"\x1b$" in block or b"~{" in block else None
            place = len(before) + escape.start() if escape else -1
        except UnicodeDecodeError as error:
            place = max(0, len(data) - len(error.object) + error.start)
        if place >= 0:
            start = max(data.rfind(b"\n", 0, place), data.rfind(b"\r", 0, place)) + 1
            return data[start:] + file.read(encodings.SAMPLE), offset + place, lines + _count_lines(data[:start]) + 1
        keep = len(data) - max(data.rfind(b"\n"), data.rfind(b"\r")) - 1
        keep = min(keep, BLOCK) or 4
        lines += _count_lines(data[: len(data) - keep])
        offset, before = offset + len(data) - keep, data[len(data) - keep :]
    try:
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        last = before[max(before.rfind(b"\n"), before.rfind(b"\r")) + 1 :]
        if beyond or len(error.object) > 1:  # one byte alone may be a letter of another encoding
            return None, 0, 0
        return last, offset + len(before) - 1, lines + 1
    return None, 0, 0


def _odd_later(blocks: Iterator[bytes], sample: bytes) -> list[bytes]:
    """Pieces of lines in or behind a sample that hold bytes which the sample lacks, each such byte once."""
    seen, pieces = set(sample), list[bytes]()
    for block in blocks:
        for byte in sorted(b for b in set(block) - seen if b > 127):
            at = block.index(byte)
            start = max(block.rfind(b"\n", 0, at) + 1, at - PIECE)
            end = block.find(b"\n", at)
            pieces.append(block[start : min(end if end >= 0 else len(block), at + PIECE)])
        seen |= set(block)
    return pieces
