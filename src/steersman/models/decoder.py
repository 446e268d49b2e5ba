"""The decoder family: hidden states, log-probabilities, scalar scores and values of packed rows.

This is the `Family` seam's first member. Stages ask for log-probabilities, values and scores; they never look
inside the model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.models.packing import Row

CHUNK = 1024
"""Rows of logits in memory at once."""


def hidden_states(backbone: Any, row: Row) -> Tensor:
    """[T, hidden]: the last layer's normalised output for one packed row."""
    # a 4-D mask is passed through by transformers untouched; ours is made by the attention function itself
    untouched = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=row.ids.device)
    mask: Any = untouched
    if "sliding_attention" in (getattr(backbone.config, "layer_types", None) or ()):
        mask = {"full_attention": untouched, "sliding_attention": untouched}
    output = backbone(
        input_ids=row.ids[None],
        attention_mask=mask,
        position_ids=row.positions[None],
        use_cache=False,
        packed_row=row,
    )
    states: Tensor = output.last_hidden_state[0]
    return states


class _TokenLogprobs(torch.autograd.Function):
    """log p(target) and entropy without keeping logits: the backward pass makes them again, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> Any:
        logprobs = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        normaliser = torch.empty_like(logprobs)
        for at in range(0, hidden.shape[0], CHUNK):
            rows = slice(at, at + CHUNK)
            logits = F.linear(hidden[rows], weight).float().div_(temperature)
            normaliser[rows] = logits.logsumexp(-1)
            chosen = logits.gather(1, targets[rows, None])[:, 0]
            logprobs[rows] = chosen - normaliser[rows]
            p = (logits - normaliser[rows, None]).exp_()
            entropy[rows] = normaliser[rows] - p.mul_(logits).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature = temperature
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor) -> Any:  # type: ignore[override]
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        with_entropy = bool(grad_entropy.any())
        for at in range(0, hidden.shape[0], CHUNK):
            rows = slice(at, at + CHUNK)
            logits = F.linear(hidden[rows], weight).float().div_(ctx.temperature)
            log_p = logits.sub_(normaliser[rows, None])
            p = log_p.exp()
            grad = p * -grad_logprobs[rows, None]
            grad.scatter_add_(1, targets[rows, None], grad_logprobs[rows, None])
            if with_entropy:
                grad -= grad_entropy[rows, None] * p * (log_p + entropy[rows, None])
            grad = grad.div_(ctx.temperature).to(hidden.dtype)
            grad_hidden[rows] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.T @ hidden[rows]
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None


def token_logprobs(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(log p(target), entropy), float32 [N] in nats, from hidden [N, d] and the head's weight [vocab, d]."""
    logprobs, entropy = _TokenLogprobs.apply(hidden, weight, targets, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def response_logprobs(model: Any, row: Row, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy) [N] of the row's targets under a causal model."""
    hidden = hidden_states(model.model, row)[row.predictors]
    return token_logprobs(hidden, model.lm_head.weight, row.target_ids, temperature)


def response_values(model: Any, row: Row) -> Tensor:
    """[N] float32: a scalar model's output at the state before each target token."""
    return _scalar(model, hidden_states(model.model, row)[row.predictors])


def branch_scores(model: Any, row: Row) -> Tensor:
    """[B] float32: a scalar model's output on the last real token of each branch."""
    return _scalar(model, hidden_states(model.model, row)[row.branch_ends])


def _scalar(model: Any, hidden: Tensor) -> Tensor:
    """The head in float32: scores are differences of near numbers, which bfloat16 would round away."""
    shift = float(getattr(model.config, "reward_shift", 0.0))
    return F.linear(hidden.float(), model.score.weight.float())[:, 0] - shift


def init_score_head(model: Any, seed: int) -> None:
    """Normal with deviation 1 / sqrt(d + 1) (Ziegler et al. 2019)."""
    weight = model.score.weight
    generator = torch.Generator().manual_seed(seed)
    deviation = 1 / math.sqrt(weight.shape[1] + 1)
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)


def train_last_layers(model: Any, layers: int) -> None:
    """Freeze all but the last `layers` decoder layers, the final norm and a scalar head; 0 trains everything."""
    total = len(model.model.layers)
    if not 0 <= layers <= total:
        raise ValueError(f"train_layers: expected 0 to {total} (this model's layers), got {layers}")
    for parameter in model.parameters():
        parameter.requires_grad_(layers == 0)
    if layers:
        heads = [model.model.norm] + ([model.score] if hasattr(model, "score") else [])
        for part in [*model.model.layers[total - layers :], *heads]:
            for parameter in part.parameters():
                parameter.requires_grad_(True)
