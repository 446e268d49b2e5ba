"""Prompts of up to 32k tokens: speed and memory of a prefill by length, and how long a running stream pauses meanwhile.

    .venv/bin/python bench/long_prompts.py                      # SmolLM2's weights, the context raised to 32,768
    .venv/bin/python bench/long_prompts.py --kv-cache int8 --lengths 2048 8192

`pause`: the longest time between two tokens of a stream while the prompt comes in, beside the median before.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import threading
import time
from typing import Any

from harness import machine, machine_line, table
from steersman import machine as here
from steersman.engine.load import load_engine
from steersman.types import SamplingParams
from steersman.weights.resolve import resolve

ONE = SamplingParams(max_tokens=1, temperature=0, ignore_end=True)


def prompt(tokens: int) -> list[int]:
    return [5 + i * 7919 % 1000 for i in range(tokens)]


def pauses(engine: Any, tokens: int) -> tuple[float, float]:
    """(median seconds between two tokens of a stream alone, the longest while a prompt is prefilled)."""
    times: list[float] = []
    step = engine.scheduler.step

    def timed() -> None:
        step()
        times.append(time.process_time())

    engine.scheduler.step = timed
    stream = engine.stream(prompt(40), SamplingParams(max_tokens=2000, ignore_end=True, seed=1))
    next(stream)
    while len(times) < 20:
        time.sleep(0.05)
    before = len(times)
    asked = threading.Thread(target=lambda: engine.generate([prompt(tokens)], ONE))
    asked.start()
    asked.join()
    stream.close()
    engine.scheduler.step = step
    gaps = [b - a for a, b in itertools.pairwise(times)]
    usual = sorted(gaps[1 : before - 1])
    return usual[len(usual) // 2], max(gaps[before - 1 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 8192, 16384, 32000])
    parser.add_argument("--kv-cache", choices=["model", "int8"], default="model")
    options = parser.parse_args()
    model, rows = resolve(options.model), []
    for length in options.lengths:
        engine: Any = load_engine(model, cache_int8=options.kv_cache == "int8", reuse="off")
        engine.decoder.shape = dataclasses.replace(engine.decoder.shape, context=32768)
        engine.generate([prompt(64)], ONE)
        before, start = here.own_memory(), time.process_time()
        engine.generate([prompt(length)], ONE)
        seconds, grown = time.process_time() - start, here.own_memory() - before
        planned = engine.decoder.cache.token_bytes * length
        alone, pause = pauses(engine, length)
        rows.append(
            [
                str(length),
                f"{length / seconds:.0f}",
                f"{planned / 2**20:.0f}",
                f"{grown / 2**20:.0f}",
                f"{1e3 * alone:.0f}",
                f"{1e3 * pause:.0f}",
            ]
        )
        print(f"{length}: {rows[-1]}", flush=True)
    print(f"\n{machine_line(machine())}, keys and values: {options.kv_cache}\n")
    print(table(["tokens", "tokens/s", "MiB planned", "MiB grown", "ms a token alone", "longest pause, ms"], rows))


if __name__ == "__main__":
    main()
