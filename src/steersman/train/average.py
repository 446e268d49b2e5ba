"""Means of a model's weights: the moving one that InstructGPT evaluates and keeps (decay 0.992), and of last points."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steersman.distributed import parallel
from steersman.train.actors import Actors
from steersman.train.update import Updater


@contextlib.contextmanager
def held(updater: Updater, weights: list[Tensor], push: Callable[[], None]) -> Iterator[None]:
    """Inside, the model has these weights, afterwards its own; `push` sends each change to the engine."""
    _set(updater, weights)
    push()
    try:
        yield
    finally:
        _set(updater, updater.masters)
        push()


@torch.no_grad()
def _set(updater: Updater, weights: list[Tensor]) -> None:
    for parameter, value in zip(updater.parameters, weights, strict=True):
        parallel.local(parameter).copy_(value)


@torch.no_grad()
def drawn_back(actors: Actors, updater: Updater, weights: list[Tensor], share: float) -> list[Tensor]:
    """The policy's weights at this share of the way from the SFT model's, the reference's, to `weights`.

    Of an adapter, whose second matrix starts at 0, that one is multiplied.
    """
    first = {name: parallel.local(p) for name, p in actors.reference.named_parameters()}
    out = []
    for name, weight in zip(updater.names, weights, strict=True):
        if name in first:
            out.append(torch.lerp(first[name].to(weight), weight, share))
        else:
            out.append(share * weight if name.endswith(".lora_B.weight") else weight)
    return out


class Average:
    """average <- decay * average + (1 - decay) * weights for each weight after every iteration, in float32."""

    def __init__(self, updater: Updater, decay: float) -> None:
        self.updater, self.decay = updater, decay
        self.weights: list[Tensor] = [m.clone() for m in updater.masters]

    @torch.no_grad()
    def update(self, step: int = 0) -> None:
        torch._foreach_lerp_(self.weights, self.updater.masters, 1 - self.decay)

    def state(self) -> dict[str, Tensor]:
        named = zip(self.updater.names, self.weights, self.updater.parameters, strict=True)
        return {f"average.{name}": parallel.like(weight, parameter) for name, weight, parameter in named}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for name, weight, parameter in zip(self.updater.names, self.weights, self.updater.parameters, strict=True):
            weight.copy_(parallel.part(tensors[f"average.{name}"], parameter))


class LastPoints(Average):
    """The mean of the weights after the last `count` steps of those that are `every` apart and end at `total`."""

    def __init__(self, updater: Updater, total: int, count: int, every: int) -> None:
        self.updater = updater
        self.steps = {step for i in range(count) if (step := total - i * every) > 0}
        self.weights: list[Tensor] = [torch.zeros_like(m) for m in updater.masters]

    @torch.no_grad()
    def update(self, step: int = 0) -> None:
        """To be called after each step with its number."""
        if step in self.steps:
            torch._foreach_lerp_(self.weights, self.updater.masters, 1 / sum(s <= step for s in self.steps))
