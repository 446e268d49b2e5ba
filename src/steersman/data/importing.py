"""A file of any known format -> records of one of our kinds. Everything left out, changed or guessed is counted."""

from __future__ import annotations

import dataclasses
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data import formats, sources
from steersman.data.clean import words_of
from steersman.data.formats import Fields, Parsed, exports
from steersman.data.formats.expand import expanded
from steersman.data.formats.field_names import MAPPABLE
from steersman.data.formats.fields import lost, plain
from steersman.data.formats.guessed_rows import GUESSED
from steersman.data.formats.mapped_rows import of_messages
from steersman.data.formats.message_rows import joined, speaks_alone
from steersman.data.formats.ranked import ScoredAnswer, rankings_of, score_of, scored_answer
from steersman.data.formats.turns import ROLES
from steersman.data.kinds import LeftOut, as_kind, usual_kind
from steersman.data.published_tasks import is_document
from steersman.data.readers import Record
from steersman.data.reading import Reading
from steersman.data.shelves import MakePile, Pile, in_order
from steersman.data.speakers import speakers_of, with_writers
from steersman.data.unused import Content, check_content, check_mapping
from steersman.types import Conversation, Ranking

ONE_SIDED = "tickets and chats in which one side alone speaks (--kind prompts takes their questions)"
OF_TEST = (
    "record: expected a dialogue, got a document with the questions of a test (SQuAD's, C3's or BIG-bench's form): "
    "`steersman tasks build` reads these"
)
ORDERS = ("", "best-first", "worst-first")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be imported, the reason, and the beginning of its text."""

    line: int
    reason: str
    raw: str
    file: str = ""
    """The file or member, where several were read as one."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of reading a file; `read` counts records, `rejected` and `left_out` together."""

    kind: str
    records: Pile[Parsed]
    rejected: Pile[Rejected] = field(default_factory=list)
    formats: Mapping[str, int] = field(default_factory=dict)
    """Format -> number of records."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason for leaving out valid records -> number."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Description of a change or guess -> number."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Guessed role (question, answer, ...) -> the fields taken for it, the most frequent first."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """Ignored field -> number of records with it."""
    files: Mapping[str, int] = field(default_factory=dict)
    """File or member of an archive, where there are several -> number of its records."""

    @property
    def format(self) -> str:
        """The format, or all of them, the most frequent first."""
        return ", ".join(sorted(self.formats, key=lambda name: -self.formats[name]))

    @property
    def read(self) -> int:
        return len(self.records) + len(self.rejected) + sum(self.left_out.values())

    def reasons(self) -> dict[str, int]:
        """Rejections counted by reason, without the reason's variable parts (found value, number of the turn)."""
        reasons = (r.reason.partition(", got ")[0].partition("; ")[0] for r in self.rejected)
        return dict(Counter(re.sub(r"\[\d+\]", "[]", reason) for reason in reasons).most_common())


def _formats_of(name: str | None) -> tuple[str, str | None]:
    """(format of the file, format of its records) that --format names; '' and None: to be detected."""
    if name is None:
        return "", None
    if name not in formats.FORMATS:
        raise ValueError(f"--format {name}: expected one of {', '.join(formats.FORMATS)}")
    return (name if name in sources.FILE_FORMATS else ""), (name if name in formats.IMPORTERS else None)


@dataclass(frozen=True)
class _Kind:
    """The records of one kind, and their lines."""

    records: Pile[Parsed]
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, line: int, record: Parsed) -> None:
        self.lines.append(line)
        self.records.append(record)


