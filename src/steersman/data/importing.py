"""A file of any known format -> records of one of our kinds. Whatever is left out, changed or guessed is counted."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data import formats, tables
from steersman.data.clean import words_of
from steersman.data.formats import Fields, Parsed
from steersman.data.formats.expand import expanded, is_tree_row, trees
from steersman.data.formats.fields import lost, plain
from steersman.data.formats.names import MAPPABLE
from steersman.data.formats.ranked import Scored, rankings_of, scored_answer
from steersman.data.kinds import LeftOut, as_kind, usual_kind
from steersman.data.readers import Record, scan_jsonl
from steersman.types import Conversation, Ranking

PLAIN_SUFFIXES = (".txt", ".log")
ORDERS = ("", "best-first", "worst-first")
CATEGORY = 20
"""A field of so many records with at most a fifth as many values is a category, whatever its values look like."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be imported, why, and what it looked like."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held: `read` is the number of records plus those in `rejected` and `left_out`."""

    kind: str
    records: list[Parsed]
    rejected: list[Rejected] = field(default_factory=list)
    formats: Mapping[str, int] = field(default_factory=dict)
    """Format -> records of it."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why records that are whole were left out -> how many."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """What was changed or guessed -> how often."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What was guessed (question, answer, ...) -> the field that was taken for it, the most frequent first."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """Fields that were read over -> in how many records."""

    @property
    def format(self) -> str:
        """The format, or all of them, the most frequent first."""
        return ", ".join(sorted(self.formats, key=lambda name: -self.formats[name]))

    @property
    def read(self) -> int:
        return len(self.records) + len(self.rejected) + sum(self.left_out.values())

    def reasons(self) -> dict[str, int]:
        """Rejections counted by reason, its variable parts (what was found, and at which turn) left out."""
        reasons = (r.reason.partition(", got ")[0].partition("; ")[0] for r in self.rejected)
        return dict(Counter(re.sub(r"\[\d+\]", "[]", reason) for reason in reasons).most_common())


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


@dataclass
class _Content:
    """A field that nothing took though it looks like something said."""

    line: int
    sample: str
    count: int = 0
    values: set[int] = field(default_factory=set)


@dataclass
class _Gathered:
    """What has been read so far."""

    kinds: dict[str, list[tuple[int, Parsed]]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    content: dict[str, _Content] = field(default_factory=dict)
    scored: list[tuple[int, Scored]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Names of all fields, as they are compared."""

    @property
    def count(self) -> int:
        return sum(map(len, self.kinds.values()))

    def add(self, line: int, parsed: Parsed, fields: Fields) -> None:
        """Keeps in mind what was read of a record, and what was not."""
        self.seen.update(fields.keys)
        self.taken.update(fields.taken.items())
        answered = not (isinstance(parsed, Conversation) and parsed.is_prompt)
        content, others = lost(fields, words_of(parsed), answered)
        self.unused.update(content + others)
        for name in content:
            text = str(fields.record[name])
            found = self.content.setdefault(name, _Content(line, text))
            found.count += 1
            found.values.add(hash(text))


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
    ordered: str = "",
) -> Imported:
    """Read `path` as `kind` (None: what most of its records are).

    Each record's format is its own unless `format` names it. A record that is broken or cannot be of this kind is a
    ValueError 'file:line: field: what was expected', or with `skip_bad` is listed in `rejected`; so are records of
    several kinds where `kind` is None. A field that looks like something said and that nothing reads is a ValueError,
    whatever `skip_bad` says: `mapping` (role -> field) tells what it is. `ordered` is one of ORDERS, for lists of
    answers without scores.
    """
    name = _format_of_file(path, format)
    if ordered not in ORDERS:
        raise ValueError(f"--ordered {ordered}: expected one of {', '.join(filter(None, ORDERS))}")
    options = _options(name, mapping or {}, speakers, ordered)
    got = _Gathered()
    for record in _with_trees(_scan(path, name or "", max_line_mb, encoding, mapping or {}, speakers)):
        for piece in _pieces(record, name, kind, options, got):
            try:
                _gather(piece, name, kind, trim_last_user, options, got)
            except ValueError as error:
                if not skip_bad:
                    raise ValueError(f"{path}:{record.line}: {error}") from None
                got.rejected.append(Rejected(record.line, str(error), record.raw))
        if max_records and got.count >= max_records:
            break
    _check_mapping(path, name, mapping or {}, got)
    _check_content(path, got)
    _group(got)
    kind = kind or _settle_kind(path, got, skip_bad)
    if not got.kinds.get(kind):
        raise ValueError(f"{path}: expected at least one good record, found none{_why(got)}")
    return Imported(
        kind,
        [parsed for _, parsed in got.kinds[kind]],
        got.rejected,
        dict(got.formats),
        dict(got.left_out.most_common()),
        {what: n for what, n in got.notes.most_common() if n > 0},
        _most_frequent(got.taken),
        dict(got.unused.most_common()),
    )


