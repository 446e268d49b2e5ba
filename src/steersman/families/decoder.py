"""The decoder family: hidden states, log-probabilities, scalar scores and values of packed rows.

This is the `Family` seam's first member. Stages ask for log-probabilities, values and scores; they never look
inside the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute.layers import final_norm, is_known, run_layers
from steersman.compute.packing import Row
from steersman.compute.vocabulary import embed, token_logprobs
from steersman.distributed import parallel
from steersman.families import traits, unpacked
from steersman.families.heads import normalised, weighted


def hidden_states(model: Any, row: Row, below: Tensor | None = None) -> Tensor:
    """[T, hidden]: the last layer's normalised output for one packed row.

    `below` [T, hidden] are the states of the layers that `share_trunk` split off; only the rest is computed.
    """
    if not traits.is_packed(model):
        return unpacked.states(model, row)
    backbone = traits.backbone(model)
    if is_known(backbone.config):
        skipped = backbone.trunk_layers if below is not None else 0
        x = embed(backbone.embed_tokens, row.ids) if below is None else below
        return final_norm(backbone, run_layers(backbone, backbone.layers[skipped:], x, row))
    # a 4-D mask is passed through by transformers untouched; ours is made by the attention function itself
    mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=row.ids.device)
    kinds = set(getattr(backbone.config, "layer_types", None) or ())
    output = backbone(
        input_ids=row.ids[None],
        attention_mask=dict.fromkeys({"full_attention", *kinds}, mask) if kinds - {"full_attention"} else mask,
        position_ids=row.positions[None],
        use_cache=False,
        packed_row=row,
    )
    states: Tensor = output.last_hidden_state[0]
    return states


def _same_weights(a: Any, b: Any) -> bool:
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())  # names differ where one has an adapter
    return ours.keys() == theirs.keys() and all(p is theirs[n] or torch.equal(p, theirs[n]) for n, p in ours.items())


def share_trunk(models: Sequence[Any], frozen: int) -> tuple[Callable[[Row], Tensor] | None, int]:
    """Find the lowest layers that all models have in common and compute them once for all.

    At most the first `frozen` layers are shared, those that no optimizer touches. Returns (trunk, its layers): the
    trunk maps a row to states [T, hidden] to be given as `below`; None where the models have nothing in common.
    """
    backbones = [traits.backbone(m) for m in models]
    first, *others = backbones
    layers = 0
    if frozen and is_known(first.config) and all(_same_weights(first.embed_tokens, o.embed_tokens) for o in others):
        while layers < frozen and all(_same_weights(first.layers[layers], o.layers[layers]) for o in others):
            layers += 1
    if not layers:
        return None, 0
    for backbone in backbones:
        backbone.trunk_layers = layers

    def lowest(row: Row) -> Tensor:
        return run_layers(first, first.layers[:layers], first.embed_tokens(row.ids), row)

    @torch.no_grad()
    def trunk(row: Row) -> Tensor:
        return parallel.call(models[0], lowest, row)

    return trunk, layers


def response_logprobs(
    model: Any, row: Row, temperature: float = 1.0, below: Tensor | None = None, entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy) [N] of the row's targets under a causal model. `below`: a shared trunk's states."""

    def compute(below: Tensor | None) -> tuple[Tensor, Tensor]:
        if not traits.is_packed(model):
            return unpacked.target_logprobs(model, row, temperature)
        hidden = hidden_states(model, row, below)[row.predictors]
        scale = temperature * traits.head_scale(model.config)
        cap = getattr(model.config, "final_logit_softcapping", None) or 0.0
        return token_logprobs(hidden, model.lm_head.weight, row.target_ids, scale, entropy, cap)

    return parallel.call(model, compute, below)


def response_values(model: Any, row: Row, below: Tensor | None = None) -> Tensor:
    """[N] float32: a scalar model's output at the state before each target token."""
    return weighted(_heads(model, row, below, row.predictors), model.config)


def branch_scores(model: Any, row: Row, below: Tensor | None = None) -> Tensor:
    """[B] float32: a scalar model's output on the last real token of each branch, the weighted sum of its heads."""
    return weighted(branch_heads(model, row, below), model.config)


def branch_heads(model: Any, row: Row, below: Tensor | None = None) -> Tensor:
    """[B, heads] float32: each objective's score of each branch, on the scale of `normalised`."""
    return _heads(model, row, below, row.branch_ends)


def _heads(model: Any, row: Row, below: Tensor | None, places: Tensor) -> Tensor:
    """The heads in float32: scores are differences of near numbers, which bfloat16 would round away."""

    def compute(below: Tensor | None) -> Tensor:
        hidden = hidden_states(model, row, below)[places]
        return normalised(F.linear(hidden.float(), model.score.weight.float()), model.config)

    return parallel.call(model, compute, below)


def init_score_head(model: Any, seed: int) -> None:
    """Normal with deviation 1 / sqrt(d + 1) (Ziegler et al. 2019)."""
    weight = model.score.weight
    generator = torch.Generator().manual_seed(seed)
    deviation = 1 / math.sqrt(weight.shape[1] + 1)
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)


def last_layers(model: Any, layers: int) -> Any:
    """The last `layers` decoder layers, 0: all. Raises ValueError where there are fewer."""
    total = len(traits.layers(model))
    if not 0 <= layers <= total:
        raise ValueError(f"train_layers: expected 0 to {total} (this model's layers), got {layers}")
    return traits.layers(model)[-layers:]


def train_last_layers(model: Any, layers: int) -> None:
    """Freeze all but the last `layers` decoder layers, the final norm and a scalar head; 0 trains everything."""
    last = last_layers(model, layers)
    for parameter in model.parameters():
        parameter.requires_grad_(layers == 0)
    if layers:
        heads = [traits.last_norm(model)] + ([model.score] if hasattr(model, "score") else [])
        for part in [*last, *heads]:
            for parameter in part.parameters():
                parameter.requires_grad_(True)
