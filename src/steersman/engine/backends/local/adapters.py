"""LoRA adapters over the engine's merged weights (Hu et al. 2021): y += B (A x) * scale. The base is never changed.

Why so: decision 39 in docs/LOG.md.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.engine.backends.local.merged import layer_part, merged_rows
from steersman.families.shape import Shape
from steersman.weights.lora import CONFIG, PREFIX, WEIGHTS, read_adapter


class Adapter:
    """Low-rank updates by (merged matrix, layer)."""

    def __init__(self, parts: dict[tuple[str, int], list[tuple[int, Tensor, Tensor]]]) -> None:
        self._parts = parts

    def add(self, y: Tensor, x: Tensor, merged: str, layer: int) -> None:
        """Add the update of x [..., columns] to y [..., rows] in place."""
        for low, down, up in self._parts.get((merged, layer), ()):
            y[..., low : low + up.shape[0]] += F.linear(F.linear(x, down), up)


def load_adapter(folder: Path, s: Shape, dtype: torch.dtype, device: torch.device) -> Adapter:
    """Read a folder that peft wrote. Raises ValueError for anything but plain LoRA on known projections."""
    config, tensors = read_adapter(folder)
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            raise ValueError(f"{folder / CONFIG}: {name} is not supported")
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        base, _, half = name.removesuffix(".weight").rpartition(".")
        layer, block, _ = layer_part(base + ".weight")
        if half not in ("lora_A", "lora_B") or block not in merged_rows(s) or layer >= s.layers:
            raise ValueError(f"{folder / WEIGHTS}: unknown weight '{PREFIX}{name}'")
        halves.setdefault((layer, block), {})[half] = tensor
    parts: dict[tuple[str, int], list[tuple[int, Tensor, Tensor]]] = {}
    for (layer, block), both in halves.items():
        merged, low, high = merged_rows(s)[block]
        down, up = both["lora_A"].to(device, dtype), (both["lora_B"].float() * scale).to(device, dtype)
        if up.shape != (high - low, rank) or down.shape[0] != rank:
            raise ValueError(f"{folder / WEIGHTS}: layer {layer}, {block}: the shapes are not this model's")
        parts.setdefault((merged, layer), []).append((low, down, up))
    return Adapter(parts)