def _options(name: str | None, mapping: Mapping[str, str], speakers: str, ordered: str) -> dict[str, Any]:
    """What every record's `Fields` are told; of whole files' formats the options are the readers' own."""
    if name in formats.FILE_FORMATS:
        return {}
    for role in mapping:
        if role not in MAPPABLE:
            raise ValueError(f"--map {role}=...: expected one of {', '.join(MAPPABLE)} before the '='")
    pair = [part.strip().casefold() for part in speakers.split(",")] if speakers else []
    if pair and len(pair) != 2:
        raise ValueError(f"--speakers {speakers}: expected two names, the user's first, such as Customer,Agent")
    return {"mapping": mapping, "speakers": dict(zip(pair, ("user", "assistant"), strict=False)), "ordered": ordered}


def _with_trees(records: Iterator[Record]) -> Iterator[Record]:
    """Records; of a file whose rows are messages of trees (OASST) the trees, each in the place of its first row."""
    first = next(records, None)
    if first is None:
        return
    if not is_tree_row(first.value):
        yield first
        yield from records
        return
    rows = []
    for record in (first, *records):
        if record.error or not is_tree_row(record.value):
            yield record
        else:
            rows.append((record.line, record.value))
    for line, tree in trees(rows):
        yield Record(line, tree, "")


def _pieces(
    record: Record, name: str | None, kind: str | None, options: Mapping[str, Any], got: _Gathered
) -> Iterator[Record]:
    """The records that one holds (several where it is a table in itself)."""
    if record.error or name in formats.FILE_FORMATS or not isinstance(record.value, Mapping):
        yield record
        return
    try:
        pieces = expanded(record.value, Fields(record.value, **options), kind)
    except ValueError as error:
        yield Record(record.line, None, record.raw, str(error))
        return
    if len(pieces) > 1 or pieces[0] is not record.value:
        got.notes["records that hold several taken apart"] += 1
    for value in pieces:
        yield Record(record.line, value, record.raw)


def _gather(
    record: Record, name: str | None, kind: str | None, trim: bool, options: Mapping[str, Any], got: _Gathered
) -> None:
    """One record into `got`, or a ValueError that says what is wrong with it."""
    if record.error:
        raise ValueError(record.error)
    if name in formats.FILE_FORMATS:
        parsed = tables.from_row(record.value) if name == "csv" else tables.from_log(record.value)
        found = name or ""
    else:
        fields = formats.as_fields(record.value, **options)
        formats.check_media(fields)
        found = name or formats.detect_fields(fields)
        if kind in (None, "rankings") and (scored := scored_answer(fields, found, kind)) is not None:
            got.formats["scored"] += 1
            got.scored.append((record.line, scored))
            return
        parsed = formats.IMPORTERS[found](fields)
        got.add(record.line, parsed, fields)
        got.notes.update(fields.notes)
    got.formats[found] += 1
    wanted = kind or formats.DEFAULT_KIND.get(found) or usual_kind(parsed)
    try:
        kept = as_kind(parsed, wanted, trim)
    except LeftOut as reason:
        got.left_out[str(reason)] += 1
        return
    _note_kind(parsed, wanted, got.notes)
    got.kinds.setdefault(wanted, []).append((record.line, kept))


