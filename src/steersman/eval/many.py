"""Many comparisons at once: a p-value of each, and Holm's correction.

Of twenty comparisons of equal models one is "significant" at 5 %. Holm's step-down procedure (1979) keeps the chance of
any false word among all of them at 5 %, whatever their dependence, and never finds less than Bonferroni.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from steersman.stats import Groups, Values

EXACT = 12
"""Up to so many groups all sign patterns are tried."""


def sign_flip_p(differences: Values, groups: Groups = None, rounds: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean of paired differences [N] (Fisher's randomisation test).

    If two models were equal, each difference might as well have the other sign; the p-value is the share of sign
    patterns whose mean is at least as far from 0. Differences of one group change sign together. 1.0 without any.
    """
    x = np.asarray(differences, dtype=np.float64)
    if groups is not None:
        inverse = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        x = np.bincount(inverse, weights=x).astype(np.float64)
    x = x[x != 0]
    if not len(x):
        return 1.0
    found = abs(float(x.sum())) * (1 - 1e-12)
    if len(x) <= EXACT:
        patterns = 1 - 2 * ((np.arange(2 ** len(x))[:, None] >> np.arange(len(x))) & 1)
        return float((np.abs(patterns @ x) >= found).mean())
    rng, far, size = np.random.default_rng(seed), 0, max(1, 2_000_000 // len(x))
    for done in range(0, rounds, size):
        drawn = 1 - 2 * rng.integers(0, 2, (min(size, rounds - done), len(x)), dtype=np.int8)
        far += int((np.abs(drawn @ x) >= found).sum())
    return (far + 1) / (rounds + 1)  # the pattern that was seen is one of them, so p is never 0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: each is to be compared with the error rate of all comparisons together."""
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"holm: expected p-values from 0 to 1, got {next(p for p in p_values if not 0 <= p <= 1)}")
    out, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        out[i] = largest
    return out
