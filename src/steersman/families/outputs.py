"""A model's outputs for a packed row (log-probabilities, values, scores), and the choice of layers to train.

Nothing here knows an architecture: each function asks the model's family (`steersman.families.family`) once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute.packing import Row
from steersman.distributed import parallel
from steersman.families.family import Trunk
from steersman.families.heads import normalised, weighted
from steersman.families.known import family_of


def reads_apart(config: Any) -> bool:
    """Whether a model reads a prompt by an encoder of its own, and writes answers alone."""
    return bool(config.is_encoder_decoder)


def context_of(config: Any) -> int:
    """Most tokens of prompt and answer together that a model of this config takes."""
    return family_of(config).context(config)


def response_logprobs(model: Any, row: Row, temperature: float = 1.0, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy) [N] of the row's targets under a causal model."""
    return parallel.call(model, family_of(model).target_logprobs, model, row, temperature, entropy)


def response_values(model: Any, row: Row) -> Tensor:
    """[N] float32: a scalar model's output at the state before each target token."""
    return weighted(_heads(model, family_of(model).target_states, row), model.config)


def branch_scores(model: Any, row: Row) -> Tensor:
    """[B] float32: a scalar model's output on the last real token of each branch, the weighted sum of its heads."""
    return weighted(branch_heads(model, row), model.config)


def branch_heads(model: Any, row: Row) -> Tensor:
    """[B, heads] float32: each objective's score of each branch, on the scale of `normalised`."""
    return _heads(model, family_of(model).branch_states, row)


def branch_features(model: Any, row: Row) -> Tensor:
    """[B, d] float32: what the heads read of each branch."""
    states = family_of(model).branch_states
    return parallel.call(model, lambda: states(model, row).float())


def _heads(model: Any, states: Callable[[Any, Row], Tensor], row: Row) -> Tensor:
    """The heads in float32: scores are differences of near numbers, which bfloat16 would round away."""

    def compute() -> Tensor:
        hidden = states(model, row)
        return normalised(F.linear(hidden.float(), model.score.weight.float()), model.config)

    return parallel.call(model, compute)


def init_score_head(model: Any, seed: int) -> None:
    """Normal with deviation 1 / sqrt(d + 1) (Ziegler et al. 2019)."""
    weight = model.score.weight
    generator = torch.Generator().manual_seed(seed)
    deviation = 1 / math.sqrt(weight.shape[1] + 1)
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)


def share_trunk(models: Sequence[Any], frozen: int) -> Trunk | None:
    """Find the lowest layers that all models have in common, to compute them once for all.

    At most the first `frozen` layers are shared, the frozen ones. The trunk sets a row's `below`, and goes on from
    where it is set already; None where the models have nothing in common.
    """
    return family_of(models[0]).share_trunk(models, frozen)


def layer_count(model: Any) -> int:
    """Layers that `train_layers` can choose from."""
    return len(family_of(model).layers(model))


def frozen_layers(model: Any, train_layers: int) -> int:
    """Number of lowest layers that are frozen when the last `train_layers` are trained; 0 when all are."""
    return layer_count(model) - train_layers if train_layers else 0


def last_layers(model: Any, layers: int) -> Sequence[Any]:
    """The last `layers` layers, 0: all. Raises ValueError where there are fewer."""
    found = family_of(model).layers(model)
    if not 0 <= layers <= len(found):
        raise ValueError(f"train_layers: expected 0 to {len(found)} (this model's layers), got {layers}")
    return found[-layers:]


def train_last_layers(model: Any, layers: int) -> None:
    """Freeze all but the last `layers` layers, the norm behind them and a scalar head; 0 trains everything."""
    last = last_layers(model, layers)
    for parameter in model.parameters():
        parameter.requires_grad_(layers == 0)
    if layers:
        heads = [*family_of(model).last_norms(model), *([model.score] if hasattr(model, "score") else [])]
        for part in [*last, *heads]:
            for parameter in part.parameters():
                parameter.requires_grad_(True)


def use_checkpointing(model: Any) -> None:
    """Keep only each layer's input (Chen et al. 2016). Gradients are the same. ValueError where not possible."""
    family_of(model).use_checkpointing(model)


def shard(*models: Any) -> None:
    """Split models over the processes that train together; see `parallel.shard`."""
    parallel.shard([(family_of(model).embedding(model), family_of(model).units(model)) for model in models])
