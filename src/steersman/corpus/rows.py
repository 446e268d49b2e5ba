"""Rows of a fixed number of tokens out of shards, by number: which row comes when follows from the seed alone.

Documents of a source are shuffled by (seed, epoch) and laid end to end; row k is tokens k * length to (k + 1) * length
of that line. So a row costs two look-ups, nothing is kept of what was read, a resumed run goes on at any step, and
rank r of w reads rows r, r + w, ... of the same line.

Laid whole, long documents are not cut where they fit into a row: see `laid_whole`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.corpus.shards import Documents

Numbers = np.ndarray[Any, np.dtype[Any]]
LONG = 1 / 8
"""Share of a row from which on a document is long."""
LOOKED_AT = 64
"""Long documents, the next ones, among which one that still fits into a row is looked for."""


@dataclass(frozen=True)
class Row:
    """`tokens` (length,) and `document` (length,): 0 for the first document in the row, 1 for the next, ..."""

    tokens: Numbers
    document: Numbers


class Line:
    """One source's documents end to end, epoch after epoch, in rows of `length` tokens.

    The tokens at an epoch's end that fill no row are not read in that epoch (fewer than `length`).
    """

    def __init__(self, documents: Documents, length: int, seed: int, whole: bool = False) -> None:
        self.documents, self.length, self.seed, self.whole = documents, length, seed, whole
        self.rows = int(documents.lengths.sum()) // length
        """Rows of one epoch."""
        if not self.rows:
            raise ValueError(
                f"expected at least {length} tokens for one row, found {int(documents.lengths.sum())}; "
                "build the corpus of more text or take shorter rows"
            )
        self._epoch = -1
        self._order = self._begins = self._ends = np.zeros(0, np.int64)
        """Of each piece of the line: its document, where it begins in that, and where it ends in the line."""

    def _at(self, epoch: int) -> None:
        if epoch != self._epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.documents))
            sizes = self.documents.lengths[order]
            if self.whole:
                order, self._begins, sizes = laid_whole(order, sizes, self.length)
            else:
                self._begins = np.zeros(len(order), np.int64)
            self._order, self._ends, self._epoch = order, np.cumsum(sizes), epoch

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
            inside, stop = int(self._begins[place]), min(end, int(self._ends[place])) - begin
            document = self.documents[int(self._order[place])]
            piece = document[inside + max(0, start - begin) : inside + stop]
            if len(piece):
                tokens[filled : filled + len(piece)] = piece
                owner[filled : filled + len(piece)] = count
                filled, count = filled + len(piece), count + 1
            if filled == self.length:
                break
        return Row(tokens, owner)


def laid_whole(order: Numbers, sizes: Numbers, length: int) -> tuple[Numbers, Numbers, Numbers]:
    """(document, begin, size) of the pieces of a line whose rows of `length` begin with long documents.

    A document longer than a row is read in pieces of a row. The others from an eighth of a row on are cut only once no
    short ones are left; short ones fill the rows, cut where a row ends. Nothing is left out.
    """
    long: list[tuple[int, int, int]] = []
    short: list[tuple[int, int, int]] = []
    for document, size in zip(order.tolist(), sizes.tolist(), strict=True):
        for begin in range(0, size, length):
            piece = document, begin, min(length, size - begin)
            (long if piece[2] >= LONG * length else short).append(piece)
    long.reverse()
    short.reverse()
    laid: list[tuple[int, int, int]] = []
    while long or short:
        room = length
        while room:
            fits = next((i for i in range(1, min(len(long), LOOKED_AT) + 1) if long[-i][2] <= room), 0)
            if fits:
                laid.append(long.pop(-fits))
            elif of := short or long:
                document, begin, size = of.pop()
                laid.append((document, begin, min(size, room)))
                if size > room:
                    of.append((document, begin + room, size - room))
            else:
                break
            room -= laid[-1][2]
    found = np.array(laid, np.int64).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]
