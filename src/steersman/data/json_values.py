"""JSON from files: one value per line, values that span lines, one list of records, or one object with such lists."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from steersman.data import messengers, who_said
from steersman.data.broken_json import is_literal, literal, until_break
from steersman.data.containers import Part
from steersman.data.formats.expand import definition, instance
from steersman.data.formats.message_rows import is_step
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading
from steersman.data.record_lists import dialogue, dialogues, is_said, is_turn, is_turns, wrapped

PEEK_LINES, PEEK_CHARS = 64, 1 << 18
DOCUMENT_MB = 64
"""Largest value that spans lines: it is held in memory whole, while items of a list are read one by one."""
SPACE = re.compile(r"[\s\ufeff,;]*")
"""Characters allowed between values: byte order marks where files were joined, commas of a list without brackets, the
end of a statement."""
ASSIGNED = re.compile(r"\s*(?:(?:var|let|const)\s+)?[A-Za-z_$][\w.$]*\s*=\s*(?=[\[{])")
"""Pattern of what makes a script of JSON: `window.YTD.tweets.part0 = [`."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"expected numbers as JSON has them, not {name}")


DECODER = json.JSONDecoder()
HALF = "expected text, got half of a surrogate pair (an escape such as \\ud800 alone)"
UNDECODED = "\udcff"
"""What stands in a document for bytes that are no text in its encoding: a record with it is a bad one."""


def parse_json(text: str) -> Any:
    """The value; ValueError names the place in the line where it is not valid JSON."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if (pythons := literal(text)) is not None:
            return pythons
        around = text[max(0, error.pos - 20) : error.pos + 20]
        raise ValueError(
            f"expected one JSON value; {error.msg.removesuffix(' at')} at character {error.pos + 1}, near {around!r}"
        ) from None
    except RecursionError:
        raise ValueError("expected JSON of sensible depth, this nests too deep") from None
    return _no_half(text, value)


def _no_half(text: str, value: Any) -> Any:
    """The value; ValueError on an unpaired escaped surrogate, which JSON allows but UTF-8 cannot encode."""
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(HALF) from None
    return value


def _checked(record: Record) -> Record:
    """A document's record with the beginning of its text; a bad one where its values cannot be kept."""
    error = record.error
    try:
        raw = record.raw if error else json.dumps(record.value, ensure_ascii=False, allow_nan=False)
        if UNDECODED not in raw:
            raw.encode()
        elif not error:
            error = "expected text in the file's encoding, which some bytes are not"
    except UnicodeEncodeError:
        error = error or HALF
    except ValueError:
        raw, error = (
            json.dumps(record.value, ensure_ascii=False),
            "expected numbers as JSON has them, not NaN or Infinity",
        )
    shown = (record.raw or raw[:SHOWN]).encode("utf-8", "replace").decode()
    return replace(record, value=None if error else record.value, raw=shown, error=error)


def begins_records(head: Sequence[Line], whole: bool) -> bool:
    """Whether a text that begins like JSON, of which `head` is all or the beginning, begins with records: `x = [1]` and
    `{name}, hello` do not. What is broken JSON does."""
    text = "".join(line.text for line in head).lstrip("\ufeff \t\r\n")
    begun = ASSIGNED.match(text)
    text = text[begun.end() :] if begun else text
    try:
        value, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return KEY.match(text) is not None or is_literal(text)
    if isinstance(value, Mapping) and not begun:
        return True
    after = text[end:] if begun and whole else text[end:].partition("\n")[0]
    if SPACE.fullmatch(after) is None and not after.lstrip(", ").startswith(("[", "{")):
        return False  # a line of a program, or of a text about one
    return isinstance(value, Mapping) or any(
        isinstance(one, str | Mapping) for item in value for one in (item if isinstance(item, list) else [item])
    )


KEY = re.compile(r"""[\[{\s]*+(?:"[^"\n]{0,200}"|'[^'\n]{0,200}')\s*:""")
"""Pattern of a first field, by which a text is meant as JSON."""


def scan_json(part: Part, reading: Reading) -> Iterator[Record]:
    """Every record of a part that is JSON; lists of turns as {"messages": turns}. Blank lines are skipped.

    A line that cannot be read comes as a Record with `error`. Nothing but blank lines, a broken list or a list of
    nothing is a ValueError that names the file.
    """
    lines = lines_of(part, reading)
    head = _peek(lines)
    if not head:
        raise ValueError(f"{part.name}: the file is empty; expected at least one record")
    if begun := ASSIGNED.match(head[0].text):
        head[0] = replace(head[0], text=head[0].text[begun.end() :].rstrip().removesuffix(";"))
    rest = next(lines, None)
    every = itertools.chain(head, () if rest is None else (rest,), lines)
    if _is_document(head, whole=rest is None):
        yield from map(_checked, _Document(part, every, reading).records())
        return
    found = False
    for line in every:
        if line.error:
            found = True
            yield Record(line.number, None, line.text[:SHOWN], line.error)
        elif line.text.strip("\ufeff \t\r\n"):
            found = True
            reading.changed["objects in Python's form, with single quotes, read as JSON"] += is_literal(line.text)
            yield from _of_line(line)
    if not found:
        raise ValueError(f"{part.name}: only blank lines; expected at least one record")


