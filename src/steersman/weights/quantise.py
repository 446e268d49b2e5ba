"""A tensor's rows as GGUF stores them: which type each tensor takes, and its bytes.

The gguf package writes every type here but `Q4_K`, which this file computes: blocks of 256 numbers, eight parts of 32
with a scale and a minimum of six bits each, and four bits a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

KINDS = ("f32", "bf16", "f16", "q8_0", "q4_k")
BLOCK, PART, LEVELS = 256, 32, 15
ROWS = 1 << 14
"""Blocks that are quantised together, so that memory stays flat."""
TRIES = [(LEVELS - 1 + 0.1 * step) for step in range(21)]
"""Numbers of levels tried for a part: fewer levels leave its ends out, more round the middle better."""
LARGEST_F16 = 65504.0


def type_of(kind: str, name: str, shape: tuple[int, ...]) -> Any:
    """gguf's type of a tensor in a file of `kind`.

    Vectors stay float32. In a q4_k file embeddings and head take q8_0, since every token passes them; rows that are
    no multiple of 256 long cannot be Q4_K and take Q5_0, as llama.cpp's own tool does, and bfloat16 where they are no
    multiple of 32.
    """
    from gguf import GGMLQuantizationType as Types

    if len(shape) < 2 or kind == "f32":
        return Types.F32
    if kind in ("f16", "bf16"):
        return Types.F16 if kind == "f16" else Types.BF16
    if shape[-1] % PART:
        return Types.BF16
    if kind == "q8_0" or name.startswith(("token_embd", "output.")):
        return Types.Q8_0
    return Types.Q4_K if shape[-1] % BLOCK == 0 else Types.Q5_0


def stored(tensor: Tensor, as_type: Any) -> np.ndarray[Any, Any]:
    """The tensor's numbers in the type's bytes. ValueError where float16 cannot hold them."""
    from gguf import GGMLQuantizationType as Types
    from gguf import quants

    wide = tensor.float().contiguous()
    if as_type == Types.F16 and wide.abs().max() > LARGEST_F16:
        raise ValueError(f"numbers up to {float(wide.abs().max()):.3g}, float16 ends at {LARGEST_F16:g}; take bf16")
    if as_type == Types.Q4_K:
        return q4_k(wide)
    done: np.ndarray[Any, Any] = quants.quantize(wide.numpy(), as_type)
    return done


def q4_k(rows: Tensor) -> np.ndarray[Any, Any]:
    """[..., 256 n] float32 -> [..., 144 n] bytes."""
    blocks = rows.reshape(-1, BLOCK)
    parts = [_packed(blocks[at : at + ROWS]) for at in range(0, len(blocks), ROWS)]
    return np.concatenate(parts).reshape(*rows.shape[:-1], -1)


def _packed(blocks: Tensor) -> np.ndarray[Any, Any]:
    x = blocks.view(-1, BLOCK // PART, PART)
    scale, low = _fitted(x)
    d, sixth = _sixths(scale)
    floor, sixth_low = _sixths(low)
    steps = d[:, None] * sixth
    shift = floor[:, None] * sixth_low
    levels = (x + shift[..., None]) / steps.clamp_min(1e-30)[..., None]
    levels = torch.where(steps[..., None] > 0, levels.round().clamp(0, LEVELS), torch.zeros_like(x)).byte()
    halves = levels.view(-1, BLOCK // PART // 2, 2, PART)
    heads = torch.stack([d, floor], 1).half().numpy().view(np.uint8)
    marks = _scales(sixth.byte().numpy(), sixth_low.byte().numpy())
    body = (halves[:, :, 0] | (halves[:, :, 1] << 4)).reshape(len(x), -1).numpy()
    return np.concatenate([heads, marks, body], axis=1)


def _fitted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and minimum (its size, at least 0) of each part: of several numbers of levels, that of least error.

    Large numbers count more. For given levels both follow by least squares.
    """
    weight = x.square().mean(-1, keepdim=True).sqrt() + x.abs()
    least = x.amin(-1, keepdim=True).clamp_max(0)
    spread = (x.amax(-1, keepdim=True) - least).clamp_min(1e-30)
    best_scale, best_low = spread / LEVELS, -least
    best = (weight * _away(x, best_scale, best_low).square()).sum(-1, keepdim=True)
    total, sum_x = weight.sum(-1, keepdim=True), (weight * x).sum(-1, keepdim=True)
    for count in TRIES:
        levels = ((x - least) * (count / spread)).round_().clamp_(0, LEVELS)
        weighed = weight * levels
        sum_l, square = weighed.sum(-1, keepdim=True), (weighed * levels).sum(-1, keepdim=True)
        both = (weighed * x).sum(-1, keepdim=True)
        determinant = total * square - sum_l.square()
        scale = (total * both - sum_x * sum_l) / determinant
        low = -(square * sum_x - sum_l * both) / determinant
        alone = low < 0  # a minimum above 0 cannot be stored
        scale, low = torch.where(alone, both / square, scale), low.clamp_min(0)
        error = (weight * (scale * levels - low - x).square()).sum(-1, keepdim=True)
        better = (error < best) & scale.isfinite() & low.isfinite() & (scale > 0)
        best_scale, best_low = torch.where(better, scale, best_scale), torch.where(better, low, best_low)
        best = torch.where(better, error, best)
    return best_scale[..., 0], best_low[..., 0]


def _away(x: Tensor, scale: Tensor, low: Tensor) -> Tensor:
    return ((x + low) / scale).round_().clamp_(0, LEVELS) * scale - low - x


def _sixths(values: Tensor) -> tuple[Tensor, Tensor]:
    """A block's eight values as one half-precision number and eight of six bits."""
    largest = values.amax(-1)
    unit = (largest / 63).half().float()
    sixth = (values / unit.clamp_min(1e-30)[:, None]).round().clamp(0, 63)
    return unit, torch.where(unit[:, None] > 0, sixth, torch.zeros_like(sixth))


def _scales(scale: np.ndarray[Any, Any], low: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[N, 8] and [N, 8] of six bits -> [N, 12] bytes: the upper four's high bits stand over the lower four."""
    first = scale[:, :4] | ((scale[:, 4:] >> 4) << 6)
    second = low[:, :4] | ((low[:, 4:] >> 4) << 6)
    third = (scale[:, 4:] & 15) | ((low[:, 4:] & 15) << 4)
    return np.concatenate([first, second, third], axis=1)
