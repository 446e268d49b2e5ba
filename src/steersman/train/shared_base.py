"""PPO's four models with LoRA: one frozen base in memory, the rest adapters and heads on it.

    reference  the SFT model
    policy     the SFT model + an adapter that is trained
    reward     the SFT model + the adapter and head of the reward stage
    critic     the same adapter and head again, trained; with critic_init = 'sft' a new adapter and a zero head

A reward model whose weights were trained, or whose adapter was trained on another model, has a base of its own; the
critic then shares that one, with an adapter that is new.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steersman import progress
from steersman.config import ModelConfig, PpoConfig
from steersman.families.heads import saved_scale
from steersman.families.known import family_of
from steersman.families.twins import twin
from steersman.weights.folders import load_causal, load_scalar, pick_device, use_packed_rows
from steersman.weights.lora import adapter_base, put_adapter, quantized, set_trainable, weights_hash


def share_base(sft: Path, rewards: Sequence[Path]) -> bool:
    """Whether all reward models are adapters on the SFT model's weights."""
    weights = weights_hash(sft)
    return all(adapter_base(folder) == weights for folder in rewards)


def load_over_one_base(
    sft: Path, rewards: Sequence[Path], config: PpoConfig, model_config: ModelConfig, seed: int
) -> tuple[Any, Any, Any, list[Any]]:
    """(policy, reference, critic, reward models), one reward model for each folder of `rewards`.

    Raises ValueError on what cannot be loaded.
    """
    device = pick_device(model_config.device)
    options = (model_config.dtype, model_config.trust_remote_code)
    extra = quantized(model_config, config.adapters.lora_rank)
    reference = use_packed_rows(load_causal(sft, *options, **extra)).to(device)
    reference.requires_grad_(False)
    policy = twin(reference)
    set_trainable(policy, config, seed)
    scorers, weights = [], weights_hash(sft)
    for folder in rewards:
        if adapter_base(folder) == weights:
            scorers.append(_scalar(reference, folder))
            continue
        progress.note(
            f"{folder}: not an adapter on {sft}; its weights are loaded beside the policy's "
            "(with reward.lora_rank the reward model would share them)"
        )
        scorers.append(use_packed_rows(load_scalar(folder, *options, **extra)).to(device))
    if config.critic.init == "sft":
        critic = family_of(reference).scalar_over(reference, 1)
        set_trainable(critic, config, seed + 1)
    elif adapter_base(rewards[0]) == weights:
        critic = _scalar(reference, rewards[0])
    else:
        critic = twin(scorers[0])
        critic.score = copy.deepcopy(scorers[0].score)
        set_trainable(critic, config, seed + 1)
    return policy, reference, critic, scorers


def _scalar(base: Any, reward: Path) -> Any:
    """The reward model over `base`; its own adapter and head are trainable."""
    scale = saved_scale(reward)
    model = family_of(base).scalar_over(base, len(scale.get("objectives", ())) or 1)
    model.config.update(scale)
    put_adapter(model, reward)
    return model
