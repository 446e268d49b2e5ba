"""Beginnings of prompts whose keys and values are there already: those of finished dialogues, kept so that the next
turn prefills only its new tokens, and those of running sequences that begin alike.

Why so: decisions 30 and 96 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from steersman.engine.backends.local.cache import Saved
from steersman.engine.sequence import Answer

SHORTEST = 32
"""Tokens; a shorter common beginning is not worth a copy."""
BLOCK = 256
"""Tokens kept together. Dialogues share whole blocks of a common beginning, so that a turn copies its own alone."""


ALIKE = 16
"""Tokens; a shorter beginning that a prompt has in common with a running one is not worth the copies."""


Kind = tuple[str | None, bool]
"""(adapter, whether it turns as long sequences do)."""
Key = tuple[Kind, tuple[int, ...]]


@dataclass(frozen=True)
class Kept:
    tokens: tuple[int, ...]
    blocks: tuple[Saved, ...]
    nbytes: int
    """As if nothing were shared."""


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading tokens that a and b have in common."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle)
    return low


@dataclass(frozen=True)
class Hit:
    """A prompt's beginning that need not be prefilled."""

    length: int = 0
    kept: Sequence[Saved] = ()
    lender: Answer | None = None
    """The running sequence that has it, where it is not `kept`."""


def lent(hit: Hit, prompt: tuple[int, ...], running: Iterable[Answer], align: int) -> Hit:
    """The longest of `hit` and what a prompt has in common with one of the `running`, in whole multiples of `align`."""
    length = max(hit.length, ALIKE - 1)
    for answer in running:
        if answer.lends and answer.prompt[length : length + 1] == prompt[length : length + 1]:
            same = min(common(prompt, answer.prompt), len(prompt) - 1)
            if same - same % align > hit.length:
                hit, length = Hit(same - same % align, lender=answer), same
    return hit


class Prefixes:
    """Above `budget` bytes the least recently used entries are dropped. Entries of different kinds never mix."""

    def __init__(self, budget: int) -> None:
        self.budget, self.nbytes = budget, 0
        self._kept: dict[Key, Kept] = {}
        """The least recent first. An OrderedDict would hash all tokens of each key that it is asked for in a loop."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, tokens: tuple[int, ...], kind: Kind) -> tuple[Kept, int] | None:
        """The entry with the longest common beginning and its length, at least one token short of `tokens`."""
        best, length = self._nearest(tokens, kind, len(tokens) - 1)
        if best is None:
            return None
        kept = self._kept[best] = self._kept.pop(best)
        return kept, length

    def _nearest(self, tokens: tuple[int, ...], kind: Kind, most: int) -> tuple[Key | None, int]:
        best, length = None, SHORTEST - 1
        for key in self._kept:
            # the next token first: many dialogues begin by the same system message and no more
            if key[0] == kind and key[1][length : length + 1] == tokens[length : length + 1]:
                same = min(common(tokens, key[1]), most)
                if same > length:
                    best, length = key, same
        return best, length

    def put(self, tokens: tuple[int, ...], kind: Kind, each: int, read: Callable[[int, int], Saved]) -> None:
        """Keep a sequence of `each` bytes a token, of which `read` copies those from one place to another; earlier
        entries that are its beginnings are dropped."""
        nbytes = each * len(tokens)
        if nbytes > self.budget or len(tokens) < SHORTEST:
            return
        best, length = self._nearest(tokens, kind, len(tokens))
        shared = () if best is None else self._kept[best].blocks[: length // BLOCK]
        own = range(len(shared) * BLOCK, len(tokens), BLOCK)
        kept = Kept(tokens, (*shared, *(read(at, min(at + BLOCK, len(tokens))) for at in own)), nbytes)
        for key in list(self._kept):
            end = len(key[1])
            if key[0] == kind and tokens[end - 1 : end] == key[1][-1:] and tokens[:end] == key[1]:
                self._drop(key)
        self._kept[kind, tokens] = kept
        self.nbytes += kept.nbytes
        while self.nbytes > self.budget:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self.nbytes -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        """Drop all entries, after the weights changed."""
        self._kept.clear()
        self.nbytes = 0
