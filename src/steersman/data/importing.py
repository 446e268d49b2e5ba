"""A file of any known format -> records of one of our kinds, with every bad record named or counted."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from steersman.data import formats, tables
from steersman.data.formats import Parsed
from steersman.data.readers import Record, scan_jsonl
from steersman.types import Conversation, Ranking

PLAIN_SUFFIXES = (".txt", ".log")
DIALOGUES = "dialogues"
"""Beside the kinds of data sets: conversations as they are, whoever speaks last."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be imported, why, and what it looked like."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held."""

    format: str
    kind: str
    records: list[Parsed]
    rejected: list[Rejected] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """Rejections counted by reason, its variable parts (what was found, and at which turn) left out."""
        reasons = (r.reason.partition(", got ")[0].partition("; ")[0] for r in self.rejected)
        return dict(Counter(re.sub(r"\[\d+\]", "[]", reason) for reason in reasons).most_common())


def as_kind(record: Parsed, kind: str, trim_last_user: bool = False) -> Parsed:
    """The record as one of `kind`, or a ValueError that says why it cannot be.

    A ranking's best answer may serve as a demonstration and its prompt as a prompt; a dialogue that ends with the
    user is no demonstration, unless `trim_last_user` cuts that turn off.
    """
    if kind == "texts" or isinstance(record, str):
        if kind == "texts" and isinstance(record, str):
            return record
        raise ValueError(
            "text: expected a record with a field 'text'" if kind == "texts" else f"record: expected {kind}, got text"
        )
    if kind == "rankings":
        if isinstance(record, Ranking):
            return record
        raise ValueError("answers: expected several answers to compare, got one dialogue")
    if isinstance(record, Ranking):
        best = min(range(len(record.answers)), key=lambda i: record.order[i])
        return record.prompt if kind == "prompts" else record.prompt.with_answer(record.answers[best])
    if kind == "prompts" and not record.is_prompt:
        return record.without_answer()
    if kind == "demonstrations" and record.is_prompt:
        return _answered(record, trim_last_user)
    return record


def _answered(record: Conversation, trim_last_user: bool) -> Conversation:
    trimmed = record.messages[:-1]
    if trim_last_user and trimmed and trimmed[-1].role == "assistant":
        return dataclasses.replace(record, messages=trimmed)
    raise ValueError(
        f"messages[{len(record.messages) - 1}]: expected a demonstration to end with the assistant, got dialogue "
        f"'{record.id}', which ends with the user; leave such out with --skip-bad, cut the turn with --trim-last-user, "
        "or import with --kind prompts"
    )


def _scan(
    path: Path, name: str, max_line_mb: float, encoding: str, mapping: Mapping[str, str], speakers: str
) -> Iterator[Record]:
    if name == "csv":
        return tables.scan_csv(path, mapping, max_line_mb, encoding)
    if name == "chatlog":
        pair = tuple(part.strip() for part in speakers.split(","))
        if len(pair) != 2 or not all(pair):
            raise ValueError(
                f"--speakers {speakers or '(none)'}: expected two names, the user's first, such as Customer,Agent"
            )
        return tables.scan_chatlog(path, (pair[0], pair[1]), max_line_mb, encoding)
    if name == "text" and _stem(path).suffix in PLAIN_SUFFIXES:
        return tables.scan_text(path, max_line_mb, encoding)
    return scan_jsonl(path, max_line_mb, encoding)


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in (".xz", ".gz") else path


def _format_of_file(path: Path, name: str | None) -> str | None:
    """The format where --format or the file's name tells it; None means: by the first record."""
    if name is not None:
        if name not in formats.FORMATS:
            raise ValueError(f"--format {name}: expected one of {', '.join(formats.FORMATS)}")
        return name
    if _stem(path).suffix in (".csv", ".tsv"):
        return "csv"
    if _stem(path).suffix in PLAIN_SUFFIXES:
        raise ValueError(
            f"{path}: expected --format chatlog (with --speakers USER,ASSISTANT) or --format text for a plain text file"
        )
    return None


def _parse(record: Record, name: str) -> Parsed:
    if record.error:
        raise ValueError(record.error)
    if name == "csv":
        return tables.from_row(record.value)
    if name == "chatlog":
        return tables.from_log(record.value)
    return formats.parse(name, record.value)


def parse_file(
    path: Path,
    kind: str | None = None,
    *,
    format: str | None = None,
    skip_bad: bool = False,
    trim_last_user: bool = False,
    max_records: int = 0,
    max_line_mb: float = 8.0,
    encoding: str = "utf-8",
    mapping: Mapping[str, str] | None = None,
    speakers: str = "",
) -> Imported:
    """Read `path` as `kind` (None: what its format is usually for).

    The format is that of the first readable record unless `format` names it. A record that is broken or cannot be
    of this kind is a ValueError 'file:line: field: what was expected', or with `skip_bad` is listed in `rejected`.
    """
    name = _format_of_file(path, format)
    records: list[Parsed] = []
    rejected: list[Rejected] = []
    for record in _scan(path, name or "", max_line_mb, encoding, mapping or {}, speakers):
        try:
            if name is None:
                if record.error:
                    raise ValueError(record.error)
                name = formats.detect(record.value)
            parsed = _parse(record, name)
            if kind is None:
                kind = formats.DEFAULT_KIND.get(name) or _usual_kind(parsed)
            records.append(as_kind(parsed, kind, trim_last_user))
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{path}:{record.line}: {error}") from None
            rejected.append(Rejected(record.line, str(error), record.raw))
        if max_records and len(records) >= max_records:
            break
    if not records:
        first = f"; the first bad one is line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
        raise ValueError(f"{path}: expected at least one good record, found none{first}")
    return Imported(name or "", kind or "", records, rejected)


def _usual_kind(parsed: Parsed) -> str:
    if isinstance(parsed, str):
        return "texts"
    return "rankings" if isinstance(parsed, Ranking) else "demonstrations"
