"""How much of each source is read, and which source each row is of.

Shares are proportional to weight * tokens ** smoothing (1: as the text is, 0: every source alike), and a source whose
share would read it more often than `most_epochs` gives what is over to the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steersman.corpus.rows import Line, Row

BLOCK = 4096
"""Rows within which every source comes as often as its share says, to one row."""


@dataclass(frozen=True)
class Mixture:
    """What the user wants of the sources."""

    weights: Mapping[str, float]
    """Factors by source; 1 where a source has none."""
    smoothing: float = 1.0
    most_epochs: float = math.inf

    def __post_init__(self) -> None:
        for name, value in self.weights.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"weight of {name}: expected a number of at least 0, got {value:g}")
        if not 0 <= self.smoothing <= 1:
            raise ValueError(f"smoothing: expected a number from 0 to 1, got {self.smoothing:g}")
        if not self.most_epochs > 0:
            raise ValueError(f"epochs: expected a number above 0, got {self.most_epochs:g}")

    def shares(self, tokens: Mapping[str, int], budget: int) -> dict[str, float]:
        """The share of each source in `budget` tokens. ValueError where the caps leave too little for it."""
        if unknown := sorted(self.weights.keys() - tokens.keys()):
            raise ValueError(f"weights: no source {', '.join(unknown)}; expected some of {', '.join(sorted(tokens))}")
        wanted = {s: self.weights.get(s, 1.0) * n**self.smoothing for s, n in tokens.items() if n}
        wanted = {s: value for s, value in wanted.items() if value}
        if not wanted:
            raise ValueError("weights: expected one above 0")
        caps = {s: self.most_epochs * tokens[s] / budget for s in wanted}
        if sum(caps.values()) < 1 - 1e-9:
            have = sum(tokens[s] for s in wanted)
            raise ValueError(
                f"expected at least {budget} tokens within {self.most_epochs:g} epochs, the sources have {have}; "
                "train on fewer tokens, build more text, or allow more epochs (--epochs; of corpus show: --max-epochs)"
            )
        shares: dict[str, float] = {}
        while wanted:
            left = 1 - sum(shares.values())
            scale = left / sum(wanted.values())
            over = [s for s, value in wanted.items() if value * scale > caps[s]]
            if not over:
                return {s: shares.get(s, wanted.get(s, 0.0) * scale) for s in tokens if s in shares or s in wanted}
            for s in over:
                shares[s] = caps[s]
                del wanted[s]
        return shares


class Rows:
    """Rows of several sources by number: the source of row k, and its own row, follow from k and the seed."""

    def __init__(self, lines: Sequence[Line], shares: Sequence[float], seed: int) -> None:
        self.lines, self.seed = lines, seed
        self._bounds = np.concatenate([[0.0], np.cumsum(shares)])
        self._bounds[-1] = 1.0
        self._block, self._sources, self._numbers = -1, np.zeros(0, np.int64), np.zeros(0, np.int64)

    def _before(self, block: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Rows of each source before a block: rounded together, so that they add up."""
        return np.diff(np.floor(self._bounds * (block * BLOCK) + 0.5)).astype(np.int64)

    def _at(self, block: int) -> None:
        if block == self._block:
            return
        before = self._before(block)
        counts = np.maximum(self._before(block + 1) - before, 0)
        counts[int(counts.argmax())] += BLOCK - int(counts.sum())  # a share of less than a row a block
        sources = np.repeat(np.arange(len(counts)), counts)
        np.random.default_rng((self.seed, block, 1)).shuffle(sources)
        numbers = np.empty(BLOCK, np.int64)
        for source in range(len(counts)):
            places = np.flatnonzero(sources == source)
            numbers[places] = before[source] + np.arange(len(places))
        self._block, self._sources, self._numbers = block, sources, numbers

    def source(self, number: int) -> int:
        self._at(number // BLOCK)
        return int(self._sources[number % BLOCK])

    def __getitem__(self, number: int) -> Row:
        source = self.source(number)
        return self.lines[source][int(self._numbers[number % BLOCK])]
