"""BM25 (Robertson and Zaragoza 2009) over words, and over single Chinese characters and pairs of them.

Its arrays are files that are mapped into memory: hashes of terms in order, and for each the passages that have it with
what it adds to their score.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steersman.retrieval.passages import CJK
from steersman.text.folding import folded

RUNS = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
K1, B = 1.2, 0.75
NAMES = ("terms", "starts", "places", "weights")
Floats = npt.NDArray[np.float32]


def terms(text: str) -> list[str]:
    """Words, `folded`; of a run of Chinese its characters and the pairs of neighbours."""
    out: list[str] = []
    for run in RUNS.findall(folded(text)):
        out += [*run, *(run[i : i + 2] for i in range(len(run) - 1))] if re.match(f"[{CJK}]", run) else [run]
    return out


def _hash(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def write(texts: Iterable[str], folder: Path) -> int:
    """Write the arrays of `NAMES` for passages in their order; returns how many terms there are."""
    keys, places, counts, lengths = array("Q"), array("I"), array("I"), []
    hashed = lru_cache(maxsize=1_000_000)(_hash)  # not for questions: a server would keep what strangers ask
    for place, text in enumerate(texts):
        found = Counter(terms(text))
        lengths.append(sum(found.values()))
        for term, count in found.items():
            keys.append(hashed(term))
            places.append(place)
            counts.append(count)
    every, where = np.frombuffer(keys, dtype=np.uint64), np.frombuffer(places, dtype=np.uint32)
    known, number, holders = np.unique(every, return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable")
    tf = np.frombuffer(counts, dtype=np.uint32)[order].astype(np.float64)
    size = np.asarray(lengths, dtype=np.float64)[where[order]] / max(1.0, float(np.mean(lengths)))
    idf = np.log(1 + (len(lengths) - holders + 0.5) / (holders + 0.5))[number[order]]
    weights = idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * size))
    starts = np.concatenate([[0], np.cumsum(holders)]).astype(np.int64)
    for name, values in zip(NAMES, (known, starts, where[order], weights.astype(np.float32)), strict=True):
        np.save(folder / f"{name}.npy", values)
    return len(known)


class Lexical:
    """The arrays of a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        read: list[Any] = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES]
        self._terms, self._starts, self._places, self._weights = read

    def scores(self, question: str) -> Floats:
        """Of each passage; 0 where it has no term of the question."""
        out = np.zeros(self.count, dtype=np.float32)
        for term, times in Counter(terms(question)).items():
            key = np.uint64(_hash(term))
            at = int(np.searchsorted(self._terms, key))
            if at < len(self._terms) and self._terms[at] == key:
                span = slice(int(self._starts[at]), int(self._starts[at + 1]))
                out[self._places[span]] += self._weights[span] * times
        return out
