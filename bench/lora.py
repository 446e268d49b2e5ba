"""What LoRA costs and saves in SFT: python bench/lora.py [ROUNDS]

Three sides, each in a process of its own, in turn: all weights, the last 10 layers, LoRA of rank 16 on all layers.
Speed is tokens per second of one core's time, so that other work on the machine disturbs it little.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

import train_data as data
from harness import machine, machine_line, own_peak_mib
from steersman.config import SftConfig, replaced
from steersman.families.outputs import response_logprobs
from steersman.machine import keep_freed_memory
from steersman.text.template import Template
from steersman.train import sft
from steersman.train.update import Updater
from steersman.weights.folders import load_causal, load_tokenizer, use_packed_rows
from steersman.weights.lora import set_trainable
from steersman.weights.resolve import resolve

SIDES = {
    "all": SftConfig(),
    "last 10 layers": replaced(SftConfig(), train_layers=10),
    "LoRA r=16": replaced(SftConfig(), lora_rank=16),
}
STEPS, TOKENS = 5, 1024


def measure(config: SftConfig) -> dict[str, float]:
    """Tokens per CPU second of all steps but the first, and the process's peak memory."""
    keep_freed_memory()
    torch.set_num_threads(1)
    folder = resolve("smollm2-135m")
    trees, _ = sft.to_trees(Template(load_tokenizer(folder)), data.demonstrations(64, "train", 1), TOKENS, "skip")
    model = use_packed_rows(load_causal(folder))
    set_trainable(model, config, 1)
    updater = Updater(model, lr=1e-4, weight_decay=0.0, grad_clip=1.0)
    rows = sft.rows_of(trees, TOKENS)[:STEPS]
    tokens, began = 0, 0.0
    for step, row in enumerate(rows):
        if step == 1:
            began = time.process_time()
        (-response_logprobs(model, row, entropy=False)[0].mean()).backward()
        updater.gather()
        updater.step(1.0)
        tokens += len(row.ids) if step else 0
    return {"per_second": tokens / (time.process_time() - began), "peak_mib": own_peak_mib()}


def main() -> None:
    results: dict[str, list[Any]] = {side: [] for side in SIDES}
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        for side, runs in results.items():
            out = subprocess.run([sys.executable, __file__, "--side", side], check=True, capture_output=True, text=True)
            runs.append(json.loads(out.stdout.splitlines()[-1]))
            print(side, runs[-1], file=sys.stderr, flush=True)
    print(machine_line(machine()))
    for side, runs in results.items():
        speed = statistics.median(r["per_second"] / a["per_second"] for r, a in zip(runs, results["all"], strict=True))
        peak = statistics.median(r["peak_mib"] for r in runs)
        print(f"{side}: {speed:.2f} x the speed of all weights, {peak:.0f} MiB at most")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(measure(SIDES[sys.argv[2]])))
    else:
        main()
