"""Predicts the memory that reading a prompt takes beside keys and values. For plans; it allocates nothing."""

from __future__ import annotations

import torch

from steersman.families.shape import Shape
from steersman.kernels import ops as kernels

PREFILL_TOKENS, CHUNK_TOKENS = 4096, 256
"""Most tokens prefilled in a step: while no stream is running, and while one is."""

QUANTISING = 9
"""Bytes for each number while keys or values are converted to int8: float32 twice, and the result."""


def working_bytes(shape: Shape, dtype: torch.dtype, device: torch.device, int8: bool = False) -> int:
    """Bytes for the largest chunk of a prompt: states of one layer, buffers of the kernels (or attention masks without
    them), and the tables of rotary positions, which grow with the first long prompt. `int8`: keys and values are
    int8."""
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
