"""The training data of one PPO iteration as tensors: episodes are rows [E, T], padded at the right.

Why so: decision 21 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.config import AdvantageConfig
from steersman.rl.advantages import gae, group_normalise, whiten
from steersman.rl.rewards import apply_eos_trick, episode_kl, leave_one_out, token_rewards


@dataclass(frozen=True)
class Experience:
    """E episodes of at most T tokens. Floats are float32; padded entries are 0 and masked."""

    mask: Tensor
    """[E, T] bool: real tokens"""
    ended: Tensor
    """[E] bool: the answer ended by itself"""
    scores: Tensor
    """[E] reward model's scores, before the EOS trick"""
    old_logprobs: Tensor
    """[E, T] under the policy that sampled"""
    ref_logprobs: Tensor
    """[E, T] under the reference model"""
    values: Tensor
    """[E, T] the critic's value of the state before each token"""
    rewards: Tensor
    """[E, T] per token: KL price, and the score at the end"""
    advantages: Tensor
    """[E, T]"""
    returns: Tensor
    """[E, T]"""

    def split(self, counts: Sequence[int]) -> list[Experience]:
        """Parts of `counts[0]`, `counts[1]`, ... episodes, in order."""
        columns = {name: torch.split(tensor, list(counts)) for name, tensor in vars(self).items()}
        return [Experience(**{name: parts[i] for name, parts in columns.items()}) for i in range(len(counts))]

    def chosen(self, episodes: Tensor) -> Experience:
        """The episodes of these numbers, in their order."""
        return Experience(**{name: tensor[episodes] for name, tensor in vars(self).items()})

    @property
    def kl(self) -> Tensor:
        """[E] KL to the reference model in nats per answer."""
        return episode_kl(self.old_logprobs, self.ref_logprobs, self.mask)

    @property
    def explained_variance(self) -> float:
        """1 - Var(returns - values) / Var(returns) over real tokens; 1 is a perfect critic, 0 a constant one."""
        returns, values = self.returns[self.mask], self.values[self.mask]
        variance = returns.var(unbiased=False)
        return float(1 - (returns - values).var(unbiased=False) / variance) if variance > 0 else 0.0

    @property
    def value_loss(self) -> float:
        """The critic's loss before it learns from these episodes, mean over real tokens."""
        returns, values = self.returns[self.mask], self.values[self.mask]
        return float(0.5 * (values - returns).square().mean())


def pad(episodes: Sequence[Tensor]) -> Tensor:
    """E tensors [t_e] -> [E, max t_e], zeros at the right."""
    return torch.nn.utils.rnn.pad_sequence(list(episodes), batch_first=True)


@dataclass(frozen=True)
class Episodes:
    """The models' outputs for E answers: one tensor [t] or one number per answer."""

    old_logprobs: Sequence[Tensor]
    ref_logprobs: Sequence[Tensor]
    values: Sequence[Tensor]
    scores: Tensor
    """[E] float32"""
    ended: Tensor
    """[E] bool"""


def make_experience(
    episodes: Episodes, config: AdvantageConfig, *, answers: int, kl_coef: float, no_eos_reward: float
) -> Experience:
    """Rewards, advantages and returns of episodes that lie prompt by prompt, `answers` each.

    `config.method` "gae" asks the critic; with `group_baseline` the scores of the same prompt's other answers
    are first subtracted as a baseline. For "rloo" and "grpo" an answer is one action: its whole reward, KL price
    included, relative to its group's rewards, is the advantage of each of its tokens. They use no values or returns.
    """
    mask = pad([torch.ones(len(x), dtype=torch.bool) for x in episodes.old_logprobs])
    old, ref, value = pad(episodes.old_logprobs), pad(episodes.ref_logprobs), pad(episodes.values)
    final = apply_eos_trick(episodes.scores, episodes.ended, no_eos_reward)
    if config.method == "gae" and config.group_baseline:
        final = leave_one_out(final, answers)
    rewards = token_rewards(old, ref, final, mask, kl_coef)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    if config.method == "gae":
        advantages, returns = gae(rewards, value, mask, config.gamma, config.lam)
    else:
        compare = leave_one_out if config.method == "rloo" else group_normalise
        advantages = torch.where(mask, compare(rewards.sum(dim=1), answers)[:, None], 0.0)
        returns = torch.zeros_like(advantages)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Experience(mask, episodes.ended, episodes.scores, old, ref, value, rewards, advantages, returns)
