"""Which texts resemble which, without a model: character n-grams, weighed by rarity, as vectors of unit length.

Any language: runs of 2 to 4 characters within and between words, so that Chinese needs no words, typing errors and
endings cost little.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
SIZE = 4096
"""Places that n-grams are hashed to."""
LONGEST = 2000
"""Characters of a text that are looked at."""


def grams(text: str) -> Counter[int]:
    """The places of a text's n-grams, counted."""
    plain = re.sub(r"[\W_]+", " ", f" {text[:LONGEST].casefold()} ")
    return Counter(
        zlib.crc32(plain[i : i + n].encode()) % SIZE for n in (2, 3, 4) for i in range(max(0, len(plain) - n + 1))
    )


def rarity(texts: Iterable[str]) -> Vectors:
    """Weight of each place: the logarithm of how few of the texts have it."""
    seen, count = np.zeros(SIZE, dtype=np.float32), 0
    for text in texts:
        count += 1
        seen[list(grams(text))] += 1
    return np.log((1 + count) / (1 + seen)).astype(np.float32) + 1


def char_vectors(texts: Sequence[str], weights: Vectors | None = None) -> Vectors:
    """One row a text, of unit length (zeros for an empty text); the product of two rows is their likeness, 0 to 1."""
    weights = rarity(texts) if weights is None else weights
    out = np.zeros((len(texts), SIZE), dtype=np.float32)
    for row, text in enumerate(texts):
        for place, n in grams(text).items():
            out[row, place] = (1 + math.log(n)) * weights[place]
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    np.divide(out, norms, out=out, where=norms > 0)
    return out


def in_blocks(texts: Sequence[str], weights: Vectors, size: int = 1024) -> Iterator[Vectors]:
    """`char_vectors` of some texts after the others, so that a log of any length fits into memory."""
    for start in range(0, len(texts), size):
        yield char_vectors(texts[start : start + size], weights)


def likeness(vectors: Vectors) -> float:
    """Mean likeness of different rows to each other; 0 for fewer than two."""
    n = len(vectors)
    if n < 2:
        return 0.0
    total = vectors.sum(axis=0)
    return float((total @ total - np.square(vectors).sum()) / (n * (n - 1)))
