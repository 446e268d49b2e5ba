"""The models of PPO. Policy and critic learn; reference and reward models do not. Without GAE there is no critic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman.config import ModelConfig, PpoConfig
from steersman.families.family import Trunk
from steersman.families.heads import rescale, reweigh
from steersman.families.outputs import (
    frozen_layers,
    layer_count,
    shard,
    share_trunk,
    train_last_layers,
    use_checkpointing,
)
from steersman.text.template import Template
from steersman.train.ensemble import member_folders
from steersman.train.judgement import length_only, validator_of
from steersman.train.shared_base import load_over_one_base
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, pick_device, use_packed_rows
from steersman.weights.lora import quantized


@dataclass
class Actors:
    policy: Any
    reference: Any
    reward: Any
    critic: Any
    tokenizer: Any
    template: Template
    trunk: Trunk | None = None
    """Computes the lowest layers once for all, where they are the same and frozen."""
    still: Trunk | None = None
    """Goes on once for the models that do not learn: where the reward model is a solved head, all layers are alike."""
    members: Sequence[Any] = ()
    """Further reward models of an ensemble."""
    validator: Any = None
    """The reward model that judges held-out answers and is not maximised; None where the maximised one does."""
    equal_length: bool = False
    """Whether held-out answers are judged at equal length."""
    length_price: float = 0.0
    """What a token more is worth to the judge among the SFT model's answers; taken off where that is so."""

    @property
    def learning(self) -> list[Any]:
        return [self.policy] if self.critic is None else [self.policy, self.critic]

    def rescale(self, scales: Mapping[str, Sequence[float]], config: PpoConfig) -> None:
        """Shift and divide the scores as `scores.evaluate` measured, and the critic's where it began so."""
        scorers = [self.reward, *self.members]
        if self.critic is not None and config.critic.init == "reward":
            scorers.append(self.critic)
        (self.length_price,) = scales.get("length", [0.0])
        for name, models in (("reward", scorers), ("validator", [self.validator])):
            for model in models if name in scales else ():
                rescale(model.config, *scales[name])

    @staticmethod
    def load(sft: Path, reward: Path, config: PpoConfig, model_config: ModelConfig, seed: int = 0) -> Actors:
        """Raises ValueError on what cannot be loaded, and where policy and reward model have not one tokenizer."""
        judge = validator_of(reward, config)[0]
        rewards = [reward, *member_folders(reward), *([judge] if judge else [])]
        load = load_over_one_base if config.adapters.lora_rank else load_whole
        policy, reference, critic, scorers = load(sft, rewards, config, model_config, seed)
        if config.advantage.method != "gae":
            critic = None
        for model in [*scorers, *([critic] if critic is not None and config.critic.init == "reward" else [])]:
            reweigh(model.config, config.score.objectives, "ppo.objectives")
        for model in (reference, *scorers):
            model.requires_grad_(False)
        tokenizer = load_tokenizer(sft)
        if load_tokenizer(reward).get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"{reward}: its tokenizer differs from that of {sft}; policy and reward model must share one"
            )
        template = Template(tokenizer, model_config.thinking, today=False)
        validator = scorers.pop() if judge else None
        first, *members = scorers
        actors = Actors(policy, reference, first, critic, tokenizer, template, members=members, validator=validator)
        actors.equal_length = bool(length_only(reward, config))
        scorers += [validator] if judge else []
        models = [*actors.learning, reference, *scorers]
        actors.trunk = share_trunk(models, frozen_layers(policy, config.adapters.train_layers))
        actors.still = share_trunk([reference, *scorers], layer_count(reference))
        shard(*models)
        for model in actors.learning if config.rows.checkpointing else ():
            use_checkpointing(model)
        return actors


def load_whole(
    sft: Path, rewards: Sequence[Path], config: PpoConfig, model_config: ModelConfig, _seed: int
) -> tuple[Any, Any, Any, list[Any]]:
    """(policy, reference, critic, reward models), each with weights of its own; without GAE None for the critic."""
    device, extra = pick_device(model_config.device), quantized(model_config, 0)
    options = (model_config.dtype, model_config.trust_remote_code)
    policy, reference = (use_packed_rows(load_causal(sft, *options, **extra)).to(device) for _ in range(2))
    start = rewards[0] if config.critic.init == "reward" else sft
    critics, scorers = (
        [use_packed_rows(load_scalar(path, *options, **extra)).to(device) for path in paths]
        for paths in ([start] if config.advantage.method == "gae" else [], rewards)
    )
    for critic in critics if config.critic.init == "sft" else ():
        torch.nn.init.zeros_(critic.score.weight)
    for model in (policy, *critics):
        train_last_layers(model, config.adapters.train_layers)
    return policy, reference, critics[0] if critics else None, scorers