def _of_line(line: Line) -> Iterator[Record]:
    text = line.text.strip("\ufeff\r\n")
    try:
        values = [parse_json(text)]
    except ValueError as error:
        values = _joined(text) if "\ufeff" in text else []
        if not values:
            yield Record(line.number, None, text, str(error))
            return
    for value in values:
        try:
            for item in dialogues(value) if isinstance(value, list) else [value]:
                yield Record(line.number, item, text)
        except ValueError as error:
            yield Record(line.number, None, text, str(error))


def _joined(text: str) -> list[Any]:
    """Values of a line with byte order marks between them, where files were joined; [] for any other line."""
    values, at = [], 0
    while at < len(text):
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        values.append(_no_half(text[at:end], value))
        match = re.compile(r"\s*(?:\ufeff\s*|\Z)").match(text, end)
        if match is None:
            return []
        at = match.end()
    return values


def _peek(lines: Iterator[Line]) -> list[Line]:
    """The first lines, enough to recognise the file's structure."""
    head, size = [], 0
    for line in lines:
        head.append(line)
        size += len(line.text)
        if len(head) >= PEEK_LINES or size > PEEK_CHARS:
            break
    return head


def _is_document(head: Sequence[Line], whole: bool) -> bool:
    """Whether values span lines, rather than one value per line."""
    texts = [line.text.strip("\ufeff \t\r\n") for line in head]
    texts = [text for text in texts if text]
    if not texts or texts[0][0] not in "[{":
        return False
    first = _whole_value(texts[0]) or _loosely(texts[0])
    if first is not None:
        if isinstance(first, list):  # a list of records; lists of turns are written one per line
            return not first or (isinstance(first[0], Mapping) and not is_turns(first)) or is_said(first[0])
        return len(texts) == 1 and whole and (bool(wrapped(first)) or messengers.chats_in(first) is not None)
    joined = "\n".join(texts)
    try:
        _, end = DECODER.raw_decode(joined)
        return end > len(texts[0]) or joined[end : end + 1] == ","
    except (ValueError, RecursionError):
        alone = sum(isinstance(_whole_value(text), list | dict) for text in texts[1:])
        return alone == 0 or (texts[0].startswith("[") and texts[0][-1] in "[,") or (not whole and texts[0][-1] in "[{")


