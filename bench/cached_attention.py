"""Attention of a prompt's chunk over a cache, by the kernel and by PyTorch, one layer, in turns, in processor time.

    .venv/bin/python bench/cached_attention.py

Random queries, keys and values of one sequence. PyTorch is given what the engine gives it: a mask, and in int8 the
widened cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from harness import machine, machine_line, table
from steersman.engine.backends.local.cache import quantised
from steersman.kernels import ops

HEADS = {"SmolLM2-135M": (9, 3, 64), "Gemma 3 270M": (4, 1, 256), "Qwen2.5-0.5B": (14, 2, 64)}
ROUNDS = 3


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measured(heads: int, kv_heads: int, d: int, size: int, depth: int, int8: bool) -> tuple[float, float]:
    """(kernel, PyTorch): milliseconds a token, the best of ROUNDS."""
    q = torch.randn(size, heads, d).bfloat16()
    keys, values = (torch.randn(1, kv_heads, depth + size, d).bfloat16() for _ in range(2))
    kept = [keys, values]
    if int8:
        (keys, key_scales), (values, value_scales) = quantised(keys), quantised(values)
        kept = [keys, values, key_scales, value_scales]
    out, mask = torch.empty_like(q), torch.ones(size, depth + size, dtype=torch.bool).tril(depth)

    def plain() -> None:
        wide = [(x * s[..., None]).bfloat16() for x, s in zip(kept[:2], kept[2:], strict=True)] if int8 else kept
        queries = q.view(1, size, heads, d).transpose(1, 2)
        F.scaled_dot_product_attention(queries, *wide, mask, scale=d**-0.5, enable_gqa=heads != kv_heads)

    sides = (lambda: ops.attend_cached(q, out, kept, depth, d**-0.5), plain)
    for side in sides:
        side()
    times = [[seconds(side) for side in sides] for _ in range(ROUNDS)]
    mine, theirs = (1e3 * min(of) / size for of in zip(*times, strict=True))
    return mine, theirs


def main() -> None:
    torch.set_num_threads(1)
    smol, far = "SmolLM2-135M", 16384
    asked = [(smol, size, depth, int8) for depth in (4096, far) for size in (8, 64, 256) for int8 in (False, True)]
    asked += [(smol, 512, 32000, False), ("Gemma 3 270M", 64, far, False), ("Qwen2.5-0.5B", 64, far, False)]
    rows = []
    for name, size, depth, int8 in asked:
        mine, theirs = measured(*HEADS[name], size, depth, int8)
        kind = "int8" if int8 else "bfloat16"
        rows.append([name, str(size), str(depth), kind, f"{mine:.3f}", f"{theirs:.3f}", f"{theirs / mine:.1f}"])
    print(f"{machine_line(machine())}, one thread\n")
    print(table(["heads of", "chunk", "cached", "cache", "kernel, ms a token", "PyTorch", "times as fast"], rows))


if __name__ == "__main__":
    main()
