"""The `Family` seam: the functions that Steersman needs for an architecture. A family is a module with these functions.

Stages do not know which family a model is of: they call `steersman.families.outputs`, which asks `family_of` once.
A new family is one file that has these functions, and its name in `steersman.families.known`.

Models are transformers' modules. A scalar model (reward model, critic) has its heads in `score`, a linear layer without
bias from states to one number for each objective.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from steersman.compute.packing import Row
from steersman.families.shape import Shape

Trunk = Callable[[Row], Row]
"""Computes the layers that several models have in common: the row, with `below` set."""


@dataclass(frozen=True)
class Beginning:
    """How a model begins to answer."""

    given: dict[str, Any]
    """Arguments of each forward pass"""
    name: str
    """The argument that tokens are given as"""
    ids: Tensor
    """[1, T]: the first tokens"""


class Family(Protocol):
    """A model is what `causal_class` or `scalar_class` loads; a config is transformers' object for one."""

    def serves(self, config: Any) -> bool:
        """Whether models of this config are of the family."""
        ...

    # loading

    def causal_class(self, config: Any) -> Any:
        """transformers' class with a vocabulary's head. Raises ValueError where it has none."""
        ...

    def scalar_class(self, config: Any) -> Any:
        """A class with `score`. Raises ValueError where there is none."""
        ...

    def scalar_over(self, base: Any, heads: int) -> Any:
        """A scalar model over the weights of a causal one, its heads zero."""
        ...

    def trial(self, ids: Tensor) -> dict[str, Any]:
        """What a forward pass over tokens [1, T] takes, to try a model once before it is used."""
        ...

    def prepare(self, model: Any) -> None:
        """Prepare a loaded model for packed rows. Raises ValueError where several processes cannot train it."""
        ...

    # parts

    def layers(self, model: Any) -> Sequence[Any]:
        """Layers in the order in which they compute: `train_layers` counts from the end, adapters go inside."""
        ...

    def last_norms(self, model: Any) -> Sequence[Any]:
        """Norms behind the last layers, which are trained with them. Raises ValueError where they are not known."""
        ...

    def embedding(self, model: Any) -> Any:
        """The input embedding's module; models over the same weights share it."""
        ...

    def units(self, model: Any) -> Sequence[Any]:
        """Modules whose weights are split over processes one by one, the whole model last."""
        ...

    def adapter_targets(self, model: Any, names: Sequence[str]) -> dict[str, Any]:
        """Fields of peft's adapter_config.json that name the adapted modules. `names`: their paths."""
        ...

    def use_checkpointing(self, model: Any) -> None:
        """Keep only each layer's input; the backward pass recomputes the rest. ValueError where not possible."""
        ...

    # numbers

    def target_logprobs(self, model: Any, row: Row, temperature: float, entropy: bool) -> tuple[Tensor, Tensor]:
        """(log p, entropy) float32 [N] in nats of the row's targets under a causal model; without `entropy` the second
        is not used."""
        ...

    def target_states(self, model: Any, row: Row) -> Tensor:
        """[N, hidden]: the normalised state that predicts each of the row's targets."""
        ...

    def branch_states(self, model: Any, row: Row) -> Tensor:
        """[B, hidden]: the normalised state that has seen all of a branch."""
        ...

    def share_trunk(self, models: Sequence[Any], frozen: int) -> Trunk | None:
        """See `outputs.share_trunk`."""
        ...

    # generation

    def begin(self, model: Any, prompt: Tensor) -> Beginning:
        """How the model begins to answer a prompt [1, T]."""
        ...

    def room(self, config: Any, prompt: int) -> int:
        """Largest number of tokens of an answer to a prompt of `prompt` tokens."""
        ...

    # facts

    def told(self, config: Any) -> str:
        """The model in a sentence, for `steersman doctor`: its kind and how it is trained."""
        ...

    def context(self, config: Any) -> int:
        """Most tokens of prompt and answer together."""
        ...

    def shape(self, config: Any) -> Shape:
        """The model's sizes, for the local engine and the prediction of memory. Raises ValueError with the reason where
        they do not support it."""
        ...
