"""How long one decode step takes, and how much of that reading memory must take.

    .venv/bin/python bench/step.py                      # a minute on two cores
    .venv/bin/python bench/step.py --model PATH --sizes 8x150

`weights` and `keys and values` are their bytes over the speed at which all threads read a large tensor here.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from harness import machine, machine_line, table
from steersman.engine.load import load_engine
from steersman.weights.resolve import resolve

FIRST = 3
"""Steps that are not counted."""


def read_speed() -> float:
    """Bytes per second, best of five."""
    words = torch.ones(1 << 27, dtype=torch.int32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        words.max()
        best = min(best, time.perf_counter() - start)
    return words.nbytes / best


def steps(decoder: Any, sequences: int, tokens: int, count: int) -> list[float]:
    """Seconds of each step, sorted."""
    decoder.reserve(sequences, tokens + count)
    prompt = [5 + i % 1000 for i in range(tokens)]
    for slot in range(sequences):
        decoder.prefill([prompt], slot, [0])
    ids, seconds = torch.full((sequences,), 7), []
    for step in range(count):
        positions = torch.full((sequences,), tokens + step)
        start = time.perf_counter()
        decoder.decode(ids, positions)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--sizes", nargs="+", default=["1x150", "8x150", "32x150", "64x150", "128x150", "16x1000"])
    parser.add_argument("--steps", type=int, default=23)
    options = parser.parse_args()
    speed, rows, model = read_speed(), [], resolve(options.model)
    for size in options.sizes:
        sequences, tokens = map(int, size.split("x"))
        decoder = load_engine(model, dtype=options.dtype).decoder  # type: ignore[attr-defined]
        seconds = steps(decoder, sequences, tokens, options.steps)
        weights = decoder.weights.nbytes
        cached = sequences * tokens * decoder.cache.token_bytes
        shown = [seconds[len(seconds) // 2], seconds[0], weights / speed, cached / speed]
        rows.append([size, *(f"{1e3 * s:.1f}" for s in shown)])
    print(f"{machine_line(machine())}\n\nreading memory: {speed / 1e9:.1f} GB/s\n")
    head = ["sequences x tokens", "ms, median", "least", "weights", "keys and values"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
