"""What a prompt takes while it comes in, beside keys and values: for plans; nothing is allocated by it."""

from __future__ import annotations

import torch

from steersman.families.shape import Shape
from steersman.kernels import ops as kernels

PREFILL_TOKENS, CHUNK_TOKENS = 4096, 256
"""Most tokens prefilled together in a step, and the same while a stream is being read."""

QUANTISING = 9
"""Bytes a number while keys or values become int8: float32 twice, and the result."""


def working_bytes(shape: Shape, dtype: torch.dtype, device: torch.device, int8: bool = False) -> int:
    """Of the largest chunk: states of the layer that is computed, and the kernels' room or the masks of attention; and
    the tables of rotations, which grow with the first long prompt."""
    rows = min(PREFILL_TOKENS, shape.context)
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    # the stream, its norm and what a half of the layer adds; q, k and v as projected, as rotated and what is attended
    numbers = 3 * (shape.hidden + query) + 4 * key + 3 * shape.intermediate
    tables = (
        len({repr(scaling) for scaling in shape.rope_scalings}) * 2 * (shape.context + shape.switch) * shape.head_dim
    )
    found = (rows * numbers + tables) * dtype.itemsize
    if int8:
        found += rows * key * QUANTISING
    if kernels.multiplies(torch.empty(0, dtype=dtype, device=device)) and shape.head_dim % kernels.LANES == 0:
        return found + kernels.cached_room(rows, shape.heads, shape.kv_heads, shape.head_dim, int8)
    return found + len(set(shape.windows)) * rows * shape.context * (1 + dtype.itemsize)
