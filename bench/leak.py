"""Whether single requests, each with threads of its own, leave memory behind: SmolLM2's widths and vocabulary.

    .venv/bin/python bench/leak.py                                  # 10,000 requests through 2 of its 30 layers
    .venv/bin/python bench/leak.py --layers 30 --requests 1000
    .venv/bin/python bench/leak.py --emulate tests/emulated_tiles.h # as with matrix tiles, slowly

What a thread of the kernels keeps depends on widths and vocabulary, not on the number of layers.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from harness import machine, machine_line, say, table
from steersman.engine.loaded import engine_of
from steersman.engine.serving import Serving
from steersman.kernels import building
from steersman.kernels.capabilities import capabilities
from steersman.types import SamplingParams
from steersman.weights.folders import load_tokenizer
from steersman.weights.resolve import resolve

WORDS = ["where", "is", "my", "order", "the", "blue", "kettle", "我想退货", "please"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--emulate", default="", metavar="HEADER")
    options = parser.parse_args()
    if options.emulate:
        building.FLAGS += ["-include", options.emulate]
    folder = resolve(options.model)
    config: Any = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = options.layers
    config.layer_types = None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    engine = engine_of(model, load_tokenizer(folder, "auto"), Serving("leak", cache_mib=64, reuse="off"))
    print(f"{machine_line(machine())}\n{capabilities().to_json()}\n{torch.get_num_threads()} threads", flush=True)
    draw, rows, began = random.Random(0), [], time.perf_counter()
    for done in range(options.requests + 1):
        if done % max(1, options.requests // 10) == 0:
            gc.collect()
            resident = psutil.Process().memory_info().rss / 2**20
            rows.append([f"{done:,}", f"{resident:.0f}"])
            say(f"{done} requests, {resident:.0f} MiB, {time.perf_counter() - began:.0f} s")
        engine.generate(
            [" ".join(draw.choices(WORDS, k=draw.choice((1, 3, 8))))], SamplingParams(max_tokens=2, seed=done)
        )
    print(table(["requests", "resident MiB"], rows))


if __name__ == "__main__":
    main()
