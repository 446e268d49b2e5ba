"""The learning rate over a training stage, as a share of its peak."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A line up over the first `warmup` steps, then down to `final` of the peak at step `total`."""

    total: int
    warmup: int = 0
    final: float = 0.0
    shape: str = "cosine"
    """Shape of the fall: cosine, linear, constant (no fall), or stable: the peak, then a line over `fall` steps."""
    first: float | None = None
    """Share at step 0 of the line up; None: as high as one step lifts it, 1 / (warmup + 1)."""
    fall: int = 0

    def share(self, step: int) -> float:
        """Share of the peak rate at `step`, counted from 0."""
        if step < self.warmup:
            if self.first is None:
                return (step + 1) / (self.warmup + 1)
            return self.first + (1 - self.first) * step / self.warmup
        if self.shape == "stable":
            left = (self.total - step) / self.fall if self.fall else 1.0
            return self.final + (1 - self.final) * max(0.0, min(1.0, left))
        progress = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        if self.shape == "constant":
            return 1.0
        if self.shape == "linear":
            return 1 - (1 - self.final) * progress
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