def _loosely(text: str) -> Any:
    """A list whose values JSON does not have, or text cannot: its records are judged one by one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _whole_value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return None


def _is_instance(item: Any) -> bool:
    """Whether a record has an input alone, so that an instruction for it is said elsewhere."""
    return isinstance(item, dict) and "input" in item and "instruction" not in item


class _Document:
    """Values that span lines, read piece by piece: `buffer` holds text read but not yet parsed."""

    def __init__(self, part: Part, lines: Iterable[Line], reading: Reading) -> None:
        self._part, self._lines, self._reading = part, iter(lines), reading
        self._buffer, self._at, self._line, self._cut, self._broken = "", 0, 1, "", 0

    def records(self) -> Iterator[Record]:
        count = 0
        while self._skip():
            start = self._line
            if self._buffer[self._at] == "[":
                together, source = who_said.Together(), ""
                for value in self._items():
                    if (chats := messengers.chats_in(value)) is not None:
                        together.add(chats.chats)
                        source = chats.source
                        continue
                    count += 1
                    yield Record(count, value, "")
                if source:
                    yield from messengers.scan(messengers.Chats(source, together.chats), self._part, self._reading)
                if self._cut:
                    why = f"the list breaks here, and nothing behind it is read: {self._cut}"
                    yield Record(count + 1, None, self._buffer[self._at :][:SHOWN], why)
                    return
                continue
            if self._buffer[self._at] != "{":
                raise self._error(ValueError(f"expected a JSON object or list, got {self._buffer[self._at :][:20]!r}"))
            try:
                value = self._value(max(DOCUMENT_MB, self._reading.max_line_mb))
            except ValueError as error:
                raw, whole = self._buffer[self._at : self._at + SHOWN], self._before_the_break()
                if whole is not None:
                    yield from self._of_object(whole, start)
                    raw = self._buffer[self._broken :][:SHOWN]
                    yield Record(start, None, raw, f"{error} (nothing behind this place is read)")
                    return
                yield Record(start, None, raw, f"{error} (the value begins on this line)")
                self._resume()
                continue
            yield from self._of_object(value, start)

    def _of_object(self, value: Any, line: int) -> Iterator[Record]:
        if (chats := messengers.chats_in(value)) is not None:
            yield from messengers.scan(chats, self._part, self._reading)
            return
        lists = wrapped(value)
        if not lists:
            yield Record(line, value, "")
            return
        counts = ", ".join(
            f"{len(rows)} of '{name}'" if name else f"its {len(rows)} fields" for name, rows in lists.items()
        )
        told, field = definition(value)
        told = told if any(_is_instance(item) for rows in lists.values() for item in rows) else ""
        asked = f", each with the object's {field} as its instruction" if told else ""
        self._reading.tell(f"note: {self._part.name} is one object; its records are {counts}{asked}")
        for number, item in enumerate((i for rows in lists.values() for i in dialogues(rows)), 1):
            if told and _is_instance(item):
                item = instance(told, item)
            yield Record(number, item, "")

    def _items(self) -> Iterator[Any]:
        """Items of a list, one by one; a list of turns or of a messenger's messages as a whole. Where it breaks behind
        its first item, `_cut` says so."""
        self._at += 1
        together: list[Any] = []
        found = False
        while True:
            try:
                if not self._skip():
                    raise self._error(ValueError("expected one JSON value; the list does not end with ']'"))
                if self._buffer[self._at] == "]":
                    self._at += 1
                    break
                value = self._item()
            except ValueError as error:
                if not found:
                    raise
                self._cut = str(error).removeprefix(f"{self._part.name}: ")
                break
            if is_turn(value) or messengers.is_message(value) or is_step(value) or together:
                together.append(value)
            else:
                yield dialogue(value)
            found = True
        if not found:
            raise ValueError(f"{self._part.name}: the list is empty; expected at least one record")
        if together:
            alone = is_turns(together) or is_step(together[0])
            yield {"messages": together} if alone else together

    def _item(self) -> Any:
        try:
            return self._value(self._reading.max_line_mb)
        except ValueError as error:
            raise self._error(error) from None

    def _value(self, limit_mb: float) -> Any:
        """The value at the front of the buffer, which is filled as far as needed."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
                self._line, self._at = self._line + self._buffer.count("\n", self._at, end), end
                return value
            except json.JSONDecodeError as error:
                size, at = len(self._buffer) - self._at, error.pos - self._at
                self._broken = 0
                if size > limit_mb * 1024 * 1024:
                    raise ValueError(
                        f"expected a value of at most {limit_mb:g} MB, which is held in memory; write a record a line, "
                        "or raise the limit: --set data.max_line_mb=500"
                    ) from None
                if not self._fill(max(BLOCK_CHARS, size)):
                    self._broken = self._at + at
                    around = self._buffer[max(0, self._broken - 20) : self._broken + 20]
                    raise ValueError(f"expected one JSON value; {error.msg}, near {around!r}") from None
            except RecursionError:
                raise ValueError("expected JSON of sensible depth, this nests too deep") from None

    def _before_the_break(self) -> Any:
        """The object around records without the one in which it breaks; None where it is a record itself."""
        for nested, text in enumerate(until_break(self._buffer[self._at : self._broken])):
            value = _whole_value(text)
            if value and (
                messengers.chats_in(value) is not None or wrapped(value).keys() - ({""} if nested else set())
            ):
                return value
        return None

    def _skip(self) -> bool:
        """Goes on to the next value; False at the end of the file."""
        while True:
            match = SPACE.match(self._buffer, self._at)
            assert match is not None
            self._line += self._buffer.count("\n", self._at, match.end())
            self._at = match.end()
            if self._at < len(self._buffer):
                return True
            if not self._fill(BLOCK_CHARS):
                return False

    def _fill(self, wanted: int) -> bool:
        """Reads more text; False at the end of the file."""
        pieces, size = [self._buffer[self._at :]], 0
        for line in self._lines:
            if line.cut:
                raise ValueError(f"{self._part.name}:{line.number}: {line.error}")
            pieces.append(line.text.replace("\ufffd", UNDECODED) if line.error else line.text)
            size += len(line.text)
            if size >= wanted:
                break
        self._buffer, self._at = "".join(pieces), 0
        return size > 0

    def _resume(self) -> None:
        """After an unreadable value, skip to the next line that begins with '{'."""
        while True:
            found = re.compile(r"\n\{").search(self._buffer, self._at)
            if found:
                self._line += self._buffer.count("\n", self._at, found.start() + 1)
                self._at = found.start() + 1
                return
            self._line += self._buffer.count("\n", self._at)
            self._buffer, self._at = self._buffer[-1:], 0
            if not self._fill(BLOCK_CHARS):
                self._at = len(self._buffer)
                return

    def _error(self, error: ValueError) -> ValueError:
        return ValueError(f"{self._part.name}: {error} (it was read as one JSON array; line {self._line})")


BLOCK_CHARS = 1 << 16
