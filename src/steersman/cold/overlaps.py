"""How much one text says what another says: ROUGE-L over words, and over characters of Chinese."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steersman.data.contamination import units

Units = Sequence[str]


def rouge_l(one: Units, other: Units) -> float:
    """F1 of the longest common subsequence, 0 to 1."""
    if not one or not other:
        return 0.0
    common = _longest(one, other)
    return 2 * common / (len(one) + len(other))


def _longest(one: Units, other: Units) -> int:
    row = [0] * (len(other) + 1)
    for a in one:
        before = 0
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], before + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


class Pool:
    """Texts that new ones must differ from."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._texts: list[tuple[str, Units, Counter[str]]] = []
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        words = units(text)
        self._texts.append((text, words, Counter(words)))

    def nearest(self, text: str, least: float = 0.0) -> tuple[float, str]:
        """(ROUGE-L, the text) of the most alike; (0, '') where none reaches `least`."""
        words = units(text)
        counts, best = Counter(words), (0.0, "")
        for other, theirs, n in self._texts:
            size = len(words) + len(theirs)
            if not size or 2 * (counts & n).total() / size < max(least, best[0]):  # words in any order bound it
                continue
            found = rouge_l(words, theirs)
            if found > best[0] and found >= least:
                best = (found, other)
        return best
