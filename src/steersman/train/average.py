"""An exponential moving average of the policy's weights, which InstructGPT evaluates and keeps (decay 0.992)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steersman.train.update import Updater


class Average:
    """average <- decay * average + (1 - decay) * weights after every round, in float32."""

    def __init__(self, updater: Updater, decay: float) -> None:
        self.updater, self.decay = updater, decay
        self.weights: list[Tensor] = [m.clone() for m in updater.masters]

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.weights, self.updater.masters, 1 - self.decay)

    @contextlib.contextmanager
    def applied(self, push: Callable[[], None]) -> Iterator[None]:
        """The model has the averaged weights inside, its own again after; `push` tells the engine of each change."""
        self._set(self.weights)
        push()
        try:
            yield
        finally:
            self._set(self.updater.masters)
            push()

    @torch.no_grad()
    def _set(self, weights: list[Tensor]) -> None:
        for parameter, value in zip(self.updater.parameters, weights, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        return {f"average.{name}": w for name, w in zip(self.updater.names, self.weights, strict=True)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for name, weight in zip(self.updater.names, self.weights, strict=True):
            weight.copy_(tensors[f"average.{name}"])
