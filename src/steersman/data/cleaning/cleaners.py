"""The steps of cleaning: a name, what it does, and how it judges a record.

Why so: decision 71 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steersman.data import near
from steersman.data.clean import text_of, words_of
from steersman.data.cleaning import quality, tongues, unsafe
from steersman.data.cleaning.outcomes import Judge, Outcome
from steersman.data.contamination import Finder
from steersman.data.formats import Parsed
from steersman.data.pii import KINDS
from steersman.data.shelves import Shelf
from steersman.messages import Conversation
from steersman.text.folding import squeezed

Embed = Callable[[Sequence[str]], np.ndarray[Any, np.dtype[Any]]]
"""Texts to rows, as a model has them: what all texts have in common is taken off here."""


@dataclass(frozen=True)
class Wishes:
    """What the user may ask of the steps."""

    languages: tuple[str, ...] = ()
    """Codes of the languages to keep; () keeps all."""
    min_chars: int = 2
    """Least characters of an answer."""
    max_chars: int = 0
    """Most characters of a record; 0: any."""
    near: float = near.THRESHOLD
    kinds: tuple[str, ...] = KINDS
    """Kinds of personal data to mask."""
    drop_unsafe: bool = False
    similar: float = 0.85
    """Cosine from which on two prompts are the same to `embed`."""

    def __post_init__(self) -> None:
        tongues.check(list(self.languages))
        for name, good, expected in (
            ("--near", 0.5 <= self.near <= 1, "a share from 0.5 to 1"),
            ("--min-chars", self.min_chars >= 0, "a number of characters"),
            ("--max-chars", self.max_chars >= 0, "a number of characters"),
            ("--similar", 0 < self.similar <= 1, "a cosine above 0 and at most 1"),
        ):
            if not good:
                raise ValueError(f"{name}: expected {expected}")
        if unknown := set(self.kinds) - set(KINDS):
            raise ValueError(f"--mask {','.join(sorted(unknown))}: expected kinds of {', '.join(KINDS)}")

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


@dataclass(frozen=True)
class Sees:
    """What a step may look at: wishes, all records that reach it, test prompts, a folder for files of its own."""

    wishes: Wishes
    records: Callable[[], Iterable[Parsed]]
    folder: Path
    tests: Sequence[Conversation] = ()
    embed: Embed | None = None


@dataclass(frozen=True)
class Step:
    name: str
    about: str
    judge: Callable[[Sees], Judge]
    whole: bool = False
    """It reads all records that reach it before it judges the first."""
    embeds: bool = False
    """That only where texts are embedded."""


def _name(record: Parsed, place: int) -> str:
    return f"text {place + 1}" if isinstance(record, str) or not record.id else record.id


def _exact(sees: Sees) -> Judge:
    return _repeats(_first_of(map(text_of, sees.records())), "the same as an earlier record")


def _first_of(texts: Iterable[str]) -> near.Numbers:
    """For each text the first that is the same, or -1. Digests are compared by sorting, so that memory grows by some 30
    bytes a text, whatever its length."""
    digests = np.fromiter((int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in texts), np.uint64)
    order = np.argsort(digests, kind="stable").astype(np.int32)
    digests = digests[order]
    same = np.flatnonzero(digests[1:] == digests[:-1]) + 1
    first = np.full(len(order), -1, np.int32)
    for place in same:
        before = order[place - 1]
        first[order[place]] = before if first[before] < 0 else first[before]
    return first


def _near(sees: Sees) -> Judge:
    with near.signatures(map(words_of, sees.records()), sees.folder) as found:
        of = near.repeated(found, sees.wishes.near)
        short = zip(sees.records(), found.known, strict=True)
        keys = (f"\0{i}" if known else squeezed(text_of(record)) for i, (record, known) in enumerate(short))
        of = np.where(found.known, of, _first_of(keys))  # of few runs: the same but for width, case and white space
    return _repeats(of, "nearly the same as an earlier record")


def _repeats(of: near.Numbers, why: str) -> Judge:
    """Drops records that repeat an earlier one that stays: `of` says which, -1 for none."""
    firsts = np.unique(of[of >= 0])
    names = Shelf[str]()  # of the firsts, in their order

    def judge(place: int, record: Parsed) -> Outcome:
        if of[place] >= 0:
            return Outcome(None, why, of=names[int(np.searchsorted(firsts, of[place]))])
        if len(names) < len(firsts) and firsts[len(names)] == place:
            names.append(_name(record, place))
        return Outcome(record)

    return judge


def _language(sees: Sees) -> Judge:
    wanted = sees.wishes.languages

    def judge(place: int, record: Parsed) -> Outcome:
        code = tongues.tongue(words_of(record))
        if wanted and code not in (*wanted, tongues.UNSURE):
            return Outcome(None, f"in another language ({code})", counted=code)
        return Outcome(record, counted=code)

    return judge


def _length(sees: Sees) -> Judge:
    least, most = sees.wishes.min_chars, sees.wishes.max_chars

    def judge(place: int, record: Parsed) -> Outcome:
        fault = quality.length_fault(record, least, most)
        return Outcome(None if fault else record, fault)

    return judge


def _quality(sees: Sees) -> Judge:
    def judge(place: int, record: Parsed) -> Outcome:
        fault = quality.quality_fault(record)
        return Outcome(None, fault) if fault else _flagged(record, quality.remarks(record))

    return judge


def _unsafe(sees: Sees) -> Judge:
    def judge(place: int, record: Parsed) -> Outcome:
        found = unsafe.flags(words_of(record))
        if found and sees.wishes.drop_unsafe:
            return Outcome(None, found[0])
        return _flagged(record, found)

    return judge


def _flagged(record: Parsed, found: tuple[str, ...]) -> Outcome:
    """The record with flags in its meta data, where it has some (`meta["flags"]`)."""
    if found and isinstance(record, Conversation):
        every = list(dict.fromkeys([*record.meta.get("flags", ()), *found]))
        record = dataclasses.replace(record, meta={**record.meta, "flags": every})
    return Outcome(record, flagged=found)


def _pii(sees: Sees) -> Judge:
    from steersman.data.pii.masking import mask  # lists of names take a second

    def judge(place: int, record: Parsed) -> Outcome:
        masked = mask(record, sees.wishes.kinds)
        changed = {f"{kind} masked": n for kind, n in masked.counts.items()}
        return Outcome(masked.record, changed=changed, marks=masked.kept)

    return judge


def _contamination(sees: Sees) -> Judge:
    finder = Finder(sees.tests)
    alike = _alike(sees) if sees.embed else {}

    def judge(place: int, record: Parsed) -> Outcome:
        for how, found in (("", finder.exact(record)), ("nearly ", finder.near(record))):
            if found:
                return Outcome(None, f"{how}holds a test prompt", of=sees.tests[min(found)].id)
        if place in alike:
            return Outcome(None, "asks what a test prompt asks, to the model", of=sees.tests[alike[place]].id)
        return Outcome(record)

    return judge


def _alike(sees: Sees) -> Mapping[int, int]:
    """Places of records whose prompt a model puts beside a test prompt -> that prompt."""
    assert sees.embed is not None
    tests = sees.embed([quality.asked_in(p) for p in sees.tests])
    out: dict[int, int] = {}
    middle, at = None, 0
    for batch in near.batches(sees.records(), 256):
        rows = sees.embed([quality.asked_in(r) or words_of(r)[:2000] for r in batch])
        if middle is None:  # of the tests and the first records: hidden states of all texts point the same way
            middle = np.concatenate([tests, rows]).mean(axis=0)
        cosines = _unit(rows - middle) @ _unit(tests - middle).T
        best = cosines.argmax(axis=1)
        for i in np.flatnonzero(cosines.max(axis=1) >= sees.wishes.similar):
            out[at + int(i)] = int(best[i])
        at += len(batch)
    return out


def _unit(rows: near.Numbers) -> near.Numbers:
    out: near.Numbers = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return out


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("exact", "drops what says the same as an earlier record", _exact, whole=True),
        Step("language", "counts languages; with --languages drops the others", _language),
        Step("length", "drops answers below --min-chars and records above --max-chars", _length),
        Step("quality", "drops broken characters, repetition, markup; flags what looks like a template", _quality),
        Step("near", "drops what nearly repeats an earlier record (--near)", _near, whole=True),
        Step("contamination", "drops what holds a prompt of the workspace's test sets", _contamination, True, True),
        Step("unsafe", "flags what may be unsafe to learn; with --drop-unsafe drops it", _unsafe),
        Step("pii", "masks names, phones, ids, cards, IBANs, addresses, e-mail, orders (zh, en, de)", _pii),
    )
}


def chosen(names: Sequence[str]) -> list[Step]:
    """The named steps in the user's order; all of them for no names. Raises ValueError for others."""
    for name in names:
        if name not in STEPS:
            raise ValueError(f"--steps {name}: expected some of {', '.join(STEPS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"--steps {','.join(names)}: expected each step once")
    return [STEPS[name] for name in names] if names else list(STEPS.values())
