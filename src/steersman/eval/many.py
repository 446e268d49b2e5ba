"""Many comparisons at once: a p-value of each, and Holm's correction.

Of twenty comparisons of equal models one is "significant" at 5 %. Holm's step-down procedure (1979) keeps the chance of
any false word among all of them at 5 %, whatever their dependence, and never finds less than Bonferroni.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from steersman.stats import Groups, Values, crossed_variance, student_curve

EXACT = 12
"""Up to so many groups all sign patterns are tried."""


def sign_flip_p(differences: Values, groups: Groups = None, rounds: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean of paired differences [N] (Fisher's randomisation test).

    If two models were equal, each difference might as well have the other sign; the p-value is the share of sign
    patterns whose mean is at least as far from 0. Differences of one group change sign together. 1.0 without any.
    """
    x = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"sign flips: expected finite differences, got {x[~np.isfinite(x)][0]}")
    if groups is not None:
        inverse = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        x = np.bincount(inverse, weights=x).astype(np.float64)
    x = x[x != 0]
    if not len(x):
        return 1.0
    found = abs(float(x.sum())) - 1e-12 * float(np.abs(x).sum())  # equal sums may differ in their last digits
    if len(x) <= EXACT:
        patterns = 1 - 2 * ((np.arange(2 ** len(x))[:, None] >> np.arange(len(x))) & 1)
        return float((np.abs(patterns @ x) >= found).mean())
    rng, far, size = np.random.default_rng(seed), 0, max(1, 2_000_000 // len(x))
    for done in range(0, rounds, size):
        drawn = 1 - 2 * rng.integers(0, 2, (min(size, rounds - done), len(x)), dtype=np.int8)
        far += int((np.abs(drawn @ x) >= found).sum())
    return (far + 1) / (rounds + 1)  # the pattern that was seen is one of them, so p is never 0


def crossed_p(values: Any) -> float:
    """Two-sided p-value of the mean of `values` [S seeds, P prompts], by Student's t as `crossed_mean` has it."""
    x = np.asarray(values, dtype=np.float64)
    if min(x.shape) < 2:
        return 1.0
    square, _, degrees = crossed_variance(x)
    if square == 0:
        return float(x.mean() == 0)
    return student_p(abs(float(x.mean())) / math.sqrt(square / x.size), degrees)


def student_p(t: float, degrees: float) -> float:
    """The share of Student's distribution beyond -t and t."""
    degrees = min(degrees, 1000.0)
    angles, density = student_curve(degrees)
    beyond = np.append(np.cumsum(density[::-1])[::-1], 0.0)
    return float(np.interp(math.atan(t / math.sqrt(degrees)), angles, beyond / beyond[0]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: each is to be compared with the error rate of all comparisons together."""
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"holm: expected p-values from 0 to 1, got {next(p for p in p_values if not 0 <= p <= 1)}")
    out, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        out[i] = largest
    return out
