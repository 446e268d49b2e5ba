"""Two models compared by votes while they come in: valid however often one looks, and whenever one stops.

A forecaster predicts each vote from those before it (an estimate for its model, drawn towards the other model's). Were
the probabilities of a like p and p + d, the ratio of what the forecaster gave the votes to what p and p + d give them
would be a martingale, and above 1 / a ever with probability a at most (Ville). Divided by the most that any p gives,
it is that for every p (universal inference; Wasserman, Ramdas, Balakrishnan 2020). The interval is of all d that are
not refuted so; it holds for votes in any order and any numbers from the two.

Why so: decision 70 in docs/LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_DRAWN = 20.0
"""Votes' worth of weight of the other model's share of likes in the forecast: models that are compared are alike."""
_STEPS = 60
"""Halvings of a search on the unit interval: beyond float64's last digit that matters here."""


@dataclass(frozen=True)
class Votes:
    """Likes and votes of the served model (0) and the candidate (1), and log of what the forecaster gave them."""

    likes: tuple[int, int] = (0, 0)
    votes: tuple[int, int] = (0, 0)
    log_forecast: float = 0.0

    def add(self, model: int, liked: bool) -> Votes:
        """These and one vote more."""
        other = 1 - model
        likes, votes = list(self.likes), list(self.votes)
        drawn = _DRAWN * votes[other] / (votes[other] + _DRAWN)
        theirs = (likes[other] + 0.5) / (votes[other] + 1)
        p = (likes[model] + 0.5 + drawn * theirs) / (votes[model] + 1 + drawn)
        likes[model] += liked
        votes[model] += 1
        gave = math.log(p if liked else 1 - p)
        return Votes((likes[0], likes[1]), (votes[0], votes[1]), self.log_forecast + gave)

    @staticmethod
    def of(said: Iterable[tuple[int, bool]]) -> Votes:
        """Of (model, liked) in the order in which they were given."""
        now = Votes()
        for model, liked in said:
            now = now.add(model, liked)
        return now

    def evidence(self, difference: float) -> float:
        """Log of the e-value against `difference` being the candidate's probability of a like minus the other's."""
        return self.log_forecast - _most_likely(self, difference)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """All differences that are not refuted; covers the true one at every look with probability `level`."""
        if not 0 < level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, got {level}")
        bar = -math.log(1 - level)
        best = self.difference
        # the most that any p gives is concave in the difference, so what is refuted lies at the two ends

        def edge(end: float) -> float:
            return end if self.evidence(end) < bar else _last(lambda x: self.evidence(x) < bar, best, end)

        return (edge(-1.0), edge(1.0)) if min(self.votes) else (-1.0, 1.0)

    @property
    def difference(self) -> float:
        """The candidate's share of likes minus the served model's; 0 until both have votes."""
        shares = [n / v for n, v in zip(self.likes, self.votes, strict=True) if v]
        return shares[1] - shares[0] if len(shares) == 2 else 0.0


def _most_likely(votes: Votes, difference: float) -> float:
    """Most that any p gives the votes, in logs, the candidate's probability being p + difference."""
    (s0, s1), (n0, n1) = votes.likes, votes.votes
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)

    def slope(p: float) -> float:
        return _over(s0, p) - _over(n0 - s0, 1 - p) + _over(s1, p + difference) - _over(n1 - s1, 1 - p - difference)

    if difference == 0:
        p = (s0 + s1) / max(n0 + n1, 1)
    else:
        p = _last(lambda x: slope(x) > 0, low, high) if high > low else low
    chances = ((s0, p), (n0 - s0, 1 - p), (s1, p + difference), (n1 - s1, 1 - p - difference))
    return sum(n * math.log(max(x, 1e-300)) for n, x in chances if n)


def _over(n: int, x: float) -> float:
    return n / max(x, 1e-300) if n else 0.0


def _last(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last point, seen from `inside`, at which `holds`."""
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return inside
