"""What PPO maximises: the reward models' score of an answer plus the weighted rules.

`RewardFn` is the seam, `RewardModels` (one, or an ensemble) and `Rule` stand behind it. `sources` makes them from the
configuration, `answer_scores` adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from steersman.config import PpoConfig, RuleConfig
from steersman.distributed import parallel
from steersman.families.heads import weighted, weights_of
from steersman.families.outputs import branch_heads
from steersman.plugins import load
from steersman.rl.rules import rule_reward, scorer
from steersman.types import Conversation

if TYPE_CHECKING:
    from steersman.train.actors import Actors
    from steersman.train.minibatches import Minibatch


class RewardFn(Protocol):
    """A source of reward."""

    def __call__(self, minibatch: Minibatch) -> tuple[Tensor, dict[str, float]]:
        """(this source's term [E] of each answer's score, float32 on the CPU; figures for the log)."""
        ...


def combine(members: Tensor, how: str, uncertainty_coef: float) -> Tensor:
    """Scores [M, E] of M reward models -> [E]: their mean, their minimum, or mean minus coef * deviation.

    Coste et al. 2023 (reward model ensembles help mitigate over-optimisation); they subtract the variance, here it is
    the population standard deviation, which is on the scale of the scores.
    """
    if how == "min":
        return members.amin(dim=0)
    mean = members.mean(dim=0)
    return mean - uncertainty_coef * members.std(dim=0, unbiased=False) if how == "uncertainty" else mean


@dataclass(frozen=True)
class RewardModels:
    """Reward models over packed rows; a single model's scores are returned unchanged.

    With named objectives, each objective's mean score is logged without its weight.
    """

    models: Sequence[Any]
    weight: float
    how: str
    uncertainty_coef: float

    @torch.no_grad()
    def __call__(self, minibatch: Minibatch) -> tuple[Tensor, dict[str, float]]:
        config = self.models[0].config
        heads = torch.full((len(self.models), len(minibatch.answers), len(weights_of(config)) or 1), -torch.inf)
        for packed in minibatch.rows:
            for member, model in enumerate(self.models):
                heads[member, packed.episodes] = branch_heads(model, packed.still).cpu()
        scores = weighted(parallel.merge(heads), config)
        means = heads.mean(dim=(0, 1)).tolist()
        figures = {f"objective_{name}": mean for name, mean in zip(weights_of(config), means, strict=False)}
        if len(self.models) == 1:
            return self.weight * scores[0], figures
        figures["reward_std"] = float(scores.std(dim=0, unbiased=False).mean())
        return self.weight * combine(scores, self.how, self.uncertainty_coef), figures


@dataclass(frozen=True)
class Rule:
    """One entry of `ppo.rules`, logged under `name` (its mean, without the weight)."""

    name: str
    rule: RuleConfig

    def __call__(self, minibatch: Minibatch) -> tuple[Tensor, dict[str, float]]:
        pairs = [(p, a.text) for p, given in zip(minibatch.prompts, minibatch.completions, strict=True) for a in given]
        prompts, texts = [prompt for prompt, _ in pairs], [text for _, text in pairs]
        kept = torch.tensor(
            self._asked_once(prompts, texts) if self.rule.function else scorer(self.rule)(prompts, texts)
        )
        return self.rule.weight * kept, {self.name: float(kept.mean())}

    def _asked_once(self, prompts: Sequence[Conversation], texts: Sequence[str]) -> list[float]:
        """A user's function runs in the first process only: it may call a service, or be random."""
        values: list[float] = []
        failure = ""
        if parallel.is_first():
            try:
                values = scorer(self.rule)(prompts, texts)
            except ValueError as error:
                failure = str(error)
        values, failure = parallel.gather((values, failure))[0]
        if failure:
            raise ValueError(failure)
        return values


def models_of(actors: Actors, config: PpoConfig) -> RewardModels:
    """The reward models that PPO maximises."""
    scorers = [actors.reward, *actors.members]
    return RewardModels(scorers, config.score.reward_weight, config.score.ensemble, config.score.uncertainty_coef)


def validator(actors: Actors, config: PpoConfig) -> RewardModels:
    """The reward model that stands in for them in the judgement of held-out answers."""
    return RewardModels([actors.validator], config.score.reward_weight, "mean", 0.0)


def sources(actors: Actors, config: PpoConfig) -> list[RewardFn]:
    """The reward models first, then the rules in their order."""
    models = models_of(actors, config)
    return [models, *(Rule(f"rule{i}_{rule.rule}", rule) for i, rule in enumerate(config.score.rules, 1))]


def answer_scores(rewards: Sequence[RewardFn], minibatch: Minibatch) -> tuple[Tensor, dict[str, float]]:
    """(sum of all sources [E], figures of each source for the log)."""
    total, _, figures = judged_scores(rewards, None, minibatch)
    return total, figures


def judged_scores(
    rewards: Sequence[RewardFn], judge: RewardFn | None, minibatch: Minibatch
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """(sum of all sources [E], the same with `judge` for the first source, figures of each source for the log)."""
    first, *others = rewards
    total, figures = first(minibatch)
    judged = judge(minibatch)[0] if judge else total
    for source in others:  # once: a user's function may call a service, or be random
        added, more = source(minibatch)
        total, judged, figures = total + added, judged + added, figures | more
    return total, judged, figures


def check_rewards(config: PpoConfig, members: int, prompts: Sequence[Conversation]) -> None:
    """Raises ValueError where a rule cannot judge a prompt or an ensemble has one member, before hours are spent."""
    if config.score.ensemble != "mean" and members < 2:
        raise ValueError(
            f"ppo.ensemble = '{config.score.ensemble}' needs several reward models, and there is one; train them with "
            "reward.members = 3 or more"
        )
    for number, rule in enumerate(config.score.rules):
        if rule.function:  # a user's function is not called before there are answers
            if parallel.is_first():
                load(rule.function, "rewards" if rule.rule == "python" else "judges", f"ppo.score.rules[{number}]")
            continue
        for prompt in prompts:
            try:
                rule_reward(rule, prompt, "")
            except ValueError as error:
                raise ValueError(f"ppo.rules[{number}] ('{rule.rule}'): {error}") from None
