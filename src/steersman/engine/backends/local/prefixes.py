"""Keys and values of finished dialogues, kept so that the next turn prefills only its new tokens.

Why so: decision 30 in docs/LOG.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.engine.backends.local.cache import Saved

SHORTEST = 32
"""Tokens; a shorter common beginning is not worth a copy."""


Kind = tuple[str | None, bool]
"""(adapter, whether it turns as long sequences do)."""


@dataclass(frozen=True)
class Kept:
    tokens: tuple[int, ...]
    saved: Saved

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.saved)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading tokens that a and b have in common."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle)
    return low


class Prefixes:
    """Above `budget` bytes the least recently used entries are dropped. Entries of different kinds never mix."""

    def __init__(self, budget: int) -> None:
        self.budget, self.nbytes = budget, 0
        self._kept: OrderedDict[tuple[Kind, tuple[int, ...]], Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, tokens: tuple[int, ...], kind: Kind) -> tuple[Kept, int] | None:
        """The entry with the longest common beginning and its length, at least one token short of `tokens`."""
        best, length = None, SHORTEST - 1
        for key, kept in self._kept.items():
            if key[0] == kind and tokens[:SHORTEST] == kept.tokens[:SHORTEST]:
                same = min(common(tokens, kept.tokens), len(tokens) - 1)
                if same > length:
                    best, length = key, same
        if best is None:
            return None
        self._kept.move_to_end(best)
        return self._kept[best], length

    def put(self, tokens: tuple[int, ...], kind: Kind, saved: Saved) -> None:
        """Keep a sequence; earlier entries that are its beginnings are dropped."""
        kept = Kept(tokens, saved)
        if kept.nbytes > self.budget or len(tokens) < SHORTEST:
            return
        for key, other in list(self._kept.items()):
            if key[0] == kind and tokens[: len(other.tokens)] == other.tokens:
                self._drop(key)
        self._kept[kind, tokens] = kept
        self.nbytes += kept.nbytes
        while self.nbytes > self.budget:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[Kind, tuple[int, ...]]) -> None:
        self.nbytes -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        """Drop all entries, after the weights changed."""
        self._kept.clear()
        self.nbytes = 0
