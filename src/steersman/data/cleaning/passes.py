"""Runs the steps over a data set: record by record, in as few readings as steps that must see all allow."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from steersman.artifact.files import atomic_write, file_sha256, write_json
from steersman.data.cleaning.cleaners import Embed, Sees, Step, Wishes
from steersman.data.cleaning.outcomes import Counts, Ledger
from steersman.data.dataset import DatasetInfo, stream_records, write_dataset
from steersman.data.formats import Parsed, from_steersman, to_line
from steersman.data.pii import vault
from steersman.messages import Conversation

Numbered = tuple[int, Parsed, Mapping[str, str]]
"""A record's number in the original set, from 1 on; the record as it is by now; what its marks stand for."""


@dataclass(frozen=True)
class Source:
    """Records that are no data set; `path`: beside it lie temporary files."""

    path: Path
    read: Callable[[], Iterable[Parsed]]


@dataclass(frozen=True)
class Cleaning:
    """What a cleaning is of and by."""

    source: DatasetInfo | Source
    steps: Sequence[Step]
    wishes: Wishes
    tests: Sequence[Conversation] = ()
    embed: Embed | None = None
    tick: Callable[[int], None] = lambda n: None
    """Told how many records have been read, in all passes (`readings` says how many those are)."""


@dataclass(frozen=True)
class Cleaned:
    """What the steps did, and the new set's manifest (None: nothing was written)."""

    source: DatasetInfo
    counts: Sequence[Counts]
    info: DatasetInfo | None = None

    @property
    def kept(self) -> int:
        return self.counts[-1].kept if self.counts else self.source.count

    def to_json(self) -> dict[str, Any]:
        out = {"from": self.source.name, "read": self.source.count, "kept": self.kept}
        return out | {"steps": [c.to_json() for c in self.counts]}


def readings(what: Cleaning) -> int:
    """How often all records that are left are read."""
    groups = _groups([(step, Counts(step.name)) for step in what.steps], what.embed is not None)
    return len(groups) + sum(_sees_all(step, what.embed is not None) for group in groups for step, _ in group)


def preview(what: Cleaning) -> Cleaned:
    """What cleaning would do, with nothing written."""
    source, counts = _set_of(what), [Counts(step.name) for step in what.steps]
    with Work(what, counts, Ledger(None)) as work:
        for _ in work.results():
            pass
    return Cleaned(source, counts)


def _set_of(what: Cleaning) -> DatasetInfo:
    assert not isinstance(what.source, Source), "only a data set is cleaned into a data set"
    return what.source


def clean_dataset(what: Cleaning, into: str, *, replace: bool = False, key: Path | None = None) -> Cleaned:
    """Write the cleaned set as `into` with what tells of it. Raises ValueError where nothing is left."""
    source, counts = _set_of(what), [Counts(step.name) for step in what.steps]
    path = source.path.with_name(f"{into}.jsonl")
    if into == source.name:
        raise ValueError(f"--into {into}: expected another name than the data set's own, which stays as it is")
    with contextlib.ExitStack() as files:
        lock = vault.key_of(key, make=True) if key else None
        told = files.enter_context(atomic_write(path.with_name(f"{into}.cleaning.jsonl")))
        hidden = files.enter_context(atomic_write(vault.vault_path(path), "wb", words=True)) if lock else None
        work = files.enter_context(Work(what, counts, Ledger(told)))

        def records() -> Iterator[Parsed]:
            for place, (_, record, marks) in enumerate(work.results(), 1):
                if lock and hidden and marks:
                    vault.lock_line(hidden, lock, place, marks)
                yield record
            if not any(c.kept for c in counts[-1:]):
                raise ValueError(f"{source.name}: nothing is left after cleaning; {_why(counts)}")
            config["cleaned"]["steps"] = [brief(c) for c in counts]
            skipped.update({f"{c.name}: {why}": n for c in counts for why, n in c.dropped.most_common()})
            changed.update({f"{c.name}: {what}": n for c in counts for what, n in c.changed.most_common()})

        skipped: dict[str, int] = {}
        changed: dict[str, int] = {}
        config: dict[str, Any] = {
            "cleaned": {"from": source.name, "read": source.count, "wishes": what.wishes.to_json()},
            "made_of": {source.name: source.sha256},
        }
        info = write_dataset(
            source.path.parent,
            into,
            source.kind,
            source.split,
            records(),
            f"{source.name} (cleaned)",
            _Late(config),
            replace=replace,
            purpose=source.purpose,
            simulated=source.simulated,
            source_sha256=source.sha256,
            skipped=_Late(skipped),
            changed=_Late(changed),
        )
    if key is None:
        vault.vault_path(path).unlink(missing_ok=True)  # of an earlier cleaning under this name
    done = Cleaned(source, counts, info)
    ledger = path.with_name(f"{into}.cleaning.jsonl")
    write_json(
        path.with_name(f"{into}.cleaning.json"), done.to_json() | {"ledger_sha256": file_sha256(ledger)}, words=True
    )
    return done


