"""Best of N: of several answers to a prompt the one that a reward model scores highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def best_answers(answers: Sequence[Sequence[T]], scores: Sequence[Sequence[float]]) -> tuple[list[T], list[float]]:
    """Per prompt the highest-scoring of N answers, and its score; answers and scores are given as N lists."""
    best = [max(range(len(row)), key=row.__getitem__) for row in zip(*scores, strict=True)]
    return [answers[k][i] for i, k in enumerate(best)], [scores[k][i] for i, k in enumerate(best)]


def best_of_kl(n: int) -> float:
    """log n - (n - 1) / n: upper bound in nats of the KL of best-of-n sampling from the sampled model.

    Stiennon et al. 2020, appendix G.3; an upper bound in general (Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n
