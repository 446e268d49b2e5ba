"""Rewards of episodes: the score at the end, minus a price per token for leaving the reference.

Why so: decisions 23 and 24 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


def apply_eos_trick(scores: Tensor, ended: Tensor, no_eos_reward: float) -> Tensor:
    """[E]: an answer that never ended gets a fixed score instead of its own (Huang et al. 2024)."""
    return torch.where(ended, scores, no_eos_reward)


def leave_one_out(scores: Tensor, answers: int) -> Tensor:
    """Scores [E] minus the mean score of the same prompt's other answers (Ahmadian et al. 2024, RLOO).

    Episodes lie prompt by prompt, `answers` (at least 2) each. A prompt's overall difficulty cancels; what is
    left compares its answers. The baseline does not depend on the answer itself, so the gradient stays unbiased.
    """
    groups = scores.view(-1, answers)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (answers - 1)
    return (groups - others).view(-1)


def token_rewards(logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Per-token rewards [E, T] (Ziegler et al. 2019): -kl_coef * (logp - ref_logp) on each real token, and the
    score [E] added on the last real token only.
    """
    rewards = torch.where(mask, -kl_coef * (logprobs - ref_logprobs), 0.0)
    last = mask.sum(dim=1) - 1
    assert bool((last >= 0).all()), "an episode without tokens"
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def episode_kl(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """[E] nats: sum over an answer's tokens of logp - ref_logp, an unbiased estimate of KL(policy || reference)."""
    return torch.where(mask, logprobs - ref_logprobs, 0.0).sum(dim=1)


@dataclass
class KlController:
    """The KL coefficient: fixed where `target` is 0, else adapted as in Ziegler et al. 2019, section 2.2.

    The memory of `horizon` episodes is to be seen beside the episodes of a run. Ziegler's 10,000 are a two-hundredth of
    2 million; in a run of 640 they would move the coefficient by 1 % in all.
    """

    coef: float
    target: float
    horizon: int
    clip: float = 0.2
    first: float = 0.0
    """The coefficient that the run began with"""
    ahead: int = 0
    """Iterations by which KL is foreseen, on a line through the last three: the coefficient moves the pace of KL, so
    what is held against the present KL comes too late and swings."""
    seen: list[float] = field(default_factory=list)
    """KL of the last iterations, at most three"""

    def update(self, kl: float, episodes: int, rising: bool = False) -> None:
        """`kl`: mean nats per answer of this iteration; the proportional error is clipped to +-`clip`.

        `rising`: KL, which starts at 0, cannot have reached the target yet, so that a lower one is no reason to lower
        the price.
        """
        if self.target <= 0:
            return
        self.seen = [*self.seen, kl][-3:]
        pace = (kl - self.seen[0]) / max(1, len(self.seen) - 1)
        error = min(max((kl + self.ahead * pace) / self.target - 1, -self.clip), self.clip)
        coef = self.coef * (1 + error * episodes / self.horizon)
        self.coef = max(coef, min(self.coef, self.first)) if rising else max(coef, 0.0)
