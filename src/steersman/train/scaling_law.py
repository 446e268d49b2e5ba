"""A law of the held-out loss by the operations of training, fitted to small models, says what a larger one will reach.

    loss(C) = floor + scale * C ** -slope

the form of Kaplan et al. 2020 and Hoffmann et al. 2022 for models of one dial, whose tokens follow from their size, so
that one number says how large a run is. Fitted by least squares of the logarithms, as errors grow with the loss.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 4
"""Runs: three numbers are fitted."""
SLOPES = np.geomspace(0.01, 1.0, 400)
FLOORS = 400
"""Floors tried, from 0 to the least loss."""

Point = tuple[float, float]
"""(operations, loss)"""


@dataclass(frozen=True)
class Law:
    """loss = floor + scale * (operations / unit) ** -slope."""

    floor: float
    scale: float
    slope: float
    unit: float
    """The operations of the smallest run"""

    def loss(self, operations: float) -> float:
        return self.floor + self.scale * math.pow(operations / self.unit, -self.slope)

    def __str__(self) -> str:
        return f"{self.floor:.3f} + {self.scale:.3f} * (operations / {self.unit:.3g}) ** -{self.slope:.3f}"


@dataclass(frozen=True)
class Prediction:
    """Of one run: the law's loss, and the least and largest of the laws that each leave one run out."""

    loss: float
    low: float
    high: float
    laws: int
    """How many of those there are: without one run, the others may follow none."""


def fit(points: Sequence[Point]) -> Law:
    """The law nearest to these runs, at least three of them of different sizes, losses above 0 and falling.

    Raises ValueError where there are fewer, or where larger runs are not better.
    """
    line = sorted(points)
    operations, losses = np.array(line, dtype=np.float64).T if line else (np.empty(0), np.empty(0))
    if len({*operations}) < FEWEST - 1 or not np.isfinite(losses).all() or (losses <= 0).any():
        raise ValueError(f"a law needs runs of at least {FEWEST - 1} sizes with losses above 0, got {line}")
    if losses[-1] >= losses[0]:
        raise ValueError(f"larger runs are not better here, so no law is fitted: {_listed(line)}")
    unit = float(operations[0])
    floors = np.linspace(0.0, float(losses.min()), FLOORS, endpoint=False)
    above = np.log(losses[None, :] - floors[:, None])
    powers = SLOPES[:, None] * np.log(operations / unit)[None, :]
    # for a floor and a slope, log(scale) is the mean of log(loss - floor) + slope * log(operations)
    scales = np.exp((above[:, None, :] + powers[None, :, :]).mean(axis=2))
    predicted = floors[:, None, None] + scales[:, :, None] * np.exp(-powers)[None, :, :]
    errors = ((np.log(predicted) - np.log(losses)) ** 2).sum(axis=2)
    i, j = np.unravel_index(int(errors.argmin()), errors.shape)
    return Law(float(floors[i]), float(scales[i, j]), float(SLOPES[j]), unit)


def predict(points: Sequence[Point], operations: float) -> Prediction:
    """The loss of a run of so many operations, from at least four runs."""
    if len(points) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} runs to predict from, got {len(points)}")
    loss = fit(points).loss(operations)
    found = [loss]
    for i in range(len(points)):
        with contextlib.suppress(ValueError):
            found.append(fit([*points[:i], *points[i + 1 :]]).loss(operations))
    return Prediction(loss, min(found), max(found), len(found) - 1)


def _listed(points: Sequence[Point]) -> str:
    return ", ".join(f"{loss:.4f} after {operations:.3g}" for operations, loss in points if math.isfinite(loss))
