"""Splits of a data set by conversation and by near-repeated question: what belongs together stays in one split.

Records belong together that continue one dialogue, that answer one question, or whose questions are nearly the same;
otherwise a test would ask what was learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steersman.data import near
from steersman.data.clean import words_of
from steersman.data.cleaning.quality import asked_in
from steersman.data.contamination import Finder, units
from steersman.data.dataset import DatasetInfo, stream_records
from steersman.data.formats import Parsed
from steersman.data.made import origin_key
from steersman.data.shelves import Shelf
from steersman.data.split import split_by_hash, split_key, split_keys
from steersman.progress import activity
from steersman.text.folding import folded
from steersman.types import Conversation, Feedback, Ranking

PASSES = 5
"""Times that what was moved is itself looked for at most."""
ENOUGH = 8
"""Words (Chinese: characters) of a beginning that says which dialogue it is; 'hello' begins many."""


@dataclass(frozen=True)
class Divided:
    """Which split each record of a set goes to, and how many of them belong together."""

    names: tuple[str, ...]
    """Of splits; the first, '', for variants of records (augmented) that are not for training: they go nowhere."""
    codes: near.Numbers
    """For each record the place of its split among `names`."""
    clusters: int
    largest: int
    joined: int = 0
    """Records that would have been held out from a training split with nearly the same question, and went with it."""
    near: int = 0
    """Records held out that stand in the training split all the same, after PASSES."""

    @property
    def splits(self) -> list[str]:
        return [self.names[code] for code in self.codes]

    def count(self, split: str) -> int:
        return int((self.codes == self.names.index(split)).sum())


def opening(record: Parsed) -> str:
    """The first turns of a dialogue's user, as many as tell it from others."""
    if isinstance(record, str):
        return split_key(record)
    prompt = record.prompt if isinstance(record, Ranking | Feedback) else record
    said: list[str] = []
    for message in prompt.messages:
        if message.role == "user":
            said.append(message.text)
            if len(units(" ".join(said))) >= ENOUGH:
                break
    return " ".join(folded("\n".join(said)).split()) or split_key(record)


def divided(info: DatasetInfo, shares: Mapping[str, float], least: int, threshold: float, folder: Path) -> Divided:
    """The split of every record. Records are read twice, and up to thrice more for each pass over what is held out.

    Memory grows by some 50 bytes a record, and by 300 for each that is held out.
    """
    clusters = near.Clusters(info.count)
    with activity("split: comparing questions", info.count, "record") as shown:
        records = shown.counted(stream_records(info.path))
        with near.signatures((asked_in(r) or words_of(r) for r in records), folder) as found:
            for pairs in near.pairs(found, threshold):
                clusters.join(pairs.tolist())
    keys = np.zeros((info.count, 2), np.uint64)
    variants: dict[int, str] = {}
    with activity("split: what belongs together", info.count, "record") as shown:
        for i, record in enumerate(shown.counted(stream_records(info.path))):
            digest = hashlib.sha256(opening(record).encode()).digest()
            keys[i] = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:12], "big")
            if (origin := origin_key(record)) is not None:
                variants[i] = origin
    for links in _same(keys):
        clusters.join(links)
    clusters.join(_origins(info, variants))
    names, train, joined = ("", *shares), [*shares].index("train") + 1, 0
    for _ in range(PASSES):
        codes, sizes = _codes(clusters.names(), keys, shares, least)
        same = list(_found_in_training(info, codes, train))
        if not same:
            break
        clusters.join(same)
        joined += len({held for held, _ in same})
    for i in variants:
        codes[i] = codes[i] if names[codes[i]] == "train" else 0
    return Divided(names, codes, len(sizes), int(sizes.max(initial=0)), joined, len({held for held, _ in same}))


def _codes(
    cluster: near.Numbers, keys: near.Numbers, shares: Mapping[str, float], least: int
) -> tuple[near.Numbers, near.Numbers]:
    """(the place of each record's split among the names, the clusters' sizes).

    A cluster's key is the least of its records' keys, so that a set that grows keeps most of its splits.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0], cluster))
    begins = np.flatnonzero(np.diff(cluster[order], prepend=np.int32(-1)))
    sizes = np.diff(begins, append=len(order))
    codes = np.zeros(len(cluster), np.int8)
    codes[order] = np.repeat(_of_clusters(keys[order[begins]], sizes, shares, least), sizes)
    return codes, sizes


def _found_in_training(info: DatasetInfo, codes: near.Numbers, train: int) -> Iterator[tuple[int, int]]:
    """(a record held out, one of the training split that has its question, word for word or nearly)."""
    every = ((i, record) for i, record in enumerate(stream_records(info.path)) if codes[i] > 0 and codes[i] != train)
    held = Shelf((i, asked) for i, record in every if (asked := _prompt(record)) is not None)
    if not len(held) or not (codes == train).any():
        return
    finder = Finder(Shelf(asked for _, asked in held))
    with activity("split: looking for what is held out", info.count, "record") as shown:
        for j, record in enumerate(shown.counted(stream_records(info.path))):
            if codes[j] == train:
                yield from ((held[place][0], j) for place in sorted(finder.exact(record) | finder.near(record)))


def _prompt(record: Parsed) -> Conversation | None:
    return None if isinstance(record, str) else record.prompt if isinstance(record, Ranking | Feedback) else record


def _same(keys: near.Numbers) -> Iterator[list[list[int]]]:
    """Links of each record to the one before it with the same key."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    for start in range(0, len(order), near.BLOCK):
        part = order[start : start + near.BLOCK + 1]
        same = np.flatnonzero((keys[part[1:]] == keys[part[:-1]]).all(axis=1))
        yield np.stack([part[same], part[same + 1]], axis=1).tolist()


def _origins(info: DatasetInfo, variants: Mapping[int, str]) -> list[tuple[int, int]]:
    """Links of records made by augmentation to what they were made of."""
    wanted, originals = set(variants.values()), dict[str, int]()
    for i, record in enumerate(stream_records(info.path) if variants else ()):
        if i not in variants and (key := split_key(record)) in wanted:
            originals.setdefault(key, i)
    return [(originals[key], i) for i, key in variants.items() if key in originals]


def _of_clusters(keys: near.Numbers, sizes: near.Numbers, shares: Mapping[str, float], least: int) -> near.Numbers:
    """The place of each cluster's split in ("", *shares)."""
    splits = list(shares)

    def name(i: int) -> str:
        return f"{int(keys[i, 0]):016x}{int(keys[i, 1]):08x}"

    of = np.fromiter((splits.index(split_by_hash(name(i), shares)) for i in range(len(keys))), np.int8, len(keys))
    filled = np.bincount(of, sizes, len(splits))
    if least and any(share > 0 and filled[i] < least for i, share in enumerate(shares.values())):
        names = [name(i) for i in range(len(keys))]
        moved = split_keys([n for n, size in zip(names, sizes, strict=True) for _ in range(size)], shares, least)
        of = np.array([splits.index(moved[n]) for n in names], np.int8)
    return of + 1


def part_of(records: Iterable[Parsed], of: Divided, split: str) -> Iterator[Parsed]:
    wanted = of.names.index(split)
    return (record for record, code in zip(records, of.codes, strict=True) if code == wanted)