class _Late(Mapping[str, Any]):
    """A mapping that is filled while records are written, and read after the last one."""

    def __init__(self, of: dict[str, Any]) -> None:
        self.of = of

    def __getitem__(self, key: str) -> Any:
        return self.of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)


def brief(counts: Counts) -> dict[str, Any]:
    """A step's counts for the manifest, without examples."""
    return {k: v for k, v in counts.to_json().items() if k != "examples"}


def _why(counts: Iterable[Counts]) -> str:
    return "; ".join(f"{c.name} dropped {n}: {why}" for c in counts for why, n in c.dropped.most_common())


class Work:
    """The readings: records between two of them lie in a temporary folder beside the data, its owner's alone."""

    def __init__(self, what: Cleaning, counts: Sequence[Counts], ledger: Ledger) -> None:
        self.what, self.counts, self.ledger, self.read = what, counts, ledger, 0
        self.masks = next((s.name for s in what.steps if s.name == "pii"), "")

    def __enter__(self) -> Work:
        parent = self.what.source.path.parent
        self.folder = tempfile.TemporaryDirectory(prefix=".cleaning-", suffix=".tmp", dir=parent)
        self.place = Path(self.folder.name)
        return self

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()

    def results(self) -> Iterator[Numbered]:
        """Every record that is left."""
        source: Callable[[], Iterable[Numbered]] = self._original
        groups = _groups(list(zip(self.what.steps, self.counts, strict=True)), self.what.embed is not None)
        for i, group in enumerate(groups[:-1]):
            spool = self.place / f"{i}.jsonl"
            with open(spool, "w", encoding="utf-8") as file:
                _spool(file, self._passed(source, group))
            if i:
                (self.place / f"{i - 1}.jsonl").unlink()
            source = functools.partial(_unspooled, spool)
        yield from self._passed(source, groups[-1])

    def _original(self) -> Iterator[Numbered]:
        source = self.what.source
        records = source.read() if isinstance(source, Source) else stream_records(source.path)
        yield from ((number, record, {}) for number, record in enumerate(records, 1))

    def _counted(self, source: Iterable[Numbered]) -> Iterator[Numbered]:
        for item in source:
            yield item
            self.read += 1
            self.what.tick(self.read)

    def _passed(
        self, source: Callable[[], Iterable[Numbered]], group: Sequence[tuple[Step, Counts]]
    ) -> Iterator[Numbered]:
        def records() -> Iterator[Parsed]:
            return (record for _, record, _ in self._counted(source()))

        what = self.what
        sees = Sees(what.wishes, records, self.place, what.tests, what.embed)
        judges = [(step, counts, step.judge(sees)) for step, counts in group]
        for place, (number, record, marks) in enumerate(self._counted(source())):
            left: Parsed | None = record
            for step, counts, judge in judges:
                assert left is not None
                outcome = judge(place, left)
                counts.add(left, outcome, self._shown)
                self.ledger.add(number, left, step.name, outcome)
                left, marks = outcome.record, {**marks, **outcome.marks}
                if left is None:
                    break
            if left is not None:
                yield number, left, marks

    def _shown(self, text: str) -> str:
        """A text for an example: masked where the user has personal data masked."""
        if not self.masks:
            return text
        from steersman.data.pii.masking import mask

        return str(mask(text, self.what.wishes.kinds).record)


def _sees_all(step: Step, embed: bool) -> bool:
    return step.whole and (embed or not step.embeds)


def _groups(steps: Sequence[tuple[Step, Counts]], embed: bool) -> list[list[tuple[Step, Counts]]]:
    """Steps that one reading serves: a step that must see all begins a new one. Without steps there is one reading."""
    out: list[list[tuple[Step, Counts]]] = []
    for step, counts in steps:
        if _sees_all(step, embed) or not out:
            out.append([])
        out[-1].append((step, counts))
    return out or [[]]


def _spool(file: IO[str], passed: Iterable[Numbered]) -> None:
    for number, record, marks in passed:
        file.write(json.dumps([number, dict(marks)], ensure_ascii=False) + "\n" + to_line(record) + "\n")


def _unspooled(spool: Path) -> Iterator[Numbered]:
    with open(spool, encoding="utf-8") as file:
        for head in file:
            number, marks = json.loads(head)
            value = json.loads(next(file))
            yield number, value["text"] if "text" in value else from_steersman(value), marks
