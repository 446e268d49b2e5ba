"""Bradley-Terry: strengths of several models from comparisons in pairs, with intervals over prompts.

P(a beats b) = sigmoid(theta_a - theta_b), a tie half of each. Fitted by Newton's method with a small ridge, which keeps
a model that never lost finite; strengths sum to 0. Intervals resample whole prompts, since one prompt's comparisons are
not independent. A model that won all its comparisons wins all when they are drawn again: its interval is open above and
begins where Wilson's bound of so many prompts puts it; so for one that lost all. `points` are on Elo's scale: 400 are
odds of ten to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steersman.stats import Interval, wilson

RIDGE = 0.01
POINTS = 400 / math.log(10)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """One comparison: 1 where `a` is better, 0.5 a tie, 0 where `b` is."""

    a: str
    b: str
    score: float
    prompt: str = ""


def bradley_terry(
    comparisons: Sequence[Compared], resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Strength of each model in points, the best first; `n` counts its comparisons.

    ValueError where the comparisons fall into groups of models that never met: between those nothing is known.
    """
    if not comparisons:
        raise ValueError("bradley-terry: expected at least one comparison")
    names = sorted({name for c in comparisons for name in (c.a, c.b)})
    if parts := _apart(names, comparisons):
        raise ValueError(f"bradley-terry: {' and '.join(parts)} never met; expected comparisons that join all")
    if bad := [c.score for c in comparisons if not 0 <= c.score <= 1]:
        raise ValueError(f"bradley-terry: expected scores from 0 to 1, got {bad[0]}")
    place = {name: i for i, name in enumerate(names)}
    wins = _wins(comparisons, place)
    theta = _fit(wins)
    prompts = sorted({c.prompt or f"#{i}" for i, c in enumerate(comparisons)})
    at = {prompt: i for i, prompt in enumerate(prompts)}
    of_prompt = np.zeros((len(prompts), len(names), len(names)))
    for i, c in enumerate(comparisons):
        one = of_prompt[at[c.prompt or f"#{i}"]]
        one[place[c.a], place[c.b]] += c.score
        one[place[c.b], place[c.a]] += 1 - c.score
    rng = np.random.default_rng(seed)
    flat = of_prompt.reshape(len(prompts), -1)
    counts = rng.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), resamples)
    drawn = (counts @ flat).reshape(resamples, len(names), len(names))
    thetas = np.stack([_fit(w, theta) for w in drawn])
    low, high = np.quantile(thetas, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    _open(wins, low, high, (of_prompt.sum(axis=2) + of_prompt.sum(axis=1) > 0).sum(axis=0), level)
    seen = wins + wins.T
    out = {name: _interval(theta[i], low[i], high[i], round(seen[i].sum())) for name, i in place.items()}
    if len(prompts) < 2:
        out = {name: Interval(of.value, -math.inf, math.inf, of.n) for name, of in out.items()}
    return dict(sorted(out.items(), key=lambda item: -item[1].value))


def _interval(value: float, low: float, high: float, n: int) -> Interval:
    return Interval(float(POINTS * value), float(POINTS * low), float(POINTS * high), n)


def _open(wins: Floats, low: Floats, high: Floats, prompts: npt.NDArray[np.int64], level: float) -> None:
    """Widen the bounds of models that won or lost all; `prompts` [M]: those on which each was compared."""
    for i in range(len(wins)):
        won, lost = wins[i].sum(), wins[:, i].sum()
        if won and lost:
            continue
        share, changed = wilson(float(prompts[i]), float(prompts[i]), level)[0], wins.copy()
        changed[i] = share * wins[i] + (1 - share) * wins[:, i]
        changed[:, i] = share * wins[:, i] + (1 - share) * wins[i]
        bound = _fit(changed)[i]
        low[i], high[i] = (min(low[i], bound), math.inf) if won else (-math.inf, max(high[i], bound))


def chance(a: float, b: float) -> float:
    """Probability that a model of `a` points beats one of `b`."""
    return 1 / (1 + math.exp((b - a) / POINTS))


def _wins(comparisons: Sequence[Compared], place: dict[str, int]) -> Floats:
    """[M, M]: how often the row's model beat the column's."""
    wins = np.zeros((len(place), len(place)))
    for c in comparisons:
        wins[place[c.a], place[c.b]] += c.score
        wins[place[c.b], place[c.a]] += 1 - c.score
    return wins


def _fit(wins: Floats, start: Floats | None = None) -> Floats:
    """Strengths [M] in nats by Newton's method; the ridge makes the solution unique and its sum 0."""
    played = wins + wins.T
    theta = np.zeros(len(wins)) if start is None else start.copy()
    for _ in range(100):
        p = 0.5 * (1 + np.tanh(0.5 * (theta[:, None] - theta[None])))
        gradient = (wins - played * p).sum(axis=1) - RIDGE * theta
        weight = played * p * (1 - p)
        hessian = np.diag(weight.sum(axis=1) + RIDGE) - weight
        step = np.clip(np.linalg.solve(hessian, gradient), -2, 2)
        theta = theta + step
        if float(np.abs(step).max(initial=0.0)) < 1e-10:
            break
    return np.asarray(theta - theta.mean(), dtype=np.float64)


def _apart(names: Sequence[str], comparisons: Sequence[Compared]) -> list[str]:
    """One model of each of two groups that never met; [] where all are joined."""
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for c in comparisons:
        root[find(c.a)] = find(c.b)
    groups = sorted({find(name) for name in names})
    return groups[:2] if len(groups) > 1 else []
