"""Texts that are nearly the same: MinHash signatures on disk, and pairs that share a band of them.

A text is the set of its runs of characters: of two in Chinese and Japanese, of four elsewhere, upper case, punctuation
and white space aside. Signatures (512 bytes a text) and what shares a band (200 bytes) lie in temporary files, so
memory grows by some 30 bytes a text while a band is sorted, whatever its length and however many others are like it.

Why so: decision 72 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
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
FORGET = 128
"""Pairs of texts read at random after which their pages are given back: each read maps 64 KB."""
BLOCK = 2048
"""Texts whose signatures or pairs are in memory at a time: some kilobytes each."""
CHARACTERS = 1 << 20
"""Of texts whose runs are in memory at a time: some 100 bytes each."""
T = TypeVar("T")
Numbers = np.ndarray[Any, np.dtype[Any]]


def runs(text: str) -> list[str]:
    """The runs of characters of a text, each once."""
    words = units(text)
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
    folder: Path | None = None
    """Where files of pairs lie."""

    def forget(self) -> None:
        """Pages of the file that were read are no part of the process's memory any more."""
        if sys.platform != "win32" and self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)

    def similarity(self, a: Numbers, b: Numbers) -> Numbers:
        """Estimated share of runs in common of the texts a[i] and b[i]; its standard error is 0.04 at most."""
        out = np.zeros(len(a))
        for i in range(0, len(a), FORGET):
            out[i : i + FORGET] = np.mean(self.rows[a[i : i + FORGET]] == self.rows[b[i : i + FORGET]], axis=1)
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
        yield Signatures(rows, np.frombuffer(known, bool), mapped, folder)
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


def pairs(of: Signatures, threshold: float = THRESHOLD) -> Iterator[Numbers]:
    """Pairs (earlier, later) of texts that resemble each other by `threshold` or more, one row each, in the order of
    the later, then of the earlier text; some thousands at a time.

    Of texts that share a band each is compared with the first and with the one before it.
    """
    with tempfile.TemporaryFile(dir=of.folder) as file:
        places = np.flatnonzero(of.known).astype(np.int32)
        for band in range(BANDS):
            for earlier in _earlier(_band(of, places, band)):
                file.write(earlier.tobytes())
        file.flush()
        for start in range(0, len(places), BLOCK):
            count = min(BLOCK, len(places) - start)
            shared = np.zeros((2 * BANDS, count), np.int32)
            for i, row in enumerate(shared):
                file.seek((i * len(places) + start) * row.itemsize)
                row[:] = np.frombuffer(file.read(row.nbytes), np.int32)
            later = np.broadcast_to(np.arange(start, start + count), shared.shape)
            both = np.unique(later[shared >= 0].astype(np.int64) << 32 | shared[shared >= 0])
            a, b = places[both & 0xFFFFFFFF], places[both >> 32]
            near = of.similarity(a, b) >= threshold
            if near.any():
                yield np.stack([a[near], b[near]], axis=1)


def _earlier(keys: Numbers) -> tuple[Numbers, Numbers]:
    """For each text the first with the same key, and the last one before it; -1 for none."""
    order = np.argsort(keys, kind="stable").astype(np.int32)
    alone, keys = np.ones(len(keys), bool), keys[order]
    np.not_equal(keys[1:], keys[:-1], out=alone[1:])
    starts = np.arange(len(keys), dtype=np.int32)
    starts[~alone] = 0
    np.maximum.accumulate(starts, out=starts)
    first, before = np.full((2, len(keys)), -1, np.int32)
    later = np.flatnonzero(~alone).astype(np.int32)
    first[order[later]] = order[starts[later]]
    before[order[later]] = order[later - 1]
    return first, before


def _band(of: Signatures, places: Numbers, band: int) -> Numbers:
    """A 64-bit key of each text's band."""
    keys = np.zeros(len(places), np.uint64)
    for start in range(0, len(places), BLOCK):
        part = of.rows[places[start : start + BLOCK], band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        of.forget()
        key = np.zeros(len(part), np.uint64)
        for column in part.T:
            key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        keys[start : start + BLOCK] = key
    return keys


def repeated(of: Signatures, threshold: float = THRESHOLD) -> Numbers:
    """For each text the earlier one that it nearly repeats, or -1: each that goes resembles one that stays."""
    stays = np.full(len(of.known), -1, np.int32)
    for earlier, later in (pair for block in pairs(of, threshold) for pair in block.tolist()):
        if stays[later] >= 0:
            continue
        root = earlier if stays[earlier] < 0 else int(stays[earlier])
        if root == earlier or of.similarity(np.array([root]), np.array([later]))[0] >= threshold:
            stays[later] = root
    return stays


class Clusters:
    """Which of n records belong together: each cluster is named by its first record."""

    def __init__(self, n: int) -> None:
        self._parent = array("i", range(n))

    def join(self, links: Iterable[Sequence[int]]) -> None:
        """`links`: pairs of records that belong together."""
        parent = self._parent
        for a, b in links:
            low, high = sorted((self._root(a), self._root(b)))
            parent[high] = low

    def _root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def names(self) -> Numbers:
        return np.fromiter(map(self._root, range(len(self._parent))), np.int32, len(self._parent))
