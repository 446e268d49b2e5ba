"""Deterministic splits: a record's split depends on its content only, so equal records are always in the same split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field

from steersman import progress
from steersman.data.clean import text_of
from steersman.data.formats import Parsed
from steersman.data.made import is_augmented, origin_key
from steersman.types import Feedback, Ranking

SPLITS = ("train", "validation", "test")
ENOUGH = 20
"""From this number of records on, every split gets some."""


def split_by_hash(key: str, fractions: Mapping[str, float]) -> str:
    """The split of `key`: the same key always goes to the same one, in the shares `fractions` (which add up to 1).

    Growing one fraction moves only the keys at its border, so splits stay comparable between versions of a data set.
    """
    total = sum(fractions.values())
    if not fractions or abs(total - 1) > 1e-6 or any(f < 0 for f in fractions.values()):
        raise ValueError(f"split fractions: expected shares of at least 0 that add up to 1, got {dict(fractions)}")
    place, upto = _place(key), 0.0
    for name, fraction in fractions.items():
        upto += fraction
        if place < upto:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]


def _place(key: str) -> float:
    """A key's hash as a number from 0 to 1."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split_key(record: Parsed) -> str:
    """The key that decides a record's split: the first user turn (or the text), ignoring case and white space.

    Continuations of one dialogue, rankings of one prompt, and what was made of a record by augmentation share the key.
    """
    if (key := origin_key(record)) is not None:
        return key
    if isinstance(record, str):
        text = text_of(record)
    else:
        messages = record.prompt.messages if isinstance(record, Ranking | Feedback) else record.messages
        text = next((m.text for m in messages if m.role == "user"), "")
    return " ".join(text.casefold().split())


def split_records(records: Iterable[Parsed], fractions: Mapping[str, float], least: int = 0) -> dict[str, list[Parsed]]:
    """Records by split, order kept; every named split is a key, though it may be empty.

    With `least`, and `ENOUGH` records or more, a split that would get fewer is filled up with the records nearest
    to its border, as long as most records keep their split; larger data sets move fewer. Augmented records whose
    original is not in the training split are left out, and their number is said.
    """
    every = list(records)
    plan = planned(every, fractions, least)
    return {split: list(plan.of(every, split)) for split in fractions}


@dataclass(frozen=True)
class Plan:
    """Where the records of a set go: by their hash, but for the keys that were moved."""

    fractions: Mapping[str, float]
    moved: Mapping[str, str]
    sizes: Counter[str] = field(default_factory=Counter)

    def split(self, record: Parsed) -> str:
        """The record's split; '' for an augmented one that is held out."""
        key = split_key(record)
        found = self.moved.get(key) or split_by_hash(key, self.fractions)
        return "" if found != "train" and is_augmented(record) else found

    def of(self, records: Iterable[Parsed], split: str) -> Iterator[Parsed]:
        return (record for record in records if self.split(record) == split)


def planned(records: Iterable[Parsed], fractions: Mapping[str, float], least: int = 0) -> Plan:
    """The plan of `split_records`, by reading the records twice at most; says how many augmented ones are left out.

    Keys are held in memory only where a split falls short of `least`, which in large sets needs nearly equal keys.
    """
    plan = Plan(fractions, {})
    with progress.activity("dividing", len(records) if isinstance(records, Sized) else None, "record") as shown:
        plan.sizes.update(map(plan.split, shown.counted(records)))
    sizes = plan.sizes
    short = any(share > 0 and sizes[name] < least for name, share in fractions.items())
    if least and short and sizes.total() >= ENOUGH:
        plan = Plan(fractions, _moved([split_key(record) for record in records], fractions, least))
        plan.sizes.update(map(plan.split, records))
    if apart := plan.sizes[""]:
        progress.note(f"note: {apart} augmented records left out: what they were made of is held out, or to be")
    return plan


def split_keys(keys: Sequence[str], fractions: Mapping[str, float], least: int = 0) -> dict[str, str]:
    """The split of every key, of which each stands for a record; `least` as in `split_records`."""
    split = {key: split_by_hash(key, fractions) for key in keys}
    return split | (_moved(keys, fractions, least) if least and len(keys) >= ENOUGH else {})


def _moved(keys: Sequence[str], fractions: Mapping[str, float], least: int) -> dict[str, str]:
    largest = max(fractions, key=lambda name: fractions[name])
    counts = Counter((key, split_by_hash(key, fractions)) for key in keys)
    return _filled_up(counts, fractions, largest, least)


def _filled_up(
    counts: Counter[tuple[str, str]], fractions: Mapping[str, float], largest: str, least: int
) -> dict[str, str]:
    """Key -> its new split, for keys that move so that every split with a share has `least` records."""
    sizes = Counter[str]()
    for (_, split), n in counts.items():
        sizes[split] += n
    movable = sorted((key for key, split in counts if split == largest), key=_place, reverse=True)
    moved: dict[str, str] = {}
    keep = sizes.total() / 2
    for split in [name for name, share in fractions.items() if share > 0 and name != largest]:
        for key in [key for key in movable if key not in moved]:
            n = counts[key, largest]
            if sizes[split] >= least:
                break
            if sizes[largest] - n >= keep:
                moved[key] = split
                sizes[split], sizes[largest] = sizes[split] + n, sizes[largest] - n
    return moved
