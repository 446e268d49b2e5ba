"""Best of N: of several answers to a prompt the one that a reward model scores highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def best_answers(answers: Sequence[Sequence[T]], scores: Sequence[Sequence[float]]) -> tuple[list[T], list[float]]:
    """Of N answers to each prompt, both given as N lists: the one that scores highest, and its score."""
    best = [max(range(len(row)), key=row.__getitem__) for row in zip(*scores, strict=True)]
    return [answers[k][i] for i, k in enumerate(best)], [scores[k][i] for i, k in enumerate(best)]


def best_of_kl(n: int) -> float:
    """log n - (n - 1) / n nats: at most so far is the best of n answers from the model that gave them.

    Stiennon et al. 2020, appendix G.3; an upper bound in general (Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n