@dataclass
class _Gathered:
    """The records and counts gathered so far; `make` makes what holds records."""

    make: MakePile[Any]
    rejected: Pile[Rejected]
    scored: Pile[tuple[int, ScoredAnswer]]
    kinds: dict[str, _Kind] = field(default_factory=dict)
    formats: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    content: dict[str, Content] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)
    single: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    """Fields that score single answers: number of values, the least and the most."""
    seen: set[str] = field(default_factory=set)
    """Names of all fields, in the form for comparison."""

    @property
    def count(self) -> int:
        return sum(len(kind.lines) for kind in self.kinds.values())

    def kind(self, name: str) -> _Kind:
        return self.kinds.setdefault(name, _Kind(self.make()))

    def add(self, line: int, parsed: Parsed, fields: Fields) -> None:
        """Record which fields were read from a record, and which were not."""
        self.seen.update(plain(str(key)) for key in fields.record)
        self.taken.update(fields.taken.items())
        answered = not (isinstance(parsed, Conversation) and parsed.is_prompt)
        if answered and isinstance(parsed, Conversation) and (key := score_of(fields)) is not None:
            value = float(fields.record[key])
            n, low, high = self.single.get(key, (0, value, value))
            self.single[key] = (n + 1, min(low, value), max(high, value))
        content, others = lost(fields, words_of(parsed), answered)
        self.unused.update(content + others)
        for name in content:
            text = str(fields.record[name])
            self.content.setdefault(name, Content(line, text)).add(text)


@dataclass(frozen=True)
class Taking:
    """Options of converting raw records."""

    format: str | None = None
    """Format of every record; None: each record's own."""
    skip_bad: bool = False
    """List bad records in `rejected` in place of raising an error."""
    trim_last_user: bool = False
    max_records: int = 0
    """0 takes all."""
    mapping: Mapping[str, str] | None = None
    """Role -> field, for fields that no format knows."""
    ordered: str = ""
    """One of ORDERS, for lists of answers without scores."""

    def __post_init__(self) -> None:
        if self.ordered not in ORDERS:
            raise ValueError(f"--ordered {self.ordered}: expected one of {', '.join(filter(None, ORDERS))}")


def parse_file(
    path: Path | Sequence[Path],
    kind: str | None = None,
    *,
    reading: Reading | None = None,
    make: MakePile[Any] = list,
    **options: Any,
) -> Imported:
    """Read `path` (a file, an archive, a folder, or several) as `kind` (None: the kind of most records).

    `options` are fields of `Taking`, and where no `reading` is given of `Reading` too: `encoding`, `speakers`, ...
    `make` is what makes lists of records; with `Shelf` they lie on disk.

    A record that is broken or cannot be of this kind is a ValueError 'file:line: field: what was expected', or with
    `skip_bad` is listed in `rejected`; so are records of several kinds where `kind` is None. An unused field that looks
    like content is a ValueError, even with `skip_bad`; `mapping` can give its role.
    """
    taking = Taking(**{f.name: options.pop(f.name) for f in dataclasses.fields(Taking) if f.name in options})
    file_format, name = _formats_of(taking.format)
    paths = [path] if isinstance(path, Path) else list(path)
    path = Path(", ".join(map(str, paths)))
    mapping, prompts = taking.mapping or {}, kind not in (None, "demonstrations")
    reading = dataclasses.replace(reading or Reading(**options), format=file_format, prompts=prompts, mapping=mapping)
    got = _Gathered(make, make(), make())
    _take(sources.scan_all(paths, reading), (path, name, kind), taking, reading, got)
    got.notes.update(reading.changed)
    if kind in (None, "demonstrations"):
        _say_scores(got, reading)
    check_mapping(path, {} if of_messages(mapping) else mapping, got.seen)
    check_content(path, got.content, _most_frequent(got.taken))
    _group(got)
    kind = kind or with_writers(path, _settle_kind(path, got, taking.skip_bad), reading.speakers)
    if kind not in got.kinds:
        raise ValueError(f"{path}: expected at least one good record, found none{_why(got)}")
    return Imported(
        kind,
        got.kinds[kind].records,
        got.rejected,
        dict(got.formats),
        {why: n for why, n in got.left_out.most_common() if n},
        {what: n for what, n in got.notes.most_common() if n > 0},
        _most_frequent(got.taken),
        dict(got.unused.most_common()),
        dict(got.files),
    )


