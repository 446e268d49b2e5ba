"""The order of training data: every shuffle of a training stage follows from a name, which contains the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def shuffled(count: int, name: str) -> list[int]:
    """The numbers 0 to `count` - 1 in an order that `name` decides."""
    order = list(range(count))
    random.Random(name).shuffle(order)
    return order


def without_end(count: int, name: str) -> Iterator[int]:
    """The numbers 0 to `count` - 1 over and over: each pass (`NAME/0`, `NAME/1`, ...) has its own order."""
    passes = 0
    while True:
        yield from shuffled(count, f"{name}/{passes}")
        passes += 1


def plan_batches(sizes: Sequence[int], budget: int, epochs: int, name: str, variant: str = "") -> list[list[int]]:
    """Numbers of the items of each optimizer step: every epoch shuffled anew, cut where `budget` would be passed.

    An item larger than the budget is a step of its own. With sizes of 1 the budget is a count.
    """
    batches: list[list[int]] = []
    for epoch in range(epochs):
        batch: list[int] = []
        total = 0
        for i in shuffled(len(sizes), f"{name}/{epoch}{variant}"):
            if batch and total + sizes[i] > budget:
                batches.append(batch)
                batch, total = [], 0
            batch.append(i)
            total += sizes[i]
        batches += [batch] if batch else []
    return batches


def evenly_spaced(steps: int, count: int) -> set[int]:
    """`count` of the steps 1 to `steps` - 1, as evenly spaced as possible; all of them where there are fewer."""
    return {round(steps * k / (count + 1)) for k in range(1, count + 1)} - {0, steps}
