"""Win rates at equal length of several models against one baseline, in the manner of AlpacaEval 2 (Dubois et al. 2024).

    P(model m wins on prompt x) = sigmoid(theta_m + phi_m * tanh(d / deviation of d) + psi_m * difficulty_x)

d is the model's length minus the baseline's; a prompt's difficulty is common to all models: how often they lose on it.
It is fitted first (with psi 1 for all), then each model by itself. The rate is the mean over prompts at d = 0. With one
model nothing tells difficulty from chance, so `stats.length_controlled_win_rate` leaves it out. A ridge keeps all
finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steersman.stats import Interval, wilson

RIDGE = 0.1
"""Penalty on a model's coefficients, as in `stats`."""
DIFFICULTY = 1.0
"""Penalty on prompts' difficulties: a prior of deviation 1."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """One model against the baseline: per prompt 1 where it won, 0.5 a tie, and its length minus the baseline's."""

    prompts: Sequence[str]
    wins: Sequence[float]
    lengths: Sequence[float]


def length_controlled(
    models: Mapping[str, Outcomes], resamples: int = 100, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Each model's win rate at equal length; intervals resample prompts and fit all anew.

    ValueError where there are fewer than two models, a win is not in [0, 1], or lists differ in length.
    """
    if len(models) < 2:
        raise ValueError("length control with difficulty: expected at least two models against the baseline")
    for name, of in models.items():
        if not len(of.prompts) == len(of.wins) == len(of.lengths) > 0:
            raise ValueError(f"length control: {name}: expected as many wins and lengths as prompts, and at least one")
        if not all(0 <= win <= 1 for win in of.wins):
            raise ValueError(f"length control: {name}: expected wins in [0, 1]")
    names = sorted({prompt for of in models.values() for prompt in of.prompts})
    place = {prompt: i for i, prompt in enumerate(names)}
    owner = np.concatenate([np.full(len(of.prompts), m) for m, of in enumerate(models.values())])
    at = np.array([place[prompt] for of in models.values() for prompt in of.prompts])
    y = np.array([win for of in models.values() for win in of.wins], dtype=np.float64)
    x = np.concatenate([_relative(of.lengths) for of in models.values()])
    rates = _rates(owner, at, x, y, np.ones(len(names)))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples).astype(np.float64)
    again = np.array([_rates(owner, at, x, y, weights) for weights in drawn])
    low, high = np.nanquantile(again, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    for m, of in enumerate(models.values()):  # drawn again, these would always give the same
        count = len(set(of.prompts))
        if count == 1:
            low[m], high[m] = -np.inf, np.inf
        elif len(set(of.wins)) == 1:
            share = wilson(count, count, level)[0]
            low[m], high[m] = min(low[m], share * of.wins[0]), max(high[m], 1 - share + share * of.wins[0])
    return {
        name: Interval(float(rates[m]), float(low[m]), float(high[m]), len(of.prompts))
        for m, (name, of) in enumerate(models.items())
    }


def _relative(lengths: Sequence[float]) -> Floats:
    d = np.asarray(lengths, dtype=np.float64)
    spread = float(d.std())
    return np.tanh(d / spread) if spread > 0 else np.zeros_like(d)


def _rates(owner: Floats, at: Floats, x: Floats, y: Floats, weights: Floats) -> Floats:
    """[models] of the prompts' `weights` (how often each was drawn); NaN where none of a model's was."""
    models = int(owner.max()) + 1
    difficulty = _difficulty(owner, at, x, y, weights)
    out = np.full(models, np.nan)
    for m in range(models):
        mine = (owner == m) & (weights[at] > 0)
        if not mine.any():
            continue
        w, hard = weights[at[mine]], difficulty[at[mine]]
        design = np.stack([np.ones(int(mine.sum())), x[mine], hard], axis=1)
        theta, _, psi = _logistic(design, y[mine], w, np.array([RIDGE, RIDGE, RIDGE]))
        out[m] = float((w * _sigmoid(theta + psi * hard)).sum() / w.sum())
    return out


def _difficulty(owner: Floats, at: Floats, x: Floats, y: Floats, weights: Floats) -> Floats:
    """[prompts]: how much easier than usual a prompt is for all models, by turns with each model's theta and phi."""
    models, prompts = int(owner.max()) + 1, len(weights)
    hard, beta, w = np.zeros(prompts), np.zeros((models, 2)), weights[at]
    for _ in range(30):
        before = hard.copy()
        for m in range(models):
            mine = owner == m
            design = np.stack([np.ones(int(mine.sum())), x[mine]], axis=1)
            beta[m] = _logistic(design, y[mine], w[mine], np.array([RIDGE, RIDGE]), hard[at[mine]], beta[m])
        fixed = beta[owner, 0] + beta[owner, 1] * x
        for _ in range(4):  # one number per prompt: its own Newton steps
            p = _sigmoid(fixed + hard[at])
            slope = np.bincount(at, weights=y - p, minlength=prompts) - DIFFICULTY * hard
            curve = np.bincount(at, weights=p * (1 - p), minlength=prompts) + DIFFICULTY
            hard = hard + np.clip(slope / curve, -1, 1)
        if float(np.abs(hard - before).max()) < 1e-6:
            break
    return hard


def _logistic(
    design: Floats, y: Floats, weights: Floats, ridge: Floats, offset: Floats | float = 0.0, start: Floats | None = None
) -> Floats:
    """Newton's method on the weighted log-likelihood with a penalty ridge / 2 * beta^2."""
    beta = np.zeros(design.shape[1]) if start is None else start.copy()
    for _ in range(60):
        p = _sigmoid(design @ beta + offset)
        gradient = design.T @ (weights * (y - p)) - ridge * beta
        hessian = (design.T * (weights * p * (1 - p))) @ design + np.diag(ridge)
        step = np.clip(np.linalg.solve(hessian, gradient), -1, 1)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return np.asarray(beta, dtype=np.float64)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), dtype=np.float64)