def _take(
    records: Iterator[Record],
    what: tuple[Path, str | None, str | None],
    taking: Taking,
    reading: Reading,
    got: _Gathered,
) -> None:
    """Read records into `got` until there are enough; `what`: path, format of records and kind."""
    path, name, kind = what
    asked = _options(taking, reading)
    for record in joined(records, got.notes, reading.session_hours, asked["mapping"], reading.speakers):
        if record.file:
            got.files[record.file] += 1
        for piece in _pieces(record, kind, asked, got):
            try:
                _gather(piece, name, kind, taking.trim_last_user, asked, got)
            except ValueError as error:
                if not taking.skip_bad:
                    guesses = "".join(f"; {note}" for note in got.notes if note.startswith(GUESSED))
                    raise ValueError(f"{record.file or path}:{record.line}: {error}{guesses}") from None
                got.rejected.append(Rejected(record.line, str(error), record.raw, record.file))
        if taking.max_records and got.count >= taking.max_records:
            break


SAME_ROLES = {"user": "question", "customer": "question", "assistant": "answer", "agent": "answer", "bot": "answer"}
"""Other names that --map takes for a role."""


def _options(taking: Taking, reading: Reading) -> dict[str, Any]:
    """Options of every record's `Fields`."""
    mapping = {SAME_ROLES.get(role, role): fields for role, fields in (taking.mapping or {}).items()}
    for role in mapping:
        if role not in MAPPABLE:
            raise ValueError(f"--map {role}=...: expected one of {', '.join(MAPPABLE)} before the '='")
    sides = speakers_of(reading.speakers)
    roles = {name: role for role in ("user", "assistant") for name in getattr(sides, f"{role}s", ())}
    given = {"mapping": mapping, "speakers": roles, "ordered": taking.ordered}
    return given | {"pictures": reading.pictures, "labels": reading.labels}


def _pieces(record: Record, kind: str | None, options: Mapping[str, Any], got: _Gathered) -> Iterator[Record]:
    """The records inside one record (several where it is itself a table)."""
    if not record.error and is_document(record.value):
        yield dataclasses.replace(record, value=None, error=OF_TEST)
        return
    if record.error or not isinstance(record.value, Mapping):
        yield record
        return
    try:
        fields = Fields(record.value, **options)
        pieces = expanded(record.value, fields, kind)
        got.notes.update(fields.notes)
    except ValueError as error:
        yield dataclasses.replace(record, value=None, error=str(error))
        return
    if len(pieces) > 1:
        got.notes["records that hold several taken apart"] += 1
    elif not pieces:
        got.left_out["records that annotators gave nothing to, or rejected"] += 1
    for value in pieces:
        desk = exports.DESK in value
        if desk:
            turns = exports.answered(value["messages"], got.notes, options["speakers"])
            got.notes[exports.MAILS] += sum(exports.quotes_mail(turn) for turn in turns)
            value = {**{key: item for key, item in value.items() if key != exports.DESK}, "messages": turns}
        if desk and kind in (None, "demonstrations") and _one_sided(value["messages"], options):
            got.left_out[ONE_SIDED] += 1
        else:
            yield dataclasses.replace(record, value=value)


