"""A reward model's heads, one for each objective: their names, their scale, and the weights of their sum.

All of it is in the model's config.json, in the order of the rows of `score.weight`:

    score = sum over objectives of objective_weights * (head - reward_shift) / reward_scale

A reward model without named objectives has one head, of weight and scale 1, and at most a `reward_shift`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KEYS = ("objectives", "objective_weights", "reward_shift", "reward_scale")


def _vector(config: Any, key: str, default: float, like: Tensor) -> Tensor:
    return torch.tensor(getattr(config, key, default), dtype=torch.float32, device=like.device)


def normalised(heads: Tensor, config: Any) -> Tensor:
    """What the heads compute [N, heads], shifted and divided by their scale."""
    return (heads - _vector(config, "reward_shift", 0.0, heads)) / _vector(config, "reward_scale", 1.0, heads)


def weighted(heads: Tensor, config: Any) -> Tensor:
    """Normalised heads [..., heads] -> their weighted sum [...]."""
    return (heads * _vector(config, "objective_weights", 1.0, heads)).sum(dim=-1)


def weights_of(config: Any) -> dict[str, float]:
    """Objective -> weight, in the order of the heads; {} where the reward model has no named objectives."""
    return dict(zip(getattr(config, "objectives", ()), getattr(config, "objective_weights", ()), strict=True))


def name_heads(config: Any, weights: Mapping[str, float]) -> None:
    """Write names and weights into a model's config; transformers shows the names as labels of its logits."""
    config.objectives, config.objective_weights = list(weights), list(weights.values())
    config.id2label = dict(enumerate(weights))
    config.label2id = {name: head for head, name in enumerate(weights)}


def set_scale(config: Any, shift: Sequence[float], scale: Sequence[float]) -> None:
    """Write what each head's output is shifted by and divided by; a head that never varies is left undivided."""
    config.reward_shift, config.reward_scale = list(shift), [deviation or 1.0 for deviation in scale]


def rescale(config: Any, mean: float, deviation: float) -> None:
    """Shift and divide once more: the weighted sum becomes (sum - mean) / deviation, a lone head with it."""
    weights = getattr(config, "objective_weights", [1.0])
    shifts, scales = (
        value if isinstance(value, list) else [value] * len(weights)
        for value in (getattr(config, "reward_shift", 0.0), getattr(config, "reward_scale", 1.0))
    )
    moved = [shift + mean * scale / sum(weights) for shift, scale in zip(shifts, scales, strict=True)]
    set_scale(config, moved, [scale * deviation for scale in scales])


def reweigh(config: Any, weights: Mapping[str, float], where: str) -> None:
    """Replace the weights, unless none are given. Raises ValueError where the names are not the reward model's."""
    known = weights_of(config)
    if weights and weights.keys() != known.keys():
        raise ValueError(
            f"{where}: expected a weight for each objective of the reward model "
            f"({', '.join(known) or 'it has none: train it with reward.objectives'}), got {', '.join(weights)}"
        )
    if weights:
        config.objective_weights = [weights[name] for name in known]


def saved_scale(folder: Path) -> dict[str, Any]:
    """The entries `KEYS` of the folder's config.json; {} where there is none that can be read."""
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: saved[key] for key in KEYS if key in saved} if isinstance(saved, dict) else {}
