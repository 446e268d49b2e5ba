"""Data sets of a workspace: data/NAME.jsonl, immutable, with NAME.manifest.json beside it.

The manifest holds the set's use (kind, split, purpose), its source, and the hash of its content.
Both files appear together or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from steersman import __version__, locks
from steersman.artifact.files import atomic_write, file_sha256, mode_of, naming, now, read_object
from steersman.artifact.unfinished import put_aside
from steersman.artifact.workspace import Workspace
from steersman.data.clean import clean, distinct_answers, tongue_of, words_of
from steersman.data.formats import Parsed, to_line
from steersman.data.kinds import DIALOGUES, JUDGED, KINDS
from steersman.data.made import is_augmented
from steersman.data.written import parsed, read_jsonl
from steersman.types import Candidates, Conversation, Feedback, Ranking

PURPOSES = ("any", "rank", "ppo")
REPLACING_SECONDS = 0.3
NAME = re.compile(r"\w[\w.-]*")
WAS = "was"
"""Key of a manifest's `config`: hashes of the same set before records that people deleted were taken out."""
RESERVED = (".rejected", ".manifest", ".cleaning", ".jsonl")
"""Suffixes that a name must not have, since files beside a data set use them."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set's manifest, and the path of its records."""

    path: Path
    name: str
    kind: str
    split: str
    purpose: str
    count: int
    sha256: str
    source: str
    source_sha256: str
    created: str
    code_version: str
    simulated: bool
    languages: Mapping[str, int]
    skipped: Mapping[str, int]
    config: Mapping[str, Any]
    changed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What was done to records on their way in -> number of times; older manifests do not say it."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "path"}


def manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.manifest.json")


def read_info(path: Path) -> DatasetInfo:
    """The manifest beside data/NAME.jsonl. Raises ValueError where it is missing or damaged."""
    where = manifest_path(path)
    if not where.is_file():
        raise ValueError(f"{where}: no such file; {path.name} is no data set of this workspace")
    again = "import it again with --replace"
    try:
        raw = read_object(where, "a data set's manifest")
    except ValueError as error:
        raise ValueError(f"{error}; {again}") from None
    known = {f.name: f.type for f in dataclasses.fields(DatasetInfo) if f.name != "path"}
    kinds = {"str": str, "int": int, "bool": bool}
    raw.setdefault("changed", {})
    for name in (*known, *raw):
        kind = kinds.get(str(known.get(name)), dict)
        if name not in known or name not in raw or type(raw[name]) is not kind:
            found = type(raw[name]).__name__ if name in raw else "nothing"
            expected = kind.__name__ if name in known else "no such field"
            raise ValueError(f"{where}: expected a data set's manifest: {name}: {expected}, found {found}; {again}")
    counts = [raw["count"], *raw["languages"].values(), *raw["skipped"].values(), *raw["changed"].values()]
    if not all(type(n) is int and 0 <= n < 2**63 for n in counts):
        raise ValueError(f"{where}: expected a data set's manifest: counts of records, found {counts}; {again}")
    return DatasetInfo(path, **raw)


def _existing(path: Path, replace: bool) -> DatasetInfo | None:
    """The existing data set at `path`, or None. With `replace` a damaged one is put aside."""
    try:
        return read_info(path) if path.is_file() and manifest_path(path).is_file() else None
    except ValueError:
        if not replace:
            raise
        for file in (path, manifest_path(path)):
            put_aside(file)
        return None


def check_name(name: str, by: str = "--name") -> str:
    """The name; ValueError where it is not allowed for a data set. `by`: the option that gave it."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{by} {name}: expected letters, digits, '-', '_' and '.', beginning with a letter or digit")
    if (ending := next((e for e in RESERVED if name.endswith(e)), None)) is not None:
        raise ValueError(
            f"{by} {name}: expected a name that does not end in '{ending}', which is for files beside data"
        )
    return name


def remove_dataset(info: DatasetInfo) -> None:
    """Delete a data set and the files that tell of it; the manifest goes first, so no half data set remains."""
    manifest_path(info.path).unlink(missing_ok=True)
    info.path.with_name(f"{info.name}.vault").unlink(missing_ok=True)
    remove_reports(info)
    info.path.unlink(missing_ok=True)


def remove_reports(info: DatasetInfo) -> None:
    """Delete what tells of a data set's records in their own words."""
    for ending in (".cleaning.json", ".report.html", ".report.en.html", ".report.zh.html"):
        info.path.with_name(info.name + ending).unlink(missing_ok=True)
    for path in (info.path.with_name(f"{info.name}{e}.jsonl") for e in (".rejected", ".cleaning")):
        if not manifest_path(path).is_file():
            path.unlink(missing_ok=True)


class DataOrigin(TypedDict, total=False):
    """Fields of a data set's manifest on its origin, besides `source`."""

    purpose: str
    source_sha256: str
    skipped: Mapping[str, int]
    changed: Mapping[str, int]
    simulated: bool


