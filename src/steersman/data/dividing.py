"""Splits of a data set by conversation and by near-repeated question: what belongs together stays in one split.

Records belong together that continue one dialogue, that answer one question, or whose questions are nearly the same;
otherwise a test would ask what was learned.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.data import near
from steersman.data.clean import words_of
from steersman.data.cleaning.quality import asked_in
from steersman.data.contamination import units
from steersman.data.dataset import DatasetInfo, stream_records
from steersman.data.formats import Parsed
from steersman.data.made import origin_key
from steersman.data.split import split_key, split_keys
from steersman.types import Feedback, Ranking

ENOUGH = 8
"""Words (Chinese: characters) of a beginning that says which dialogue it is; 'hello' begins many."""


@dataclass(frozen=True)
class Divided:
    """Which split each record of a set goes to, and how many of them belong together."""

    splits: list[str]
    """'' for variants of records (augmented) that are not for training: they go nowhere."""
    clusters: int
    largest: int


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
    return " ".join("\n".join(said).casefold().split()) or split_key(record)


def divided(info: DatasetInfo, shares: Mapping[str, float], least: int, threshold: float, folder: Path) -> Divided:
    """The split of every record. Records are read twice; memory grows by some 100 bytes a record."""
    with near.signatures((asked_in(r) or words_of(r) for r in stream_records(info.path)), folder) as found:
        links = [(int(a), int(b)) for a, b in near.pairs(found, threshold)]
    first: dict[bytes, int] = {}
    originals: dict[str, int] = {}
    variants: dict[int, str] = {}
    keys: list[bytes] = []
    for i, record in enumerate(stream_records(info.path)):
        keys.append(hashlib.sha256(opening(record).encode()).digest()[:12])
        if (earlier := first.setdefault(keys[-1], i)) != i:
            links.append((earlier, i))
        if (origin := origin_key(record)) is not None:
            variants[i] = origin
    if variants:
        wanted = set(variants.values())
        for i, record in enumerate(stream_records(info.path)):
            if i not in variants and (key := split_key(record)) in wanted:
                originals.setdefault(key, i)
        links += [(originals[key], i) for i, key in variants.items() if key in originals]
    cluster = near.joined(len(keys), links)
    # a cluster's key is the least of its records' keys, so that a set that grows keeps most of its splits
    least_key: dict[int, bytes] = {}
    sizes: dict[int, int] = defaultdict(int)
    for i, root in enumerate(cluster.tolist()):
        least_key[root] = min(least_key.get(root, keys[i]), keys[i])
        sizes[root] += 1
    named = [least_key[root].hex() for root in cluster.tolist()]
    of = split_keys(named, shares, least)
    splits = ["" if i in variants and of[name] != "train" else of[name] for i, name in enumerate(named)]
    return Divided(splits, len(sizes), max(sizes.values(), default=0))


def part_of(records: Iterable[Parsed], of: Divided, split: str) -> Iterator[Parsed]:
    return (record for record, name in zip(records, of.splits, strict=True) if name == split)
