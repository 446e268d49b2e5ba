"""Mixtures of data sets: shares by weight, caps per set, the same records for the same seed.

Which records of a set are taken, and the order of all, follow from the seed and each record's place, so that a larger
mixture of the same sets holds the smaller one. Records are read from their places in the files; memory grows by some
40 bytes a record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steersman.data import shelves
from steersman.data.dataset import DatasetInfo
from steersman.data.formats import Parsed, from_steersman
from steersman.data.near import Numbers


@dataclass(frozen=True)
class Part:
    """A set in a mixture."""

    info: DatasetInfo
    weight: float = 1.0
    cap: int = 0
    """Most records to take from it; 0: no limit."""

    @property
    def most(self) -> int:
        return min(self.info.count, self.cap) if self.cap else self.info.count


def shares(parts: Sequence[Part], count: int = 0) -> list[int]:
    """How many records to take from each part: `count` in all (0: all that the parts have), by the weights.

    Raises ValueError where a part has fewer than its share of `count`.
    """
    if len({p.info.name for p in parts}) < len(parts):
        raise ValueError("data mix: expected each data set once")
    for what, values in (("kind", {p.info.kind for p in parts}), ("split", {p.info.split for p in parts})):
        if len(values) > 1:
            raise ValueError(f"data mix: expected data sets of one {what}, got {', '.join(sorted(values))}")
    for p in parts:
        if not (0 < p.weight < math.inf):
            raise ValueError(f"{p.info.name}: expected a weight above 0, got {p.weight:g}")
    total = sum(p.weight for p in parts)
    most = min(p.most / (p.weight / total) for p in parts)
    if count > most + 1e-9:
        short = min(parts, key=lambda p: p.most / p.weight)
        raise ValueError(
            f"--count {count}: expected at most {int(most)}: {short.info.name} has {short.most} records for a share of "
            f"{short.weight / total:.1%}; lower its weight, or add records to it"
        )
    exact = [(count or most) * p.weight / total for p in parts]
    return whole(exact, [p.most for p in parts], count or int(sum(exact) + 1e-9))


def whole(exact: Sequence[float], most: Sequence[int], wanted: int) -> list[int]:
    """Round `exact` to whole numbers that add up to `wanted`, none above `most`: largest remainders are rounded up."""
    out = [min(limit, int(x + 1e-9)) for x, limit in zip(exact, most, strict=True)]
    for i in sorted(range(len(out)), key=lambda i: out[i] - exact[i]):
        if sum(out) < wanted and out[i] < most[i]:
            out[i] += 1
    return out


def _order(name: str, n: int, seed: int) -> Numbers:
    """A random number for each of a set's records."""
    start = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    return np.random.default_rng(start).integers(0, 2**63, n, dtype=np.int64)


def _places(path: Path, n: int) -> Numbers:
    """Byte offset of each line of a file, [n]."""
    out = np.zeros(n, np.int64)
    at = i = 0
    with open(path, "rb") as file:
        for line in file:
            if line.strip():
                out[i] = at
                i += 1
            at += len(line)
    return out


def _taken(parts: Sequence[Part], counts: Sequence[int], seed: int) -> tuple[Numbers, Numbers]:
    """(number of the part, place in its file) of each record of the mixture, in its order."""
    orders, places = [], []
    for part, n in zip(parts, counts, strict=True):
        order = _order(part.info.name, part.info.count, seed)
        taken = np.argsort(order, kind="stable")[:n]
        orders.append(order[taken])
        places.append(_places(part.info.path, part.info.count)[taken])
    by = np.argsort(np.concatenate(orders), kind="stable")
    return np.repeat(np.arange(len(parts), dtype=np.int32), counts)[by], np.concatenate(places)[by]


def mixed(parts: Sequence[Part], counts: Sequence[int], seed: int, tick: Callable[[int], None]) -> Iterator[Parsed]:
    """The mixture's records in order. Where two sets have the same id, the set's name is added to it."""
    of, place = _taken(parts, counts, seed)
    seen = shelves.Numbers[str]()
    files = [open(p.info.path, "rb") for p in parts]  # noqa: SIM115
    try:
        for done, (i, at) in enumerate(zip(of, place, strict=True), 1):
            part = parts[i]
            files[i].seek(int(at))
            value = json.loads(files[i].readline())
            record: Parsed = value["text"] if "text" in value else from_steersman(value)
            if not isinstance(record, str) and seen.get_or(record.id, int(i)) != i:
                record = dataclasses.replace(record, id=f"{part.info.name}/{record.id}")
            tick(done)
            yield record
    finally:
        for file in files:
            file.close()
