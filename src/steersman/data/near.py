"""Texts that are nearly the same: MinHash signatures on disk, and pairs that share a band of them.

A text is the set of its runs of characters: of two in Chinese and Japanese, of four elsewhere, upper case, punctuation
and white space aside. Signatures (512 bytes a text) lie in a temporary file and are sorted band by band, so memory
grows by some 40 bytes a text, whatever its length.

Why so: decision 72 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rensa import RMinHash

from steersman.data.contamination import units

PERMUTATIONS, ROWS, BANDS = 128, 5, 25
THRESHOLD = 0.75
"""Share of runs in common from which on two texts are nearly the same."""
LEAST = 8
"""Texts with fewer runs are not compared: 'thank you' resembles too much."""
BATCH = 512
FORGET = 16 * BATCH
"""Texts read at random after which their pages are given back."""
CHARACTERS = 1 << 20
"""Of texts whose runs are in memory at a time: some 100 bytes each."""
T = TypeVar("T")
Numbers = np.ndarray[Any, np.dtype[Any]]


def runs(text: str) -> list[str]:
    """The runs of characters of a text, each once."""
    words = units(unicodedata.normalize("NFKC", text))
    han = sum(len(w) == 1 and w > "\u3000" for w in words)
    if 2 * han >= len(words):
        return list({a + b for a, b in itertools.pairwise(words)})
    joined = " ".join(words)
    return list({joined[i : i + 4] for i in range(len(joined) - 3)})


@dataclass(frozen=True)
class Signatures:
    """Signatures of texts in a file; `known[i]` says whether text i was long enough to have one."""

    rows: Numbers
    known: Numbers
    mapped: mmap.mmap | None = None

    def forget(self) -> None:
        """Pages of the file that were read are no part of the process's memory any more."""
        if sys.platform != "win32" and self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)

    def similarity(self, a: Numbers, b: Numbers) -> Numbers:
        """Estimated share of runs in common of the texts a[i] and b[i]; its standard error is 0.04 at most."""
        out = np.zeros(len(a))
        for i in range(0, len(a), BATCH):
            out[i : i + BATCH] = np.mean(self.rows[a[i : i + BATCH]] == self.rows[b[i : i + BATCH]], axis=1)
            if i % FORGET == 0:
                self.forget()
        return out


@contextlib.contextmanager
def signatures(texts: Iterable[str], folder: Path | None = None) -> Iterator[Signatures]:
    """The signatures of texts, read once; their file in `folder` is gone at the end."""
    known = bytearray()
    with tempfile.TemporaryFile(dir=folder) as file:
        for batch in texts_in_batches(texts, BATCH, CHARACTERS):
            sets = [runs(text) for text in batch]
            known += bytes(len(s) >= LEAST for s in sets)
            file.write(np.array(RMinHash.digests_from_token_sets(sets, PERMUTATIONS, 42), dtype=np.uint32).tobytes())
        file.flush()
        shape = (len(known), PERMUTATIONS)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if known else None
        rows = np.frombuffer(mapped or b"", np.uint32).reshape(shape)
        yield Signatures(rows, np.frombuffer(bytes(known), np.uint8).astype(bool), mapped)
        del rows


def texts_in_batches(texts: Iterable[str], size: int, characters: int) -> Iterator[list[str]]:
    """At most `size` texts at a time, fewer where they have more than so many characters: books take room."""
    held: list[str] = []
    length = 0
    for text in texts:
        if held and (len(held) == size or length + len(text) > characters):
            yield held
            held, length = [], 0
        held.append(text)
        length += len(text)
    if held:
        yield held


def batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while batch := tuple(itertools.islice(rest, size)):
        yield batch


def pairs(of: Signatures, threshold: float = THRESHOLD) -> Numbers:
    """Pairs (earlier, later) of texts that resemble each other by `threshold` or more, one row each.

    Of texts that share a band each is compared with the first and with the one before it.
    """
    places = np.flatnonzero(of.known).astype(np.int64)
    found = np.zeros((0, 2), np.int64)
    for band in range(BANDS):
        keys = _band(of, places, band)
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        starts = np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]) if len(keys) else np.zeros(0, bool)
        first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
        later = np.flatnonzero(~starts)
        for earlier in (first[later], later - 1):
            both = np.stack([places[order[earlier]], places[order[later]]], axis=1)
            both = np.unique(both, axis=0)
            near = both[of.similarity(both[:, 0], both[:, 1]) >= threshold]
            found = np.unique(np.concatenate([found, near]), axis=0)
    return found


def _band(of: Signatures, places: Numbers, band: int) -> Numbers:
    """A 64-bit key of each text's band."""
    keys = np.zeros(len(places), np.uint64)
    step = 1 << 16
    for start in range(0, len(places), step):
        part = of.rows[places[start : start + step], band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        of.forget()
        key = np.zeros(len(part), np.uint64)
        for column in part.T:
            key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        keys[start : start + step] = key
    return keys


def repeated(of: Signatures, threshold: float = THRESHOLD) -> Numbers:
    """For each text the earlier one that it nearly repeats, or -1: each that goes resembles one that stays."""
    stays = np.full(len(of.known), -1, np.int64)
    found = pairs(of, threshold)
    for i in np.lexsort((found[:, 0], found[:, 1])):
        earlier, later = found[i]
        if stays[later] >= 0:
            continue
        root = earlier if stays[earlier] < 0 else stays[earlier]
        if root == earlier or of.similarity(np.array([root]), np.array([later]))[0] >= threshold:
            stays[later] = root
    return stays


def joined(n: int, links: Iterable[tuple[int, int]]) -> Numbers:
    """The cluster of each of n records, named by its first, where `links` say which belong together."""
    parent = np.arange(n)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in links:
        low, high = sorted((root(int(a)), root(int(b))))
        parent[high] = low
    return np.fromiter((root(i) for i in range(n)), np.int64, n)