def _note_kind(parsed: Parsed, kind: str, notes: Counter[str]) -> None:
    """Counts what was cut off a record to make it one of `kind`."""
    if kind == "prompts" and not (isinstance(parsed, Conversation) and parsed.is_prompt):
        notes["answers cut off prompts"] += 1
    elif kind == "demonstrations" and isinstance(parsed, Ranking):
        notes["best answers of rankings taken, the others left out"] += 1
    elif kind == "demonstrations" and isinstance(parsed, Conversation) and parsed.is_prompt:
        notes["last turns of the user cut off"] += 1


def _group(got: _Gathered) -> None:
    """Answers with scores, one a line, as rankings of those with one prompt."""
    if got.scored:
        made, alone = rankings_of(got.scored)
        got.kinds.setdefault("rankings", []).extend(made)
        got.notes["answers with a score each gathered into rankings by their prompt"] += len(got.scored) - alone
        got.left_out["prompts with one scored answer alone"] += alone


def _check_mapping(path: Path, name: str | None, mapping: Mapping[str, str], got: _Gathered) -> None:
    """ValueError where a field that --map names is in no record."""
    if name in formats.FILE_FORMATS or not got.seen:
        return
    for role, columns in mapping.items():
        for column in columns.split(","):
            if plain(column) not in got.seen:
                near = difflib.get_close_matches(plain(column), sorted(got.seen), n=1, cutoff=0.0)
                raise ValueError(
                    f"{path}: --map {role}={column}: no record has such a field; did you mean '{''.join(near)}'?"
                )


def _check_content(path: Path, got: _Gathered) -> None:
    """ValueError where fields look like something said and nothing reads them."""
    fields = {
        name: found
        for name, found in got.content.items()
        if found.count < CATEGORY or len(found.values) > found.count / 5
    }
    if not fields:
        return
    name, found = next(iter(fields.items()))
    more = f" (likewise: {', '.join(list(fields)[1:])})" if len(fields) > 1 else ""
    read = ", ".join(f"{role} = {key}" for role, key in _most_frequent(got.taken).items()) or "nothing"
    sample = " ".join(found.sample.split())
    raise ValueError(
        f"{path}:{found.line}: field '{name}' looks like something said ({sample[:40]!r}) and would be lost{more}; "
        f"read so far: {read}; say what it is, such as --map answer={name} (or {', '.join(MAPPABLE[:7])}), or leave it "
        f"out: --map ignore={name}"
    )


def _settle_kind(path: Path, got: _Gathered, skip_bad: bool) -> str:
    """The kind of most records. Those of other kinds are rejected, or a ValueError without `skip_bad`."""
    if not got.kinds:
        raise ValueError(f"{path}: expected at least one good record, found none{_why(got)}")
    kind = max(got.kinds, key=lambda k: len(got.kinds[k]))  # the first of equals
    others = {k: records for k, records in got.kinds.items() if k != kind}
    if others and not skip_bad:
        counts = ", ".join(f"{len(r)} {k} (first at line {r[0][0]})" for k, r in got.kinds.items())
        raise ValueError(
            f"{path}: expected records of one kind, got {counts}; import it once per kind with --kind and --skip-bad, "
            f"or with --skip-bad alone to keep the {kind}"
        )
    for other, records in others.items():
        for line, parsed in records:
            got.rejected.append(Rejected(line, f"{other} in a file of {kind}", formats.to_line(parsed)))
    got.rejected.sort(key=lambda r: r.line)
    return kind


def _why(got: _Gathered) -> str:
    """Why nothing is left of a file."""
    if got.rejected:
        return f"; the first bad one is line {got.rejected[0].line}: {got.rejected[0].reason}"
    return "".join(f"; left out {n}: {reason}" for reason, n in got.left_out.most_common())


def _most_frequent(taken: Counter[tuple[str, str]]) -> dict[str, str]:
    """Role -> its fields, the most frequent first."""
    out: dict[str, list[str]] = {}
    for (role, name), _ in taken.most_common():
        out.setdefault(role, []).append(name)
    return {role: " or ".join(names) for role, names in out.items()}