def _one_sided(turns: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> bool:
    """Whether all speakers are known and nobody asked, or nobody answered."""
    sides, anybody = options["speakers"], options["speakers"].get("*")
    names = {str(turn["role"]).casefold() for turn in turns}
    roles = {sides.get(name) or ROLES.get(name) or anybody for name in names}
    return None not in roles and not {"user", "assistant"} <= roles


def _gather(
    record: Record, name: str | None, kind: str | None, trim: bool, options: Mapping[str, Any], got: _Gathered
) -> None:
    """One record into `got`, or a ValueError with the problem."""
    if record.error:
        raise ValueError(record.error)
    fields = formats.as_fields(record.value, **options)
    images = formats.images_beside(fields)
    found = name or formats.detect_fields(fields)
    if kind == "texts" and found == "transcript":
        found = "text"
    if found == "text" and kind != "texts" and not name and (who := speaks_alone(fields.record)) is not None:
        raise ValueError(
            f"record: expected a text by itself, or a dialogue, got one message (of '{who}'); put the messages of a "
            "dialogue together (rows are gathered by a column conversation_id), or import it with --kind texts"
        )
    if not images and kind in (None, "rankings") and (scored := scored_answer(fields, found, kind)) is not None:
        got.formats["scored"] += 1
        got.scored.append((record.line, scored))
        return
    parsed = formats.with_images(formats.IMPORTERS[found](fields), images, fields)
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
    got.kind(wanted).add(record.line, kept)


def _note_kind(parsed: Parsed, kind: str, notes: Counter[str]) -> None:
    """Count the parts cut off a record to make it one of `kind`."""
    if kind == "prompts" and not (isinstance(parsed, Conversation) and parsed.is_prompt):
        notes["answers cut off prompts"] += 1
    elif kind == "demonstrations" and isinstance(parsed, Ranking):
        notes["best answers of rankings taken, the others left out"] += 1
    elif kind == "demonstrations" and isinstance(parsed, Conversation) and parsed.is_prompt:
        notes["last turns of the user cut off"] += 1


def _say_scores(got: _Gathered, reading: Reading) -> None:
    """Note fields of scores beside single answers, which suggest that some answers are bad."""
    for key, (n, low, high) in got.single.items():
        reading.tell(
            f"caution: '{key}' scores {n} single answers from {low:g} to {high:g} and is not "
            "used: good and bad ones are learned alike; leave the bad ones out before, or see whether --kind rankings "
            "finds several answers to one prompt"
        )


def _group(got: _Gathered) -> None:
    """Turn single answers with scores into rankings of the answers to the same prompt."""
    if got.scored:
        alone = 0
        for line, ranking in rankings_of(got.scored):
            if ranking is None:
                alone += 1
            else:
                got.kind("rankings").add(line, ranking)
        got.notes["answers with a score each gathered into rankings by their prompt"] += len(got.scored) - alone
        got.left_out["prompts with one scored answer alone"] += alone


def _settle_kind(path: Path, got: _Gathered, skip_bad: bool) -> str:
    """The kind of most records. Those of other kinds are rejected, or a ValueError without `skip_bad`."""
    if not got.kinds:
        raise ValueError(f"{path}: expected at least one good record, found none{_why(got)}")
    kind = max(got.kinds, key=lambda k: len(got.kinds[k].lines))  # the first kind among equally frequent ones
    others = {k: found for k, found in got.kinds.items() if k != kind}
    if others and not skip_bad:
        counts = ", ".join(f"{len(f.lines)} {k} (first at line {f.lines[0]})" for k, f in got.kinds.items())
        raise ValueError(
            f"{path}: expected records of one kind, got {counts}; import it once per kind with --kind and --skip-bad, "
            f"or with --skip-bad alone to keep the {kind}"
        )
    for other, found in others.items():
        for line, parsed in zip(found.lines, found.records, strict=True):
            got.rejected.append(Rejected(line, f"{other} in a file of {kind}", formats.to_line(parsed)))
    got.rejected = in_order(got.rejected, lambda r: r.line, got.make)
    return kind


def _why(got: _Gathered) -> str:
    """The reason why no record of a file is left."""
    if got.rejected:
        return f"; the first bad one is line {got.rejected[0].line}: {got.rejected[0].reason}"
    parts = [f"; {n} {what}" for what, n in got.notes.most_common() if n and " left out" in what]
    return "".join([f"; left out {n}: {reason}" for reason, n in got.left_out.most_common()] + parts)


def _most_frequent(taken: Counter[tuple[str, str]]) -> dict[str, str]:
    """Role -> its fields, the most frequent first."""
    out: dict[str, list[str]] = {}
    for (role, name), _ in taken.most_common():
        out.setdefault(role, []).append(name)
    return {role: " or ".join(names) for role, names in out.items()}
