"""Rows of a fixed number of tokens out of shards, by number: which row comes when follows from the seed alone.

Documents of a source are shuffled by (seed, epoch) and laid end to end; row k is tokens k * length to (k + 1) * length
of that line. So a row costs two look-ups, nothing is kept of what was read, a resumed run goes on at any step, and
rank r of w reads rows r, r + w, ... of the same line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.corpus.shards import Documents

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Row:
    """`tokens` (length,) and `document` (length,): 0 for the first document in the row, 1 for the next, ..."""

    tokens: Numbers
    document: Numbers


class Line:
    """One source's documents end to end, epoch after epoch, in rows of `length` tokens.

    The tokens at an epoch's end that fill no row are not read in that epoch (fewer than `length`).
    """

    def __init__(self, documents: Documents, length: int, seed: int) -> None:
        self.documents, self.length, self.seed = documents, length, seed
        self.rows = int(documents.lengths.sum()) // length
        """Rows of one epoch."""
        if not self.rows:
            raise ValueError(
                f"expected at least {length} tokens for one row, found {int(documents.lengths.sum())}; "
                "build the corpus of more text or take shorter rows"
            )
        self._epoch = -1
        self._order = self._ends = np.zeros(0, np.int64)

    def _at(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.documents))
            self._ends = np.cumsum(self.documents.lengths[self._order])
            self._epoch = epoch

    def __getitem__(self, number: int) -> Row:
        epoch, row = divmod(number, self.rows)
        self._at(epoch)
        start, end = row * self.length, (row + 1) * self.length
        first = int(np.searchsorted(self._ends, start, "right"))
        tokens = np.empty(self.length, np.int64)
        owner = np.empty(self.length, np.int32)
        filled = count = 0
        for place in range(first, len(self._order)):
            begin = int(self._ends[place - 1]) if place else 0
            document = self.documents[int(self._order[place])]
            piece = document[max(0, start - begin) : end - begin]
            if len(piece):
                tokens[filled : filled + len(piece)] = piece
                owner[filled : filled + len(piece)] = count
                filled, count = filled + len(piece), count + 1
            if filled == self.length:
                break
        return Row(tokens, owner)
