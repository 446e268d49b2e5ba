"""LoRA adapters over the engine's merged weights (Hu et al. 2021): y += B (A x) * scale. The base is never changed.

Why so: decision 39 in docs/LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.engine.backends.local.merged import layer_part, merged_rows
from steersman.families.shape import Shape
from steersman.weights.lora import CONFIG, PREFIX, WEIGHTS, read_adapter

HARMLESS = (True, False, "gaussian", "eva", "orthogonal")
"""`init_lora_weights` that leave the base as it is; PiSSA, OLoRA, CorDA and LoftQ take a part out of it."""
KNOWN = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "peft_type", "peft_version"),
    *("exclude_modules", "layers_pattern", "layers_to_transform", "target_modules", "task_type", "revision"),
    *("fan_in_fan_out", "lora_alpha", "lora_dropout", "r", "use_rslora", "qalora_group_size", "megatron_core"),
    *("eva_config", "runtime_config", "loftq_config", "ensure_weight_tying"),
}
"""Entries of adapter_config.json that do not change what a plain adapter computes, or are heeded here."""


class Adapter:
    """Low-rank updates by (merged matrix, layer)."""

    def __init__(self, parts: dict[tuple[str, int], list[tuple[int, Tensor, Tensor]]]) -> None:
        self._parts = parts

    def add(self, y: Tensor, x: Tensor, merged: str, layer: int) -> None:
        """Add the update of x [..., columns] to y [..., rows] in place."""
        for low, down, up in self._parts.get((merged, layer), ()):
            y[..., low : low + up.shape[0]] += F.linear(F.linear(x, down), up)


def _plain(config: Mapping[str, Any], file: Path) -> tuple[int, float]:
    """(rank, scale). ValueError for whatever makes an adapter more than B A x * scale beside an unchanged base."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{file}: peft_type {kind!r} is not supported; expected LORA, or the whole model, merged")
    if config.get("init_lora_weights", True) not in HARMLESS:
        way = config["init_lora_weights"]
        raise ValueError(f"{file}: init_lora_weights {way!r} changed the base that it was trained on; merge it in peft")
    for name, value in config.items():
        if value and name not in KNOWN and not (name == "bias" and value == "none"):
            raise ValueError(f"{file}: {name} is not supported; expected plain LoRA, or a whole model, merged")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"{file}: r: expected a whole number of at least 1, got {rank!r}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ValueError(f"{file}: lora_alpha: expected a number, got {alpha!r}")
    return rank, alpha / (rank**0.5 if config.get("use_rslora") else rank)


def load_adapter(folder: Path, s: Shape, dtype: torch.dtype, device: torch.device) -> Adapter:
    """Read a folder that peft wrote. Raises ValueError for anything but plain LoRA on known projections."""
    config, tensors = read_adapter(folder)
    rank, scale = _plain(config, folder / CONFIG)
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        base, _, half = name.removesuffix(".weight").rpartition(".")
        try:
            layer, block, _ = layer_part(base + ".weight")
        except ValueError:
            layer, block = s.layers, ""
        if half not in ("lora_A", "lora_B") or block not in merged_rows(s) or layer >= s.layers:
            raise ValueError(f"{folder / WEIGHTS}: unknown weight '{PREFIX}{name}'; expected LoRA of the layers alone")
        if not tensor.isfinite().all():
            raise ValueError(f"{folder / WEIGHTS}: {PREFIX}{name} holds numbers that are not finite")
        halves.setdefault((layer, block), {})[half] = tensor
    parts: dict[tuple[str, int], list[tuple[int, Tensor, Tensor]]] = {}
    for (layer, block), both in halves.items():
        merged, low, high = merged_rows(s)[block]
        if lost := {"lora_A", "lora_B"} - both.keys():
            raise ValueError(f"{folder / WEIGHTS}: layer {layer}, {block}: {lost.pop()} is missing")
        columns = {"out": s.heads * s.head_dim, "down": s.intermediate}.get(merged, s.hidden)
        down, up = both["lora_A"].to(device, dtype), (both["lora_B"].float() * scale).to(device, dtype)
        if up.shape != (high - low, rank) or down.shape != (rank, columns):
            raise ValueError(f"{folder / WEIGHTS}: layer {layer}, {block}: the shapes are not this model's")
        parts.setdefault((merged, layer), []).append((low, down, up))
    return Adapter(parts)
