"""What merging an adapter into bfloat16 weights costs in held-out loss: python bench/lora_merge.py [RATE ...]

A short SFT of SmolLM2-135M with LoRA of rank 16, then the held-out loss of the adapter beside the frozen weights, of
the merged weights rounded at random as a stage writes them, rounded to the nearest, and in float32.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

import train_data as data
from harness import machine, machine_line
from steersman.config import SftConfig, replaced
from steersman.families.outputs import response_logprobs
from steersman.text.template import Template
from steersman.train import sft
from steersman.train.schedule import Schedule
from steersman.train.update import Updater
from steersman.weights import lora
from steersman.weights.folders import load_causal, load_tokenizer, use_packed_rows
from steersman.weights.resolve import resolve

DEMONSTRATIONS, HELD_OUT, TOKENS = 60, 60, 512


def trained(folder: Any, rate: float) -> Any:
    """A model with adapters after two epochs."""
    config = replaced(SftConfig(), epochs=2, lora_rank=16, batch_tokens=TOKENS)
    template = Template(load_tokenizer(folder))
    trees, _ = sft.to_trees(template, data.demonstrations(DEMONSTRATIONS, "train", 1), TOKENS, "keep_end")
    model = use_packed_rows(load_causal(folder))
    lora.set_trainable(model, config, 1)
    updater = Updater(model, lr=rate, weight_decay=0.0, grad_clip=1.0)
    batches = sft.batches_of(trees, config, 1)
    for step, batch in enumerate(batches):
        for row in sft.rows_of([trees[i] for i in batch], TOKENS):
            (-response_logprobs(model, row, entropy=False)[0].mean()).backward()
            updater.gather()
        updater.step(Schedule(len(batches), 2, 0.1).share(step))
        print(f"rate {rate:g}: step {step + 1}/{len(batches)}", file=sys.stderr, flush=True)
    return model


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    folder = resolve("smollm2-135m")
    template = Template(load_tokenizer(folder))
    held, _ = sft.to_trees(template, data.demonstrations(HELD_OUT, "validation", 1), 1024, "keep_end")
    rows = sft.rows_of(held, 1024)
    print(machine_line(machine()))
    for rate in [float(text) for text in sys.argv[1:]] or [5e-4, 5e-5]:
        with torch.enable_grad():
            model = trained(folder, rate)
        updates = {
            name: (m.lora_B.weight.float() @ m.lora_A.weight.float() * m.scale)
            for name, m in model.named_modules()
            if isinstance(m, lora.LoraLinear)
        }
        losses = {"before": sft.mean_loss(use_packed_rows(load_causal(folder)), rows)}
        losses["adapter"] = sft.mean_loss(model, rows)
        losses["merged, as written"] = sft.mean_loss(use_packed_rows(lora.merged(model)), rows)
        for dtype, text in (("bfloat16", "merged to the nearest"), ("float32", "merged in float32")):
            plain = use_packed_rows(load_causal(folder, dtype))
            for name, update in updates.items():
                weight: Tensor = plain.get_submodule(name).weight
                weight.copy_(weight.float() + update)
            losses[text] = sft.mean_loss(plain, rows)
        print(f"rate {rate:g}: " + ", ".join(f"{text} {loss:.4f}" for text, loss in losses.items()), flush=True)


if __name__ == "__main__":
    main()
