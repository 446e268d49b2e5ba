"""Advantages from rewards and values. Episodes are rows [E, T], padded at the right; `mask` marks real tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016) over episodes that end at their last real token.

    rewards, values [E, T] float, mask [E, T] bool -> (advantages, returns) [E, T], zero where the mask is.
    returns = advantages + values. The value after the last real token is 0.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros(rewards.shape[0], dtype=rewards.dtype, device=rewards.device)
    next_value = torch.zeros_like(following)
    for t in reversed(range(rewards.shape[1])):
        real = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(real, delta + gamma * lam * following, following)
        next_value = torch.where(real, values[:, t], next_value)
        advantages[:, t] = torch.where(real, following, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)


def group_normalise(scores: Tensor, answers: int) -> Tensor:
    """Scores [E] minus the mean score of the same prompt's answers, divided by their standard deviation (GRPO).

    Shao et al. 2024, section 4.1.2. Episodes lie prompt by prompt, `answers` (at least 2) each; where all scored the
    same, all are 0.
    """
    groups = scores.view(-1, answers)
    deviation = groups.std(dim=1, unbiased=False, keepdim=True)
    return ((groups - groups.mean(dim=1, keepdim=True)) / (deviation + 1e-4)).view(-1)


def most_varied(rewards: Tensor, answers: int, kept: int) -> Tensor:
    """Of each prompt's rewards, the `kept` with the largest variance: indices [prompts * kept] into rewards [E], in
    order. Max-variance down-sampling, Xu et al. 2025: they are some of the highest and the rest of the lowest.

    Episodes lie prompt by prompt, `answers` (at least `kept`) each; ties go to the first below, the last above.
    """
    groups = rewards.view(-1, answers)
    order = groups.argsort(dim=1, stable=True)
    high = torch.arange(kept + 1)[:, None]
    rank = torch.arange(kept)
    ends = torch.where(rank < high, answers - 1 - rank, rank - high)  # [kept + 1, kept]: `high` from above, then below
    options = order[:, ends]  # [prompts, kept + 1, kept]
    first = torch.arange(len(groups), device=rewards.device)[:, None, None]
    spread = groups[first, options].var(dim=2, unbiased=False)
    best = options[torch.arange(len(groups), device=rewards.device), spread.argmax(dim=1)]
    return (best.sort(dim=1).values + answers * first[:, :, 0]).view(-1)


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale [E, T] to variance 1 over real tokens (population variance); mean 0, or kept if not `shift_mean`."""
    real = x[mask]
    mean = real.mean()
    scaled = (x - mean) * torch.rsqrt(real.var(unbiased=False) + 1e-8)
    return torch.where(mask, scaled if shift_mean else scaled + mean, 0.0)
