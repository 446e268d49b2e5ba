"""Rewards of episodes: the score at the end, minus a price per token for leaving the reference.

Why so: decisions 23 and 24 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def update(self, kl: float, episodes: int, due: float = 1.0) -> None:
        """`kl`: mean nats per answer of this iteration; the proportional error is clipped to +-`clip`.

        `due`: share of the target that the run should have reached. It starts at 0 nats; held against the whole target
        the coefficient would fall until it is reached, and overshoot.
        """
        if self.target * due > 0:
            error = min(max(kl / (self.target * due) - 1, -self.clip), self.clip)
            self.coef *= 1 + error * episodes / self.horizon
