"""Keys and values in int8 beside bfloat16: the time of a decode step, and what is said.

    .venv/bin/python bench/kv_cache.py                          # speed, some minutes
    .venv/bin/python bench/kv_cache.py --texts FILE...          # and quality, one document a line (jsonl or plain)

Both sides in turns, in processor time. Of each text but its first 64 tokens: perplexity, and how often the likeliest
next token is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from harness import machine, machine_line, table
from steersman.engine.load import load_engine
from steersman.weights.resolve import resolve

SIDES = ("bfloat16", "int8")
FIRST = 64
"""Tokens of a text that are not scored."""


def filled(decoder: Any, sequences: int, tokens: int, steps: int) -> None:
    """Random keys and values in the cache: prefilling that many tokens would take minutes."""
    s = decoder.shape
    decoder.reserve(sequences, tokens + steps)
    keys = torch.randn(sequences, s.kv_heads, tokens, s.head_dim, dtype=decoder.dtype)
    for layer in range(s.layers):
        decoder.cache.put(layer, (slice(sequences), slice(None), slice(tokens)), keys, keys)


def speed(model: Path, sizes: list[str], steps: int) -> list[list[str]]:
    rows = []
    for size in sizes:
        sequences, tokens = map(int, size.split("x"))
        both = [load_engine(model, cache_int8=side == "int8").decoder for side in SIDES]  # type: ignore[attr-defined]
        for decoder in both:
            filled(decoder, sequences, tokens, steps)
        seconds: list[list[float]] = [[], []]
        ids = torch.full((sequences,), 7)
        for step in range(steps):
            for side, decoder in enumerate(both):
                start = time.process_time()
                decoder.decode(ids, torch.full((sequences,), tokens + step))
                seconds[side].append(time.process_time() - start)
        middle = [sorted(s)[len(s) // 2] for s in seconds]
        mib = [sequences * tokens * decoder.cache.token_bytes / 2**20 for decoder in both]
        rows.append(
            [size, *(f"{1e3 * s:.1f}" for s in middle), f"{middle[0] / middle[1]:.2f}", *(f"{m:.0f}" for m in mib)]
        )
    return rows


def texts_of(file: Path, count: int) -> list[str]:
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        text = (
            next((v for v in json.loads(line).values() if isinstance(v, str) and len(v) > 300), "")
            if line[:1] == "{"
            else line
        )
        if len(text) > 300:
            found.append(text)
        if len(found) == count:
            break
    return found


def said(model: Path, file: Path, count: int, most: int) -> list[str]:
    """A row: the file, tokens, perplexity of each side, the change of the mean log-probability, agreement."""
    engines: list[Any] = [load_engine(model, cache_int8=side == "int8") for side in SIDES]
    scores: list[list[float]] = [[], []]
    same = total = 0
    for text in texts_of(file, count):
        ids = engines[0]._prompts.ids(text)[:most]
        both = [engine.prompt_logprobs(ids, top=1) for engine in engines]
        for side, one in enumerate(both):
            scores[side].extend(one.logprobs[FIRST:])
        likeliest = [[top[0][0] for top in one.top_logprobs[FIRST:]] for one in both]
        same += sum(a == b for a, b in zip(*likeliest, strict=True))
        total += len(likeliest[0])
    mean = [sum(s) / len(s) for s in scores]
    return [
        file.name,
        str(total),
        *(f"{math.exp(-m):.3f}" for m in mean),
        f"{mean[1] - mean[0]:+.5f}",
        f"{same / total:.2%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sizes", nargs="*", default=["1x4096", "1x16384", "8x4096"])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--texts", nargs="*", type=Path, default=[])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--most", type=int, default=1024)
    options = parser.parse_args()
    model = resolve(options.model)
    print(machine_line(machine()) + "\n")
    if options.sizes:
        head = ["sequences x tokens", "ms bfloat16", "ms int8", "times as fast", "MiB bfloat16", "MiB int8"]
        print(table(head, speed(model, options.sizes, options.steps)) + "\n", flush=True)
    if options.texts:
        head = ["texts", "tokens", "perplexity bfloat16", "int8", "nats per token", "same likeliest"]
        print(table(head, [said(model, file, options.count, options.most) for file in options.texts]))


if __name__ == "__main__":
    main()