def write_dataset(
    folder: Path,
    name: str,
    kind: str,
    split: str,
    records: Iterable[Parsed],
    source: str,
    config: Mapping[str, Any],
    *,
    replace: bool = False,
    **origin: Unpack[DataOrigin],
) -> DatasetInfo:
    """Write `folder`/NAME.jsonl and its manifest, or neither.

    The same content under the same name is left unchanged. Raises ValueError on a bad name or kind, on no records,
    and on other content under an existing name (unless `replace`).
    """
    check_name(name)
    for what, value, known in (("kind", kind, KINDS), ("purpose", origin.get("purpose", "any"), PURPOSES)):
        if value not in known:
            raise ValueError(f"{what} {value!r}: expected one of {', '.join(known)}")
    path = folder / f"{name}.jsonl"
    if split != "train":
        records = map(_no_augmented, records)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        count, languages, digest = _written(temporary, path, records)
        if not count:
            raise ValueError(f"{source}: no {kind} to write as {name}; expected at least one record")
        info = DatasetInfo(
            path=path,
            name=name,
            kind=kind,
            split=split,
            purpose=origin.get("purpose", "any"),
            count=count,
            sha256=digest,
            source=source,
            source_sha256=origin.get("source_sha256", ""),
            created=now(),
            code_version=__version__,
            simulated=origin.get("simulated", False),
            languages=languages,
            skipped=dict(origin.get("skipped", {})),
            config=dict(config),
            changed={what: n for what, n in origin.get("changed", {}).items() if n > 0},
        )
        return _place(info, temporary, replace)
    finally:
        temporary.unlink(missing_ok=True)


def _written(temporary: Path, path: Path, records: Iterable[Parsed]) -> tuple[int, dict[str, int], str]:
    """Records written to a temporary sibling of `path`, one at a time: their number, languages and hash."""
    count, languages, digest = 0, Counter[str](), hashlib.sha256()
    with naming(path), open(temporary, "wb") as file:
        temporary.chmod(mode_of(path, words=True))
        for record in records:
            line = to_line(record).encode() + b"\n"
            file.write(line)
            digest.update(line)
            languages[tongue_of(words_of(record))] += 1
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count, dict(languages), digest.hexdigest()


def _no_augmented(record: Parsed) -> Parsed:
    if is_augmented(record):
        raise ValueError(
            f"record {getattr(record, 'id', '')!r}: expected no augmented record outside of the training split: "
            "nothing is measured on variants of what is learned"
        )
    return record


def _place(info: DatasetInfo, temporary: Path, replace: bool) -> DatasetInfo:
    """Put the written records and a manifest in place, unless the same content exists already."""
    with locks.brief(info.path.parent):
        old = _existing(info.path, replace)
        if old is not None:
            if (old.sha256, old.kind, old.split, old.purpose) == (info.sha256, info.kind, info.split, info.purpose):
                if file_sha256(info.path) == old.sha256:
                    return old
                put_aside(info.path)
            elif not replace:
                raise ValueError(
                    f"{info.path}: a data set of this name exists with other content ({old.count} {old.kind}, "
                    f"{old.split}); expected --replace to replace it, or another name (--name, --into)"
                )
        # both temporary files are whole before either is renamed, so that a full disk leaves the old pair intact
        with atomic_write(manifest_path(info.path)) as manifest:
            json.dump(info.to_json(), manifest, ensure_ascii=False, indent=1, sort_keys=True)
            manifest.write("\n")
            manifest.flush()
            os.fsync(manifest.fileno())
            temporary.replace(info.path)
    return info


def stream_records(path: Path, max_line_mb: float = 1024.0) -> Iterator[Parsed]:
    """A data set's records one at a time, as they were written. Raises ValueError where it is damaged."""
    _checked_whole(path)
    for line, value in read_jsonl(path, max_line_mb):
        yield parsed(value, path, line)


def datasets(workspace: Workspace) -> list[DatasetInfo]:
    """Every data set of the workspace, by name."""
    if not workspace.data.is_dir():
        return []
    return [read_info(p) for p in sorted(workspace.data.glob("*.jsonl")) if manifest_path(p).is_file()]


def superseded(infos: Iterable[DatasetInfo]) -> dict[str, list[str]]:
    """Sets that others were cleaned, split or mixed from, as they are now -> those others.

    What was made of a set takes its place: both would be learned otherwise.
    """
    known = {info.name: info for info in infos}
    out: dict[str, list[str]] = {}
    for info in known.values():
        for name, sha256 in info.config.get("made_of", {}).items():
            of = known.get(name)
            if of is not None and of.kind == info.kind and sha256 in (of.sha256, *of.config.get(WAS, ())):
                out.setdefault(name, []).append(info.name)
    return out


