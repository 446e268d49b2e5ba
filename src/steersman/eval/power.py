"""Power: how many prompts it takes to show a difference, and which difference so many prompts can show.

For a paired comparison: the mean of n differences with standard deviation s is found different from 0 at `level` with
probability `power` where its true value is d. Student's t throughout (the verdict's bootstrap is expanded to the same,
decision 63), so that small n are not promised too much. Several seeds of training add a variance that more prompts do
not reduce.

Why so: decision 66 in docs/LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from steersman.stats import student

LARGEST = 10_000_000
MANY = 1000
"""Degrees of freedom from which on Student's t is the normal."""


@dataclass(frozen=True)
class Spread:
    """What differences vary by, as standard deviations: over prompts, over seeds of training, and what is left."""

    prompts: float
    seeds: float = 0.0
    left: float = 0.0

    def error(self, prompts: int, seeds: int = 1) -> float:
        """Standard error of the mean over `prompts` and `seeds`."""
        parts = self.prompts**2 / prompts + self.seeds**2 / seeds + self.left**2 / (prompts * seeds)
        return math.sqrt(parts)

    def degrees(self, prompts: int, seeds: int = 1) -> float:
        """Satterthwaite's degrees of freedom of that error."""
        if not self.seeds or seeds < 2:
            return prompts - 1
        p, s = self.prompts**2 / prompts, self.seeds**2 / seeds
        r = self.left**2 / (prompts * seeds)
        squares = p**2 / (prompts - 1) + s**2 / (seeds - 1) + r**2 / ((prompts - 1) * (seeds - 1))
        return (p + s + r) ** 2 / squares if squares else prompts - 1


def spread_of(differences: Sequence[float]) -> Spread:
    """From measured differences, one per prompt."""
    x = np.asarray(differences, dtype=np.float64)
    if len(x) < 2:
        raise ValueError(f"power: expected at least 2 prompts to measure the spread on, got {len(x)}")
    return Spread(float(x.std(ddof=1)))


def spread_over_seeds(values: Sequence[Sequence[float]]) -> Spread:
    """From differences [seeds, prompts], every seed on every prompt: the components of variance of a crossed
    design, from its mean squares (a negative estimate is 0)."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or min(x.shape) < 2:
        raise ValueError(f"power: expected differences of 2 seeds and 2 prompts at least, got {list(x.shape)}")
    seeds, prompts = x.shape
    mean, of_seeds, of_prompts = x.mean(), x.mean(axis=1), x.mean(axis=0)
    left = float(((x - of_seeds[:, None] - of_prompts + mean) ** 2).sum() / ((seeds - 1) * (prompts - 1)))
    between = max(0.0, float(of_seeds.var(ddof=1)) - left / prompts)
    within = max(0.0, float(of_prompts.var(ddof=1)) - left / seeds)
    return Spread(math.sqrt(within), math.sqrt(between), math.sqrt(left))


def power_at(difference: float, spread: Spread, prompts: int, seeds: int = 1, level: float = 0.95) -> float:
    """Probability that a true `difference` is shown, in its own direction, by so many prompts and seeds."""
    error = spread.error(prompts, seeds)
    if error == 0:
        return float(difference != 0)
    degrees = max(1.0, spread.degrees(prompts, seeds))
    bar = student(degrees, level) if degrees < MANY else NormalDist().inv_cdf(0.5 + level / 2)
    return _beyond(abs(difference) / error, bar, degrees)


def _beyond(shift: float, bar: float, degrees: float) -> float:
    """P(T > bar) for Student's t with this noncentrality: the normal integrated over the estimate of its deviation."""
    if degrees >= MANY:
        return 1 - NormalDist().cdf(bar - shift)
    # T = (Z + shift) / (C / sqrt(degrees)), C chi: unlike chi-squared's, its density is finite from 1 degree on
    edges = np.linspace(0.0, math.sqrt(degrees) + 9, 4001)
    c = (edges[1:] + edges[:-1]) / 2
    log_density = (degrees - 1) * np.log(c) - c**2 / 2
    weight = np.exp(log_density - log_density.max())
    c, weight = c[weight > 1e-12], weight[weight > 1e-12]
    tail = np.array([1 - NormalDist().cdf(bar * x / math.sqrt(degrees) - shift) for x in c])
    return float((tail * weight).sum() / weight.sum())


def prompts_needed(
    difference: float, spread: Spread, power: float = 0.8, seeds: int = 1, level: float = 0.95
) -> int | None:
    """The least number of prompts that shows `difference`; None where no number does, since seeds vary too much."""
    if not difference:
        raise ValueError("power: expected a difference other than 0")
    if power_at(difference, spread, LARGEST, seeds, level) < power:
        return None
    low, high = 1, 2
    while power_at(difference, spread, high, seeds, level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(difference, spread, middle, seeds, level) >= power else (middle, high)
    return high


def smallest_shown(spread: Spread, prompts: int, power: float = 0.8, seeds: int = 1, level: float = 0.95) -> float:
    """The smallest true difference that so many prompts show with this probability."""
    if prompts < 2:
        return math.inf
    low, high = 0.0, 20 * spread.error(prompts, seeds) * student(max(1.0, spread.degrees(prompts, seeds)), level)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle, spread, prompts, seeds, level) >= power else (middle, high)
    return high


def of_wins(win: float, lose: float) -> Spread:
    """The spread of outcomes +1 (won), 0 (tie), -1 (lost) by their shares, on the scale of a win rate: half of it."""
    if win < 0 or lose < 0 or win + lose > 1:
        raise ValueError(f"power: expected shares of won and lost that add up to at most 1, got {win} and {lose}")
    return Spread(math.sqrt(win + lose - (win - lose) ** 2) / 2)
