"""Predicted and measured peak memory of training stages, each run in a process of its own.

    .venv/bin/python bench/memory.py                     # all of CASES
    .venv/bin/python bench/memory.py --cases sft-512 ppo --json out.json

A case is a stage on the bundled shop's data, cut to two optimizer steps (PPO: two rounds), everything around them
included: loading, held-out loss, resume point, saving. On a CPU the peak is the largest resident size (VmHWM), on a GPU
torch.cuda.max_memory_allocated. The prediction is what the stage itself asks before it starts, from config.json and the
data's lengths (`steersman/train/memory.py`); neither sees the other.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import machine, machine_line, say, table, write_json

SMALL, OTHER = "smollm2-135m", "gemma3-270m"
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sft-512": (SMALL, "sft", {"row_tokens": 512, "batch_tokens": 1024}),
    "sft-2048": (SMALL, "sft", {"row_tokens": 2048, "batch_tokens": 2048}),
    "sft-2048-checkpointing": (SMALL, "sft", {"row_tokens": 2048, "batch_tokens": 2048, "checkpointing": True}),
    "sft-2048-last-10": (SMALL, "sft", {"row_tokens": 2048, "batch_tokens": 2048, "train_layers": 10}),
    "reward-512": (SMALL, "reward", {"row_tokens": 512, "batch_prompts": 3}),
    "dpo-512": (SMALL, "dpo", {"row_tokens": 512, "batch_prompts": 3}),
    "dpo-512-lora": (SMALL, "dpo", {"row_tokens": 512, "batch_prompts": 3, "lora_rank": 16}),
    "ppo": (SMALL, "ppo", {"row_tokens": 512, "prompts_per_iteration": 6, "minibatches": 1, "max_tokens": 32}),
    "ppo-last-10": (
        SMALL,
        "ppo",
        {"row_tokens": 512, "prompts_per_iteration": 6, "minibatches": 1, "max_tokens": 32, "train_layers": 10},
    ),
    "grpo": (
        SMALL,
        "ppo",
        {
            "advantage": "grpo",
            "answers_per_prompt": 2,
            "row_tokens": 512,
            "prompts_per_iteration": 6,
            "minibatches": 1,
            "max_tokens": 32,
        },
    ),
    "gemma-sft-512": (OTHER, "sft", {"row_tokens": 512, "batch_tokens": 512}),
}
"""Name -> (model, stage, what differs from the stage's defaults)."""
STEPS = 2


def worker(name: str, folder: Path) -> dict[str, Any]:
    """Run one case here; what was predicted and measured, in MiB."""
    import torch
    from transformers import AutoConfig

    import train_data as data
    from steersman.config import DpoConfig, ModelConfig, PpoConfig, RewardConfig, SftConfig, replaced
    from steersman.families.shape import shape_of
    from steersman.text.template import Template
    from steersman.train import budget, ppo, preference, reward, sft
    from steersman.train.memory import predict
    from steersman.weights.folders import load_tokenizer
    from steersman.weights.resolve import resolve

    model, stage, changes = CASES[name]
    base = resolve(model).resolve()
    settings = ModelConfig(memory_check=False)
    common: dict[str, Any] = {"output": folder / "out", "model_config": settings, "seed": 1, "inputs": {}}
    config: Any
    if stage == "sft":
        config = replaced(SftConfig(), epochs=1, save_seconds=0, **changes)
        # shuffling decides what falls into a batch, so the last of these is a rest
        template = Template(load_tokenizer(base))
        chosen, tokens = [], 0
        for item in data.demonstrations(200, "train", 1):
            tokens += sum(len(row.ids) for row in template.examples(item))
            if tokens > STEPS * config.batch_tokens:
                break
            chosen.append(item)
        lengths = budget.lengths_of([sum(len(row.ids) for row in template.examples(c)) for c in chosen])
        held = data.demonstrations(2, "validation", 1)
        sft.run(base=base, demonstrations=chosen, validation=held, config=config, **common)
    elif stage in ("reward", "dpo"):
        # every prompt beyond the two batches is held out
        held = 2
        count = STEPS * changes["batch_prompts"] + held
        kind = RewardConfig if stage == "reward" else DpoConfig
        config = replaced(kind(), save_seconds=0, holdout_fraction=held / count, **changes)
        ranked = data.rankings(count, 4, "train", 1)
        template = Template(load_tokenizer(base))
        trees, _ = reward.to_ranked_trees(template, ranked, 8192)
        lengths = budget.lengths_of([t.tree.size for t in trees])
        if stage == "reward":
            reward.run(base=base, rankings=ranked, demonstrations=[], config=config, **common)
        else:
            preference.run(base=base, rankings=ranked, config=config, **common)
    else:
        config = replaced(
            PpoConfig(), iterations=STEPS, eval_prompts=4, eval_every=9, kl_ceiling=1e9, save_seconds=0, **changes
        )
        scorer = folder / "reward"
        make_reward_model(base, scorer)
        asked = data.prompts(STEPS * config.prompts_per_iteration, 1)
        template = Template(load_tokenizer(base))
        lengths = budget.lengths_of([len(template.prompt_ids(p)) for p in asked])
        held = data.prompts(16, 2)[-4:]
        ppo.run(material=ppo.Material(base, scorer, asked, held), config=config, **common)
    shape = shape_of(AutoConfig.from_pretrained(str(base)))
    parts = predict(shape, budget.setting_of(config, lengths, settings))
    if torch.cuda.is_available():
        measured = torch.cuda.max_memory_allocated()
    else:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        assert peak is not None
        measured = 1024 * int(peak[1])
    return {"predicted": sum(parts.values()) / 2**20, "measured": measured / 2**20, "parts": parts}


def make_reward_model(base: Path, folder: Path) -> None:
    """A fresh head on the base. In a process of its own, whose memory is not measured."""
    code = (
        "import sys; from pathlib import Path; from steersman.families.outputs import init_score_head\n"
        "from steersman.weights.folders import load_scalar, load_tokenizer, save_model\n"
        "base, folder = map(Path, sys.argv[1:]); model = load_scalar(base); init_score_head(model, 1)\n"
        "save_model(model, load_tokenizer(base), folder)"
    )
    subprocess.run([sys.executable, "-c", code, str(base), str(folder)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments.worker[0], Path(arguments.worker[1]))))
        return
    facts = machine()
    print(machine_line(facts), flush=True)
    found: dict[str, Any] = {}
    for name in arguments.cases:
        with tempfile.TemporaryDirectory(prefix="steersman-bench-") as scratch:
            command = [sys.executable, __file__, "--worker", name, scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            say(f"{name}: failed\n{done.stderr[-800:]}")
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        say(f"{name}: predicted {found[name]['predicted']:.0f} MiB, measured {found[name]['measured']:.0f} MiB")
        write_json(arguments.json, {"machine": facts, "cases": found})
    rows = [
        [name, CASES[name][0], f"{r['predicted']:.0f}", f"{r['measured']:.0f}", f"{r['predicted'] / r['measured']:.2f}"]
        for name, r in found.items()
    ]
    print(table(["case", "model", "predicted, MiB", "measured, MiB", "ratio"], rows))


if __name__ == "__main__":
    main()
