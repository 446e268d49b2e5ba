"""How far each labeler can be trusted, from labels that overlap: one-coin Dawid-Skene over pairs, with shrinkage.

rankings -> one vote per pair of answers that a labeler does not call equal -> expectation maximisation: for each pair
the probability of either order, given how often each voter is right; for each voter how often they agree with that

Dawid and Skene 1979; as crowd-BT (Chen et al. 2013) has it, a labeler agrees with the truth with one probability, and
an adversary's is below one half. Without a gold answer "the truth" is what labelers agree on: it is assumed that on
average they are right more often than wrong. The K(K-1)/2 pairs of a ranking count as the K-1 comparisons that sort
them, since they follow from each other.

Why so: decision 64 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steersman.stats import wilson
from steersman.types import Ranking

Floats = npt.NDArray[np.float64]
USUAL = 0.75
"""Probability of agreement that a labeler is given before anything is known of them."""
STRENGTH = 8.0
"""Comparisons' worth of weight of what is expected, against what a labeler's own labels say."""
MEAN_BETWEEN = (0.55, 0.95)
"""Bounds of the labelers' mean, to which those with few labels are drawn; its lower bound breaks the tie between the
labels as they are and all of them reversed, which explain the same agreements."""
_ROUNDS, _SETTLED = 500, 1e-9


@dataclass(frozen=True, slots=True)
class Labeler:
    """One labeler's reliability. `accuracy`: probability of ordering a pair as the consensus does, with its 95 %
    interval (of the comparisons that others judged too); `weight` in [0, 1]: 1 for the most reliable of all."""

    name: str
    weight: float
    accuracy: float
    low: float
    high: float
    rankings: int
    """Labels in all: rankings, and votes on single answers."""
    overlapping: int
    """Of these, those that somebody else's label can be held against."""
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Agreed:
    """How often two labelers gave the same order to a pair that neither called equal."""

    a: str
    b: str
    agreed: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Reliability:
    labelers: tuple[Labeler, ...] = ()
    agreements: tuple[Agreed, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        return {one.name: one.weight for one in self.labelers}

    @property
    def overlapping(self) -> bool:
        """Whether any two labelers judged the same pair."""
        return bool(self.agreements)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class _Vote:
    """A labeler's word on one question: +1 for the first of two answers or a good one, -1 for the other."""

    question: Hashable
    labeler: str
    sign: int
    counts: float
    """Of how many comparisons' worth it is."""
    ranking: int


def reliability(rankings: Iterable[Ranking]) -> Reliability:
    """Every labeler's reliability, from the rankings of the same answers by several of them.

    A ranking of a single graded answer is a vote on it. Nobody overlaps: every weight is 1. Labels without a name are
    together one labeler's of whom nothing can be known.
    """
    rankings = list(rankings)
    names = sorted({r.labeler for r in rankings})
    votes = [] if len(names) < 2 else [vote for i, ranking in enumerate(rankings) for vote in _votes(i, ranking)]
    voters: defaultdict[Hashable, set[str]] = defaultdict(set)
    for vote in votes:
        if vote.labeler:
            voters[vote.question].add(vote.labeler)
    shared = [vote for vote in votes if vote.labeler and len(voters[vote.question]) > 1]
    right, seen, mean = _fit(shared)
    accuracy = {n: _drawn(right.get(n, 0.0), seen.get(n, 0.0), mean) for n in names}
    best = max(accuracy.values(), default=USUAL)
    overlapping = {n: len({v.ranking for v in shared if v.labeler == n}) for n in names}
    count, simulated = Counter(r.labeler for r in rankings), {r.labeler for r in rankings if r.simulated}
    labelers = []
    for n in names:
        p, said = accuracy[n], seen.get(n, 0.0) + STRENGTH
        low, high = wilson(p * said, said)
        labelers.append(Labeler(n, _weight(p, best), p, low, high, count[n], overlapping[n], n in simulated))
    return Reliability(tuple(labelers), _agreements(shared))


def weigh(rankings: Sequence[Ranking], found: Reliability) -> list[Ranking]:
    """The rankings with their labelers' weights; 1 for one whom `found` does not know, and for a manager's decision."""
    weights = found.weights
    return [
        dataclasses.replace(r, weight=1.0 if r.overrules else round(weights.get(r.labeler, 1.0), 4)) for r in rankings
    ]


def _weight(accuracy: float, best: float) -> float:
    """How much a vote of this accuracy tells, 2p - 1, as a share of what the best labeler's does; an adversary's
    nothing, though reversed it would: who lies today may not tomorrow."""
    return min(max((2 * accuracy - 1) / (2 * best - 1), 0.0), 1.0) if best > 0.5 else 1.0


def _votes(number: int, ranking: Ranking) -> Iterator[_Vote]:
    asked = (ranking.objective, tuple((m.role, m.spelled) for m in ranking.prompt.messages))
    if len(ranking.answers) == 1:
        if ranking.grades is not None and ranking.grades[0] != "average":
            sign = 1 if ranking.grades[0] == "good" else -1
            yield _Vote((asked, ranking.answers), ranking.labeler, sign, 1.0, number)
        return
    for winner, loser in ranking.pairs():
        pair = (ranking.answers[winner], ranking.answers[loser])
        if pair[0] != pair[1]:
            sign = 1 if pair[0] < pair[1] else -1
            yield _Vote((asked, tuple(sorted(pair))), ranking.labeler, sign, 2 / len(ranking.answers), number)


def _fit(votes: Sequence[_Vote]) -> tuple[dict[str, float], dict[str, float], float]:
    """(labeler -> comparisons in which they were right, labeler -> comparisons, the labelers' mean accuracy)."""
    if not votes:
        return {}, {}, USUAL
    names = sorted({v.labeler for v in votes})
    number = {name: i for i, name in enumerate(names)}
    numbers: dict[Hashable, int] = {}
    question = np.array([numbers.setdefault(v.question, len(numbers)) for v in votes])
    labeler = np.array([number[v.labeler] for v in votes])
    sign, counts = (np.array([getattr(v, name) for v in votes], float) for name in ("sign", "counts"))
    seen = np.bincount(labeler, counts)
    accuracy, mean = np.full(len(names), USUAL), USUAL
    for _ in range(_ROUNDS):
        log_odds = np.bincount(question, sign * np.log(accuracy / (1 - accuracy))[labeler])
        first = 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))
        agrees = np.where(sign > 0, first[question], 1 - first[question])
        right = np.bincount(labeler, counts * agrees)
        mean = float(np.clip((right.sum() + USUAL * STRENGTH) / (seen.sum() + STRENGTH), *MEAN_BETWEEN))
        before, accuracy = accuracy, (right + mean * STRENGTH) / (seen + STRENGTH)
        if float(np.abs(accuracy - before).max()) < _SETTLED:
            break
    return dict(zip(names, right.tolist(), strict=True)), dict(zip(names, seen.tolist(), strict=True)), mean


def _drawn(right: float, seen: float, mean: float) -> float:
    return (right + mean * STRENGTH) / (seen + STRENGTH)


def _agreements(votes: Sequence[_Vote]) -> tuple[Agreed, ...]:
    said: defaultdict[Hashable, dict[str, int]] = defaultdict(dict)
    for vote in votes:
        said[vote.question][vote.labeler] = vote.sign
    agreed: Counter[tuple[str, str]] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for by in said.values():
        names = sorted(by)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                pairs[a, b] += 1
                agreed[a, b] += by[a] == by[b]
    return tuple(Agreed(a, b, agreed[a, b], pairs[a, b]) for a, b in sorted(pairs))
