"""Rotary positions beyond the length that a model was trained at: linear, Llama 3, YaRN, dynamic NTK, LongRoPE.

`scalings_of` reads a transformers config, with every number filled in; `rotations` are the tables' frequencies. YaRN
(Peng et al. 2023) and Llama 3 keep fast frequencies and stretch slow ones. LongRoPE (Ding et al. 2024) has two sets of
factors: a sequence longer than the original length turns by the second one, from its first token on. Dynamic
NTK turns by another base for every length beyond max_position_embeddings, which cached keys cannot follow; up to there,
which is the context of a model here, it turns as if it were not scaled.

Why so: decision 88 in docs/LOG.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

KINDS = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")


def _number(scaling: dict[str, Any], name: str, default: float | None = None) -> float:
    value = scaling.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"rope_parameters.{name}: expected a number above 0, got {value!r}")
    return float(value)


def _growth(factor: float, weight: float = 1.0) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _filled(scaling: dict[str, Any], most: int, head_dim: int) -> dict[str, Any]:
    """A layer's parameters with what their kind lets a config leave out; `most` is max_position_embeddings."""
    kind, full = scaling.get("rope_type") or "default", dict(scaling)
    if kind not in KINDS:
        raise ValueError(f"rope type '{kind}' is not one of {', '.join(KINDS)}")
    if kind != "default" and _number(scaling, "partial_rotary_factor", 1.0) != 1:
        raise ValueError(f"rope type '{kind}' over a part of each head is not supported")
    full["rope_theta"] = _number(scaling, "rope_theta")
    if kind == "default":
        return full
    original = full["original_max_position_embeddings"] = _number(scaling, "original_max_position_embeddings", most)
    factor = full["factor"] = _number(scaling, "factor", most / original if kind in ("yarn", "longrope") else None)
    if kind == "yarn":
        full["beta_fast"], full["beta_slow"] = _number(scaling, "beta_fast", 32), _number(scaling, "beta_slow", 1)
        whole, each = (_number(scaling, n) if scaling.get(n) else 0.0 for n in ("mscale", "mscale_all_dim"))
        usual = _growth(factor, whole) / _growth(factor, each) if whole and each else _growth(factor)
        full["attention_factor"] = _number(scaling, "attention_factor", usual)
    if kind == "longrope":
        usual = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        full["attention_factor"] = _number(scaling, "attention_factor", usual)
        for name in ("short_factor", "long_factor"):
            given = scaling.get(name)
            if not isinstance(given, list | tuple) or len(given) != head_dim // 2:
                raise ValueError(f"rope_parameters.{name}: expected {head_dim // 2} numbers, half of a head's size")
    return full


def scalings_of(config: Any, head_dim: int) -> list[dict[str, Any]]:
    """Per layer its rotary parameters, whole. ValueError where they are not ones that `rotations` computes."""
    rope, layers = config.rope_parameters, config.num_hidden_layers
    types = getattr(config, "layer_types", None) or ["full_attention"] * layers
    per_type = rope if "full_attention" in rope else dict.fromkeys(set(types), rope)
    # where layers differ, transformers looks for `truncate` beside their parameters, not in them
    filled = {
        name: _filled(one | {"truncate": rope.get("truncate", True)}, config.max_position_embeddings, head_dim)
        for name, one in per_type.items()
        if isinstance(one, dict) and name in types
    }
    return [filled[name] for name in types]


def switch_of(scalings: Any) -> int:
    """The length beyond which a sequence turns by other frequencies from its first token on; 0 where there is none."""
    kinds = [s for s in scalings if s.get("rope_type") == "longrope"]
    return int(kinds[0]["original_max_position_embeddings"]) if kinds else 0


def _ramp(low: float, high: float, count: int) -> Tensor:
    high = high + 0.001 if low == high else high
    return ((torch.arange(count, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)


def _yarn(theta: float, scaling: dict[str, Any], d: int) -> Tensor:
    """Dimensions that turn more than `beta_fast` times within the original length stay, below `beta_slow` stretch."""
    original = scaling["original_max_position_embeddings"]
    low, high = (
        d * math.log(original / (scaling[turns] * 2 * math.pi)) / (2 * math.log(theta))
        for turns in ("beta_fast", "beta_slow")
    )
    if scaling["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    wavelengths = theta ** (torch.arange(0, d, 2).float() / d)
    kept = 1 - _ramp(max(low, 0), min(high, d - 1), d // 2)
    mixed: Tensor = 1.0 / (scaling["factor"] * wavelengths) * (1 - kept) + 1.0 / wavelengths * kept
    return mixed


def rotations(scaling: dict[str, Any], head_dim: int, long: bool = False) -> tuple[Tensor, float]:
    """([head_dim / 2] rotation frequencies, what cosines and sines are multiplied by) of filled-in parameters.

    `long`: of a sequence beyond `switch_of`.
    """
    theta, kind = scaling["rope_theta"], scaling.get("rope_type") or "default"
    if kind == "yarn":
        return _yarn(theta, scaling, head_dim), scaling["attention_factor"]
    steps = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    if kind == "longrope":
        factors = torch.tensor(scaling["long_factor" if long else "short_factor"], dtype=torch.float32)
        return 1.0 / (factors * theta**steps), scaling["attention_factor"]
    inverse = 1.0 / theta**steps
    if kind == "linear":
        inverse = inverse / scaling["factor"]
    if kind == "llama3":
        low, high = (_number(scaling, name) for name in ("low_freq_factor", "high_freq_factor"))
        wavelength = 2 * torch.pi / inverse
        smooth = (scaling["original_max_position_embeddings"] / wavelength - low) / (high - low)
        smooth = smooth.clamp(0, 1)
        inverse = smooth * inverse + (1 - smooth) * inverse / scaling["factor"]
    return inverse, 1.0
