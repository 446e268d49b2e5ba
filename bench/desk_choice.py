"""Does it help to rank first what the reward model is unsure of? A simulation of linear tastes.

    python bench/desk_choice.py [--seeds 40] [--tasks 1000]

People rank K answers by a hidden linear utility with Gumbel noise (Plackett and Luce). A reward model (logistic
regression on pairs, L2) learns 20 random rankings; then 20 at a time are chosen: where several models, each learned
from another half of the labels, disagree, as `steersman desk score` does; by the entropy of one model; or at random.
Printed: accuracy on pairs of held-out prompts by the hidden utility, and mean differences over seeds.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
import numpy.typing as npt

from steersman.rounds.unsure import unsure

Floats = npt.NDArray[np.float64]


def ranked(utilities: Floats, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Answers of each task, the best first, as a noisy person sees them."""
    return np.argsort(-(utilities + rng.gumbel(size=utilities.shape)), axis=1)


def fit(features: Floats, orders: npt.NDArray[np.int64], ridge: float = 1.0) -> Floats:
    """Newton's method on the pairs' log-likelihood."""
    pairs = list(combinations(range(orders.shape[1]), 2))
    x = np.concatenate([_differences(features, orders, i, j) for i, j in pairs])
    w = np.zeros(x.shape[1])
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -50, 50)))
        gradient = x.T @ (1 - p) - ridge * w
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        w = w + np.linalg.solve(hessian, gradient)
    return w


def _differences(features: Floats, orders: npt.NDArray[np.int64], i: int, j: int) -> Floats:
    at = np.arange(len(features))
    return features[at, orders[:, i]] - features[at, orders[:, j]]


def accuracy(w: Floats, features: Floats, utilities: Floats) -> float:
    scores = features @ w
    right = [
        (scores[:, i] > scores[:, j]) == (utilities[:, i] > utilities[:, j])
        for i, j in combinations(range(scores.shape[1]), 2)
    ]
    return float(np.mean(right))


def disagreement(w: list[Floats], features: Floats) -> float:
    return unsure([(features @ one).tolist() for one in w])


def entropy(w: list[Floats], features: Floats) -> float:
    """Of one model alone: what choosing by doubt is often taken to be."""
    scores = features @ w[0]
    p = np.array(
        [1 / (1 + np.exp(np.clip(scores[j] - scores[i], -50, 50))) for i, j in combinations(range(len(scores)), 2)]
    )
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean())


CHOICES = (("2 models", 2, disagreement), ("4 models", 4, disagreement), ("entropy", 1, entropy))


def run(seed: int, tasks: int, answers: int, dim: int, strength: float) -> list[list[float]]:
    """[labels, accuracy at random, accuracy by each of CHOICES] after each step."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=dim) * strength / np.sqrt(dim)
    # tasks differ in how different their answers are, as prompts do
    features = rng.normal(size=(tasks, answers, dim)) * rng.lognormal(0, 0.8, size=(tasks, 1, 1))
    held = rng.normal(size=(400, answers, dim)) * rng.lognormal(0, 0.8, size=(400, 1, 1))
    orders = ranked(features @ taste, rng)
    start, step, most = 20, 20, 200
    random = rng.permutation(tasks)

    def reached(chosen: list[int]) -> float:
        return accuracy(fit(features[chosen], orders[chosen]), held, held @ taste)

    out = [[n, reached(list(random[:n]))] for n in range(start, most + 1, step)]
    for _, models, doubt in CHOICES:
        chosen = list(random[:start])
        for row in out:
            row.append(reached(chosen))
            halves = [
                rng.permutation(chosen)[: len(chosen) if models == 1 else len(chosen) // 2] for _ in range(models)
            ]
            w = [fit(features[half], orders[half]) for half in halves]
            left = np.setdiff1d(np.arange(tasks), chosen)
            value = np.array([doubt(w, features[t]) for t in left])
            chosen += list(left[np.argsort(-value)[:step]])
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=1000)
    given = parser.parse_args()
    for strength in (1.0, 3.0):
        runs = np.array([run(seed, given.tasks, 4, 24, strength) for seed in range(given.seeds)])
        print(
            f"strength of taste {strength:g}, {given.seeds} seeds: accuracy at random, and differences (standard error)"
        )
        for row in np.moveaxis(runs, 1, 0):
            told = []
            for i, (name, _, _) in enumerate(CHOICES):
                difference = row[:, 2 + i] - row[:, 1]
                error = difference.std(ddof=1) / np.sqrt(len(difference))
                told.append(f"{name} {difference.mean():+.3f} ({error:.3f})")
            print(f"  {row[0, 0]:4.0f} labels: {row[:, 1].mean():.3f}; {'; '.join(told)}")


if __name__ == "__main__":
    main()