def find(workspace: Workspace, kind: str, split: str, purpose: str | None = None) -> list[Path]:
    """Files of the data sets of this kind and split; with `purpose`, sets made for that purpose or for any.

    Sets that others were made of are left out (see `superseded`).
    """
    every = datasets(workspace)
    gone = superseded(every)
    infos = [info for info in every if (info.kind, info.split) == (kind, split) and info.name not in gone]
    return [info.path for info in infos if purpose is None or info.purpose in (purpose, "any")]


def _checked_whole(path: Path) -> None:
    """ValueError where a data set's content differs from its manifest's hash; files without a manifest pass."""
    if manifest_path(path).is_file() and file_sha256(path) != read_info(path).sha256:
        time.sleep(REPLACING_SECONDS)  # the set may be being replaced right now, by two renamings
        if file_sha256(path) == read_info(path).sha256:
            return
        raise ValueError(
            f"{path}: its content differs from its manifest (truncated or altered); import it again with --replace"
        )


Tell = Callable[[str], None]
"""Receives a loader's note on records left out or changed."""


def unsaid(text: str) -> None:
    """A `tell` that drops notes, for callers whose records were cleaned and counted before."""


def _load(
    path: Path, kind: str, max_line_mb: float, encoding: str, tell: Tell, left_out: Counter[str] | None
) -> list[Parsed]:
    """Records of a data set unchanged, of any other file cleaned as by `data import`, but with duplicates kept.

    `left_out` counts the missing records by reason. Raises ValueError 'file:line: what was expected', and where
    nothing is left.
    """
    from steersman.data.importing import parse_file  # all that reads files of others, which few commands need

    _checked_whole(path)
    found = parse_file(path, kind, max_line_mb=max_line_mb, encoding=encoding, tell=tell)
    changed = Counter(found.changed)
    if set(found.formats) == {"steersman"}:  # records written by us need no cleaning, except for pairs of equal answers
        records, dropped = _distinct(found.records, changed)
    else:
        records, dropped = clean(found.records, changed, unique=False)
    counts = Counter(found.left_out) + Counter(dropped)
    if left_out is not None:
        left_out.update(counts)
    said = [f"left out {n}: {why}" for why, n in counts.items()] + [f"{why} ({n})" for why, n in changed.items() if n]
    if not records:
        raise ValueError(f"{path}: expected at least one good record, found none; {'; '.join(said)}")
    if said:
        tell(f"note: {path}: {'; '.join(said)}")
    return records


def _distinct(records: Iterable[Parsed], changed: Counter[str]) -> tuple[list[Parsed], dict[str, int]]:
    """Our own rankings without duplicate answers, other records unchanged; and the number left without a pair."""
    kept = [distinct_answers(r, changed) if isinstance(r, Ranking) and _repeats(r) else r for r in records]
    left = [r for r in kept if r is not None]
    gone = len(kept) - len(left)
    return left, {"rankings whose answers are all the same": gone} if gone else {}


def _repeats(ranking: Ranking) -> bool:
    return len(set(ranking.answers)) < len(ranking.answers)


def load_conversations(
    path: Path,
    kind: str | None = None,
    max_line_mb: float = 8.0,
    encoding: str = "utf-8",
    tell: Tell = unsaid,
    left_out: Counter[str] | None = None,
) -> list[Conversation]:
    """Dialogues of a data set, or of a file in any recognised format.

    `kind` "demonstrations" requires them to end with the assistant, "prompts" with the user (a final answer
    is cut off); None leaves dialogues unchanged. Raises ValueError 'file:line: what was expected'.
    """
    records = _load(path, kind or DIALOGUES, max_line_mb, encoding, tell, left_out)
    return [record for record in records if isinstance(record, Conversation)]


def load_rankings(
    path: Path,
    max_line_mb: float = 8.0,
    encoding: str = "utf-8",
    tell: Tell = unsaid,
    left_out: Counter[str] | None = None,
) -> list[Ranking]:
    """Rankings of a data set, of an export, or of a file of comparisons in any format that can be recognised."""
    records = _load(path, "rankings", max_line_mb, encoding, tell, left_out)
    return [record for record in records if isinstance(record, Ranking)]


def load_judged(
    path: Path,
    kind: str = JUDGED,
    max_line_mb: float = 8.0,
    encoding: str = "utf-8",
    tell: Tell = unsaid,
    left_out: Counter[str] | None = None,
) -> list[Ranking | Feedback]:
    """Feedback (`kind` "feedback"), or feedback and rankings, of a data set, an export or a file in a known format."""
    records = _load(path, kind, max_line_mb, encoding, tell, left_out)
    return [record for record in records if isinstance(record, Ranking | Feedback)]


def load_candidates(path: Path, max_line_mb: float = 64.0) -> Iterator[Candidates]:
    """What `steersman sample` wrote: prompts with their answers. Raises ValueError 'file:line: what was expected'."""
    for line, value in read_jsonl(path, max_line_mb):
        try:
            yield Candidates.from_json(value)
        except ValueError as error:
            raise ValueError(f"{path}:{line}: {error}") from None
