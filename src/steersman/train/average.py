"""An exponential moving average of the policy's weights, which InstructGPT evaluates and keeps (decay 0.992)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steersman.distributed import parallel
from steersman.train.update import Updater


class Average:
    """average <- decay * average + (1 - decay) * weights for each weight after every iteration, in float32."""

    def __init__(self, updater: Updater, decay: float) -> None:
        self.updater, self.decay = updater, decay
        self.weights: list[Tensor] = [m.clone() for m in updater.masters]

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.weights, self.updater.masters, 1 - self.decay)

    @contextlib.contextmanager
    def applied(self, push: Callable[[], None]) -> Iterator[None]:
        """Inside, the model has the averaged weights, afterwards its own; `push` sends each change to the engine."""
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
            parallel.local(parameter).copy_(value)

    def state(self) -> dict[str, Tensor]:
        named = zip(self.updater.names, self.weights, self.updater.parameters, strict=True)
        return {f"average.{name}": parallel.like(weight, parameter) for name, weight, parameter in named}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for name, weight, parameter in zip(self.updater.names, self.weights, self.updater.parameters, strict=True):
            weight.copy_(parallel.part(tensors[f"average.{name}"], parameter))
