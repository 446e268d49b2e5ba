"""How far labelers agree: Krippendorff's alpha and Cohen's kappa, with bootstrap intervals over tasks.

A ranking of K answers is K ordinal values, one an answer: its place, ties shared (1, 2.5, 2.5, 4), so that ranks and
grades can be compared. Kappa is of pairs of answers (first better, equal, second better) for rankings, of the value
itself for votes and sets of flags. Whole tasks are drawn in the bootstrap: the answers of one are not independent.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; Cohen 1960.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Unit = Mapping[str, float]
"""Labeler -> the value that they gave to one thing."""
RESAMPLES = 1000
FEWEST = 10
"""Tasks below which a bootstrap's interval is far too narrow, at two of them often of no width."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A coefficient with its 95 % interval; None where it cannot be computed (nobody overlaps, nothing varies, too few
    tasks for an interval)."""

    value: float | None
    low: float | None
    high: float | None
    units: int
    """Tasks that both, or at least two, labeled."""
    constant: str = ""
    """Of two: who always says the same, "a", "b" or "ab". Chance is then all that kappa has to compare with, and it
    would be 0 or nothing however often they agree."""


def places(order: Sequence[int]) -> list[float]:
    """Ranks or grades as places 1 to K, ties sharing the mean of theirs."""
    return [sum(o < mine for o in order) + (sum(o == mine for o in order) + 1) / 2 for mine in order]


def alpha(units: Sequence[Unit], ordinal: bool = True) -> float | None:
    """Krippendorff's alpha of ordinal (or nominal) values. Units with one value say nothing."""
    return _alpha(_coincidences(units), ordinal)


def _values(units: Sequence[Unit]) -> list[float]:
    return sorted({value for unit in units if len(unit) > 1 for value in unit.values()})


def _coincidences(units: Sequence[Unit], values: Sequence[float] | None = None) -> Floats:
    """The matrix of coincidences: how often each pair of values was given to the same unit, each unit's pairs weighing
    as many values as it has."""
    values = _values(units) if values is None else values
    at = {value: i for i, value in enumerate(values)}
    seen = np.zeros((len(values), len(values)))
    for unit in units:
        if len(unit) > 1:
            counts = np.zeros(len(values))
            for value in unit.values():
                counts[at[value]] += 1
            seen += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return seen


def _alpha(seen: Floats, ordinal: bool) -> float | None:
    totals = seen.sum(axis=0)
    n = totals.sum()
    if n == 0:
        return None
    apart = np.not_equal.outer(np.arange(len(seen)), np.arange(len(seen))).astype(float)
    if ordinal:  # how many values lie between two, their own counted by half
        middle = np.cumsum(totals) - totals / 2
        apart = (middle[:, None] - middle[None, :]) ** 2
    expected = float((np.outer(totals, totals) * apart).sum()) / (n - 1)
    return 1 - float((seen * apart).sum()) / expected if expected > 0 else None


def kappa(said: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two labelers' words on the same things."""
    if not said:
        return None
    n, first, second = len(said), Counter(a for a, _ in said), Counter(b for _, b in said)
    chance = sum(first[word] * second[word] for word in first) / n**2
    return (sum(a == b for a, b in said) / n - chance) / (1 - chance) if chance < 1 else None


def measured_alpha(tasks: Sequence[Sequence[Unit]], ordinal: bool = True, seed: int = 0) -> Measured:
    """Alpha over tasks, each with the units it consists of (the answers of a ranking, or one)."""
    shared = [units for task in tasks if (units := [unit for unit in task if len(unit) > 1])]
    values = _values([unit for task in shared for unit in task])
    each = np.array([_coincidences(task, values) for task in shared]).reshape(len(shared), len(values), len(values))

    def of(chosen: npt.NDArray[np.int64]) -> float | None:
        counts = np.bincount(chosen, minlength=len(each)).astype(float)
        return _alpha(np.tensordot(counts, each, axes=1), ordinal)

    return _interval(len(shared), of, seed)


def measured_kappa(tasks: Sequence[Sequence[tuple[Hashable, Hashable]]], seed: int = 0) -> Measured:
    """Kappa over tasks, each with what the two said of its parts."""
    shared = [task for task in tasks if task]
    said = list(zip(*(pair for task in shared for pair in task), strict=True))
    constant = "".join(who for who, words in zip("ab", said, strict=False) if len(set(words)) == 1)
    if constant:
        return Measured(None, None, None, len(shared), constant)

    def of(chosen: npt.NDArray[np.int64]) -> float | None:
        return kappa([pair for i in chosen for pair in shared[i]])

    return _interval(len(shared), of, seed)


def _interval(n: int, of: Callable[[npt.NDArray[np.int64]], float | None], seed: int) -> Measured:
    if n == 0:
        return Measured(None, None, None, 0)
    value = of(np.arange(n))
    if value is None or n < FEWEST:
        return Measured(value, None, None, n)
    rng = np.random.default_rng(seed)
    drawn = [of(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    known = [one for one in drawn if one is not None]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (value, value)
    if low == high:  # as where all agree on everything seen: no width says nothing of what was not seen
        return Measured(value, None, None, n)
    return Measured(value, float(low), float(high), n)


@dataclass(frozen=True, slots=True)
class Judged:
    """One label for comparing: whose, of which task, and the places of its answers or its one word."""

    labeler: str
    task: str
    places: tuple[float, ...] = ()
    word: str = ""

    @property
    def words(self) -> tuple[Hashable, ...]:
        """What kappa compares: the order of each pair of answers, or the word."""
        if not self.places:
            return (self.word,)
        return tuple((a > b) - (a < b) for a, b in combinations(self.places, 2))


def agreement(judged: Sequence[Judged], ordinal: bool = True) -> Measured:
    """Alpha between all of them."""
    tasks: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        tasks[one.task].append(one)
    number = {word: float(i) for i, word in enumerate(sorted({one.word for one in judged}))}
    units = []
    for said in tasks.values():
        k = len(said[0].places)
        if k:
            units.append([{one.labeler: one.places[i] for one in said} for i in range(k)])
        else:
            units.append([{one.labeler: number[one.word] for one in said}])
    return measured_alpha(units, ordinal)


def pairwise(judged: Sequence[Judged]) -> list[tuple[str, str, Measured]]:
    """Kappa of each two labelers who labeled some of the same tasks."""
    by: defaultdict[str, dict[str, Judged]] = defaultdict(dict)
    for one in judged:
        by[one.labeler][one.task] = one
    out = []
    for a, b in combinations(sorted(by), 2):
        shared = [(by[a][task], by[b][task]) for task in by[a] if task in by[b]]
        if shared:
            said = [list(zip(x.words, y.words, strict=True)) for x, y in shared if len(x.words) == len(y.words)]
            out.append((a, b, measured_kappa(said)))
    return out
