"""From logits to the next token: temperature, top-k, top-p, one uniform number per sequence."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Choose one token per row by inverting the cumulative distribution at `uniform`.

    logits [N, vocab]; temperature, top_p, uniform float [N]; top_k int [N] (0: all). Temperature 0 is greedy.
    Returns (ids [N], logprobs [N]); a log-probability is in nats under the distribution that was sampled from
    (greedy: under the model's own at temperature 1). A row's result depends on that row alone.
    """
    greedy = temperature == 0
    scores = logits.float() / torch.where(greedy, 1.0, temperature)[:, None]
    restricted = ((top_k > 0) | (top_p < 1)) & ~greedy
    if restricted.any():
        scores[restricted] = _restrict(scores[restricted], top_k[restricted], top_p[restricted])
    logsumexp = scores.logsumexp(dim=-1)
    if bool(greedy.all()):
        ids = scores.argmax(dim=-1)
    else:
        cumulative = (scores - logsumexp[:, None]).exp_().cumsum(dim=-1)
        # scale by the last entry so that rounding of the sum can never leave a gap at the end
        target = (uniform * cumulative[:, -1])[:, None]
        ids = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
        if bool(greedy.any()):
            ids = torch.where(greedy, scores.argmax(dim=-1), ids)
    logprobs = scores.gather(1, ids[:, None])[:, 0] - logsumexp
    return ids, logprobs


def _restrict(scores: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """-inf outside each row's top k and outside its nucleus (the smallest set that reaches top_p)."""
    ordered, order = scores.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    drop = before >= top_p[:, None]
    rank = torch.arange(scores.shape[-1], device=scores.device)[None]
    drop |= (top_k[:, None] > 0) & (rank >= top_k[:, None])
    drop[:, 0] = False
    return scores.masked_fill(drop.scatter(1, order, drop), float("-inf"))
