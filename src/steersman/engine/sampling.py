"""From logits to the next token: temperature, top-k, top-p, min-p, one uniform number per sequence."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(
    logits: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    uniform: Tensor,
    min_p: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Choose one token per row by inverting the cumulative distribution at `uniform`.

    logits [N, vocab]; temperature, top_p, min_p, uniform float [N]; top_k int [N] (0: all). Temperature 0 is greedy.
    Returns (ids [N], logprobs [N], (scores [N, vocab], logsumexp [N])); a log-probability is in nats under the
    distribution that was sampled from (greedy: under the model's own at temperature 1), which scores and logsumexp
    describe for `top_logprobs`. A row's result depends on that row alone.
    """
    greedy = temperature == 0
    scores = logits.float() / torch.where(greedy, 1.0, temperature)[:, None]
    restricted = (top_k > 0) | (top_p < 1)
    if min_p is not None:
        restricted |= min_p > 0
    restricted &= ~greedy
    if restricted.any():
        floor = None if min_p is None else min_p[restricted]
        scores[restricted] = _restrict(scores[restricted], top_k[restricted], top_p[restricted], floor)
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
    return ids, logprobs, (scores, logsumexp)


def top_logprobs(scores: Tensor, logsumexp: Tensor, k: int) -> list[tuple[int, float]]:
    """The k likeliest (token, log p) of one row of scores [vocab], likeliest first; fewer where fewer are possible."""
    values, tokens = scores.topk(min(k, scores.shape[-1]))
    pairs = zip(tokens.tolist(), (values - logsumexp).tolist(), strict=True)
    return [(token, value) for token, value in pairs if value > float("-inf")]


def _restrict(scores: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor | None) -> Tensor:
    """-inf outside each row's top k, outside its nucleus (the smallest set that reaches top_p), and below min-p."""
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    drop = before >= top_p[:, None]
    rank = torch.arange(scores.shape[-1], device=scores.device)[None]
    drop |= (top_k[:, None] > 0) & (rank >= top_k[:, None])
    if min_p is not None:
        drop |= probabilities < min_p[:, None] * probabilities[:, :1]
    drop[:, 0] = False
    return scores.masked_fill(drop.scatter(1, order, drop), float("-inf"))
