"""Losses of reward model and PPO: pure functions on tensors.

Why so: decision 22 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def kwise_loss(scores: Tensor, pairs: Sequence[tuple[int, int]], margins: Sequence[float] = ()) -> Tensor:
    """Mean over one prompt's pairs (winner, loser) of -log sigmoid(r_w - r_l) (Ouyang et al. 2022, equation 1).

    scores [K]; returns a scalar in nats, log 2 for equal scores. `margins`, one per pair, are subtracted
    from r_w - r_l: the winner must lead by that much (Touvron et al. 2023, Llama 2, equation 2).
    """
    assert pairs, "a ranking without a strict preference has no loss"
    winners = torch.tensor([w for w, _ in pairs], device=scores.device)
    losers = torch.tensor([l for _, l in pairs], device=scores.device)
    lead = scores[winners] - scores[losers]
    if margins:
        lead = lead - torch.tensor(margins, dtype=scores.dtype, device=scores.device)
    return -F.logsigmoid(lead).mean()


def label_loss(score: Tensor, label: int) -> Tensor:
    """-log sigmoid(r) of one answer that was called good (label 1), -log sigmoid(-r) of a poor one (-1), in nats."""
    return -F.logsigmoid(label * score)


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """PPO's clipped objective (Schulman et al. 2017, equation 7), negated, per token.

    All [N] over real tokens. Returns (loss [N], clipped [N] bool: where the clip took the gradient away).
    """
    ratio = (logprobs - old_logprobs).exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(free, held), held > free


def kl_loss(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per token [N] nats: exp(d) - d - 1 with d = ref - logp, the k3 estimate of KL(policy || reference).

    Never negative, and unbiased in value for tokens that the policy sampled (Schulman 2020; Shao et al. 2024,
    equation 4).
    """
    difference = ref_logprobs - logprobs
    return difference.exp() - difference - 1


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half squared error per token [N]; with `clip` > 0 the larger of it and that of values clipped to old +- clip."""
    loss = (values - returns) ** 2
    if clip > 0:
        held = old_values + (values - old_values).clamp(-clip, clip)
        loss = torch.maximum(loss, (held - returns) ** 2)
    return 0.5 * loss
