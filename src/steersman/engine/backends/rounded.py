"""Linear layers of the reference engine with weights in 8 or 4 bits, for models that only transformers computes.

Symmetric, as the local engine's `Int8`: one float32 scale per row in 8 bits; in 4 bits one float16 scale per 32
columns, two values to a byte. Activations are not rounded; a layer's weights are widened when it computes, so this
saves memory, not time. Embeddings and heads stay as they are: they are most of what a label or a rare word hangs on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steersman.families.known import family_of
from steersman.weights.checks import stored_tensors
from steersman.weights.folders import read_config, text_config

GROUP = 32
"""Columns that share a scale in 4 bits."""


class Rounded(nn.Module):
    """Computes as the linear layer that it is made of, up to rounding."""

    def __init__(self, of: nn.Linear, bits: int) -> None:
        super().__init__()
        self.bits, self.dtype, self.columns = bits, of.weight.dtype, of.weight.shape[1]
        self.bias = of.bias
        self.assign(of.weight.detach())

    def assign(self, weight: Tensor) -> None:
        """Round these weights [rows, columns] in place of what was there."""
        bits, exact = self.bits, weight.float()
        if bits == 4:
            exact = F.pad(exact, (0, -self.columns % GROUP)).reshape(len(exact), -1, GROUP)
        most = 2 ** (bits - 1) - 1
        scales = exact.abs().amax(dim=-1, keepdim=True).clamp_(min=1e-7) / most
        scales = scales.half().clamp_(min=1e-7).float() if bits == 4 else scales
        values = (exact / scales).round_().clamp_(-most, most).to(torch.int8)
        if bits == 4:
            flat = values.flatten(1)
            values = (flat[:, ::2] & 15) | (flat[:, 1::2] << 4)
        self.register_buffer("weight", values)
        self.register_buffer("scales", scales.half() if bits == 4 else scales)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """What a trainer pushes is rounded too."""
        if (exact := state.pop(f"{prefix}weight", None)) is not None:
            self.assign(exact)
        super()._load_from_state_dict(state, prefix, *others)

    def wide(self) -> Tensor:
        """The weights [rows, columns] as they are multiplied, in the layer's dtype."""
        values, scales = self.get_buffer("weight"), self.get_buffer("scales").to(self.dtype)
        if self.bits == 4:
            low = (values << 4) >> 4
            values = torch.stack([low, values >> 4], -1).reshape(len(values), -1, GROUP)
            return (values.to(self.dtype) * scales).flatten(1)[:, : self.columns]
        return values.to(self.dtype) * scales

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.dtype), self.wide(), self.bias)


def round_layers(model: Any, bits: int) -> Any:
    """The model with its linear layers rounded, in place; its head stays.

    ValueError where most weights lie in layers of other kinds, which would be served as they are.
    """
    head, tables = model.get_output_embeddings(), [m for m in model.modules() if isinstance(m, nn.Embedding)]
    kept = {id(m.weight) for m in (head, *tables)}
    every = sum(p.numel() for p in model.parameters() if id(p) not in kept)
    linear = sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear and m is not head)
    if 2 * linear < every:
        raise ValueError(
            f"dtype 'int{bits}': {linear / every:.0%} of this model's layers are linear ones, which can be rounded; "
            "expected bfloat16 or float32"
        )
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer is not head:
                setattr(parent, name, Rounded(layer, bits))
    return model


def bytes_of(folder: Path, dtype: torch.dtype, bits: int = 0) -> int:
    """Of a folder's weights as they are served; nothing is loaded. ValueError where they cannot be rounded."""
    config = text_config(read_config(folder))
    with torch.device("meta"):
        model = family_of(config).causal_class(config)(config).to(dtype)
        model = round_layers(model, bits) if bits else model
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    apart = head is table and "lm_head.weight" in stored_tensors(folder)  # which transformers 5 calls tied
    held = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}.values()
    total: int = sum(tensor.nbytes for tensor in held) + (head.nbytes if apart else 0)
    return total
