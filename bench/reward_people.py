"""Reward models on people's preferences: held-out accuracy of ours and of TRL's RewardTrainer over several seeds.

    python bench/reward_people.py FILE --trl-python PATH --json out.json
    python bench/reward_people.py zh_oasst.jsonl.xz --ordered best-first --model gemma3-270m --trl-python PATH

A seed draws what is trained on and what is held out (by prompt), the order and the head. Both sides get the same token
ids, epochs, constant rate, AdamW and number of steps, train the whole model in bfloat16 over float32 masters, and are
measured by the same code (`steersman.train.agreement`). What OUT holds already is not run again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness import machine, say, shown, table, write_json
from steersman.cli.trials import read_seeds
from steersman.config import ModelConfig, OptimizerConfig, RankingRowsConfig, RewardConfig
from steersman.data import labelled
from steersman.data.reading import Reading
from steersman.stats import few_mean
from steersman.text.template import Template
from steersman.train import reward
from steersman.train.agreement import agreement
from steersman.train.order import plan_batches
from steersman.train.rankings import split_holdout
from steersman.types import Ranking
from steersman.weights.folders import load_tokenizer
from steersman.weights.resolve import resolve
from train_data import Spec, pair_ids

SIDES = ("steersman", "trl")


def fitting(args: argparse.Namespace, base: Path, seed: int) -> list[Ranking]:
    """As many rankings of at most `longest` tokens as are wanted, drawn by the seed."""
    template = Template(load_tokenizer(base), today=False)
    found = labelled.load([args.file], Reading(encoding="auto", tell=say), ordered=args.ordered).rankings
    random.Random(seed).shuffle(found)
    kept: list[Ranking] = []
    for ranking in found:
        longest = max(len(template.answer_ids(a)) for a in ranking.answers)
        if ranking.pairs() and len(template.prompt_ids(ranking.prompt)) + longest <= args.longest:
            kept.append(ranking)
        if len(kept) == args.train + args.held:
            break
    return kept


def ours(base: Path, rankings: Sequence[Ranking], output: Path, args: argparse.Namespace, seed: int) -> None:
    config = RewardConfig(
        epochs=args.epochs,
        validator=False,
        holdout_fraction=args.held / (args.train + args.held),
        optimizer=OptimizerConfig(lr=args.lr, warmup_fraction=0.0, final_lr_fraction=1.0),
        rows=RankingRowsConfig(row_tokens=2048, batch_prompts=args.batch),
    )
    options: dict[str, Any] = {"config": config, "model_config": ModelConfig(), "seed": seed, "inputs": {}}
    reward.run(base=base, rankings=rankings, demonstrations=[], output=output, **options)


def theirs(base: Path, training: Sequence[Ranking], output: Path, args: argparse.Namespace, seed: int) -> None:
    """TRL's, in as many steps as ours, in the order of ours."""
    tokenizer = load_tokenizer(base)
    steps = plan_batches([1] * len(training), args.batch, args.epochs, f"{seed}/reward")
    rows = pair_ids(Template(tokenizer, today=False), [training[i] for step in steps for i in step])
    batch = max(1, round(len(rows) / len(steps)))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    spec = Spec(
        **{"task": "reward", "model": str(base), "reward": str(base), "warmup": 0, "steps": len(rows) // batch},
        **{"train_layers": 0, "batch_tokens": 0, "batch_prompts": args.batch, "answers": 2, "episodes": 0},
        **{"max_tokens": 0, "epochs": args.epochs, "minibatches": 1, "lr": args.lr, "seed": seed},
        output=str(output),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, value in (("data", {"rows": rows, "batch": batch, "pad": pad}), ("spec", asdict(spec))):
            files.append(Path(folder) / f"{name}.json")
            files[-1].write_text(json.dumps(value), encoding="utf-8")
        script = Path(__file__).with_name("train_trl.py")
        subprocess.run([args.trl_python, str(script), *map(str, files)], check=True, stdout=subprocess.DEVNULL)
    tokenizer.save_pretrained(output)


def one(args: argparse.Namespace, base: Path, seed: int, side: str) -> dict[str, Any]:
    """One side's figures for a seed."""
    rankings = fitting(args, base, seed)
    training, held = split_holdout(rankings, args.held / (args.train + args.held), seed)
    with tempfile.TemporaryDirectory(prefix="reward-people-") as folder:
        output, began = Path(folder) / side, time.perf_counter()
        if side == "steersman":
            ours(base, rankings, output, args, seed)
        else:
            theirs(base, training, output, args, seed)
        seconds = round(time.perf_counter() - began, 1)
        report = agreement(output, held, [{}] * len(held), ModelConfig(), seed=seed).report
    figures = {"accuracy": report["accuracy"]["value"], "ece": report["ece"], "seconds": seconds}
    say(f"seed {seed}, {side}: {figures}")
    longer = report["length_baseline"]["value"]
    return {side: figures, "longer": longer, "train": len(training), "held": len(held)}


def summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds that both sides have, with Student's intervals, and the difference seed by seed."""
    whole = [s for s in seeds if all(side in s for side in SIDES)]
    sides, seeds = (SIDES, whole) if whole else (SIDES[:1], [s for s in seeds if SIDES[0] in s])
    out: dict[str, Any] = {name: few_mean([s[name]["accuracy"] for s in seeds]).to_json() for name in sides}
    out["longer"] = few_mean([s["longer"] for s in seeds]).to_json()
    if len(sides) == 2:
        gains = [s["steersman"]["accuracy"] - s["trl"]["accuracy"] for s in seeds]
        out["difference"] = few_mean(gains).to_json()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seeds", default="1-5")
    parser.add_argument("--train", type=int, default=1200, help="prompts")
    parser.add_argument("--held", type=int, default=400, help="prompts")
    parser.add_argument("--longest", type=int, default=384, help="tokens of prompt and answer")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--batch", type=int, default=8, help="prompts a step")
    parser.add_argument("--ordered", default="")
    parser.add_argument("--trl-python", default="", help="a Python that has TRL 1.16; without one only ours is run")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    base, asked = resolve(args.model, say=say), {k: str(v) for k, v in vars(args).items() if k not in ("seeds", "json")}
    before = json.loads(args.json.read_text(encoding="utf-8")) if args.json and args.json.is_file() else {}
    if before and before["asked"] != asked:
        sys.exit(f"{args.json}: holds other settings; expected the same, or another file")
    seeds: list[dict[str, Any]] = before.get("seeds", [])
    for seed in read_seeds(args.seeds):
        if seed not in {of["seed"] for of in seeds}:
            seeds.append({"seed": seed})
        of = next(of for of in seeds if of["seed"] == seed)
        for side in SIDES if args.trl_python else SIDES[:1]:
            if side not in of:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # gives its memory back
                    of |= pool.submit(one, args, base, seed, side).result()
                write_json(args.json, {"asked": asked, "machine": machine(), "seeds": seeds, "over": summary(seeds)})
    rows = []
    for of in seeds:
        shares = [of[side]["accuracy"] if side in of else None for side in SIDES]
        rows.append([str(of["seed"]), *(shown(x and 100 * x, 1) for x in (*shares, of["longer"]))])
    print(table(["seed", "steersman", "TRL", "longer wins"], rows))
    print(json.dumps(summary(seeds), indent=1))


if __name__ == "__main__":
    main()
