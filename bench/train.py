"""Training speed: SFT, reward model and PPO against a plain transformers loop, and against TRL where it is given.

    .venv/bin/python bench/train.py                           # about half an hour on two cores
    .venv/bin/python bench/train.py --quick --json out.json   # some minutes
    .venv/bin/python bench/train.py --trl-python /venv/bin/python --trl-ppo-python /venv-ppo/bin/python

SFT is counted in real tokens (padding is none), the reward model in pairs, PPO in episodes, each per second over the
timed steps; loading and warm-up steps are not counted. Every side gets the same token ids of the bundled shop domain in
the same order, the same batches and rates, in bfloat16 compute with float32 master weights, each run in a process of
its own; repeats are interleaved (A B A B), and ratios are medians of the ratios within one repeat. All sides train the
whole model, but the row that says `last N layers`. "Held-out" is measured by one function for all sides: nats per
token (SFT) or accuracy (reward model) before and after the same number of tokens.

Tasks named -real take public conversations of mixed length from --data instead.

Peers: --trl-python has trl 1.16 (SFTTrainer, RewardTrainer), --trl-ppo-python has trl 0.23.1 with transformers 4.57.1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import machine, machine_line, median, median_ratio, say, shown, table, write_json
from train_data import Spec

HERE = Path(__file__).resolve().parent
PLAIN = "transformers loop"
UNITS = {"sft": "tokens/s", "reward": "pairs/s", "ppo": "episodes/s"}
HELD = {"sft": "held-out loss", "reward": "held-out accuracy"}
TASKS = {"sft": ("sft", 2), "reward-2": ("reward", 2), "reward-4": ("reward", 4), "ppo": ("ppo", 2)}
"""Name of a table -> (stage, answers per ranking)."""
REAL = {
    "sft-real": ("sft", "sft/en_lima_1k.jsonl.xz", 512),
    "reward-real": ("reward", "pref/en_hh_harmless_train1800.jsonl.xz", 384),
}
"""Name of a table -> (stage, file under --data, tokens of the longest record): conversations of mixed length."""


@dataclass(frozen=True)
class Side:
    """Who trains: a name for the table, the worker's side, how many layers learn, and the Python it runs under."""

    name: str
    worker: str
    train_layers: int = 0
    python: str = sys.executable


class SideFailed(RuntimeError):
    """A worker ended without a result; its last words are the message."""


def call(command: list[str]) -> dict[str, Any]:
    """Run a worker; its one line of JSON."""
    # models are local folders; a look at the hub would only cost time
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SideFailed(done.stderr[-800:])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_worker(side: str, spec: Spec, scratch: Path) -> dict[str, Any]:
    path = scratch / "spec.json"
    path.write_text(json.dumps(dataclasses.asdict(spec)), encoding="utf-8")
    return call([sys.executable, str(HERE / "train_worker.py"), side, str(path)])


def run_trl(side: Side, spec: Spec, scratch: Path) -> dict[str, Any]:
    """Prepare its data, run it, and measure the model it leaves with our own held-out function."""
    data, path = scratch / "trl-data.json", scratch / "trl-spec.json"
    run_worker("data", dataclasses.replace(spec, output=str(data)), scratch)
    spec = dataclasses.replace(spec, output=str(scratch / "trl-model"))
    path.write_text(json.dumps(dataclasses.asdict(spec)), encoding="utf-8")
    result = call([side.python, str(HERE / "train_trl.py"), str(data), str(path)])
    return result if spec.task == "ppo" else result | run_worker("judge", spec, scratch)


def sides_of(stage: str, arguments: argparse.Namespace) -> list[Side]:
    sides = [
        Side("steersman", "steersman"),
        Side(PLAIN, "plain"),
        Side(f"steersman, last {arguments.train_layers} layers", "steersman", arguments.train_layers),
    ]
    python = arguments.trl_ppo_python if stage == "ppo" else arguments.trl_python
    if python:
        sides.append(Side("TRL 0.23.1" if stage == "ppo" else "TRL", "trl", 0, python))
    else:
        say(f"TRL: left out of {stage}, no --trl{'-ppo' if stage == 'ppo' else ''}-python given")
    return sides


def measure(sides: list[Side], spec: Spec, repeats: int, scratch: Path) -> dict[str, list[dict[str, Any]]]:
    """Results of every repeat by side; a side that failed once is out."""
    out: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for repeat in range(repeats):
        for side in sides:
            if len(out[side.name]) < repeat:
                continue
            own = dataclasses.replace(spec, train_layers=side.train_layers)
            try:
                worker = side.worker
                result = run_trl(side, own, scratch) if worker == "trl" else run_worker(worker, own, scratch)
            except SideFailed as error:
                say(f"  {side.name}: failed, left out\n{error}")
                continue
            out[side.name].append(result)
            say(f"  repeat {repeat + 1}: {side.name} {shown(result['per_second'], 2)} {UNITS[spec.task]}")
    return {name: results for name, results in out.items() if len(results) == repeats}


def summarise(stage: str, found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    speeds = {name: [r["per_second"] for r in results] for name, results in found.items()}
    before = next((r["before"] for results in found.values() for r in results if "before" in r), None)
    return [
        {
            "side": name,
            "per_second": median(speeds[name]),
            "ratios": {peer: median_ratio(speeds[name], speeds[peer]) for peer in speeds if peer_of(peer)},
            "peak_mib": max(r["peak_mib"] for r in results),
            "before": before,
            "after": results[-1].get("after"),
            "answer_tokens": results[-1].get("answer_tokens"),
            "repeats": results,
        }
        for name, results in found.items()
    ]


def peer_of(name: str) -> bool:
    return name == PLAIN or name.startswith("TRL")


def show(title: str, stage: str, rows: list[dict[str, Any]]) -> str:
    peers = list(rows[0]["ratios"]) if rows else []
    last = f"{HELD[stage]}, before and after" if stage in HELD else "tokens per answer"
    head = ["side", UNITS[stage], *(f"times {peer}" for peer in peers), "peak, MiB", last]
    body = []
    for row in rows:
        tail = shown(row["answer_tokens"], 1)
        if stage in HELD:
            tail = f"{shown(row['before'], 3)}, {shown(row['after'], 3)}"
        speed = shown(row["per_second"], 0 if stage == "sft" else 2)
        ratios = [shown(row["ratios"][peer], 2) for peer in peers]
        body.append([row["side"], speed, *ratios, shown(row["peak_mib"]), tail])
    return f"### {title}\n\n{table(head, body)}\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="anything that model.base takes")
    names = [*TASKS, *REAL]
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=names, metavar="TASK", help=", ".join(names))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the -real tasks' files")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=6, help="steps timed; PPO: a third of them, at least 1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train-layers", type=int, default=10, help="N of the row `last N layers`")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="SFT: tokens per step")
    parser.add_argument("--batch-prompts", type=int, default=8, help="reward model: rankings per step")
    parser.add_argument("--episodes", type=int, default=32, help="PPO: answers per round")
    parser.add_argument("--max-tokens", type=int, default=48, help="PPO: most tokens per answer")
    parser.add_argument("--epochs", type=int, default=4, help="PPO: inner epochs")
    parser.add_argument("--minibatches", type=int, default=4, help="PPO: optimizer steps per inner epoch")
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one warm-up step, two steps, one repeat")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--trl-python", default="", help="Python of an environment with trl 1.16")
    parser.add_argument("--trl-ppo-python", default="", help="Python of an environment with trl 0.23.1")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.warmup, arguments.steps, arguments.repeats = 1, 2, 1
    return arguments


def spec_of(arguments: argparse.Namespace, task: str, folder: Path, reward: Path) -> Spec:
    stage, answers = TASKS[task] if task in TASKS else (REAL[task][0], 2)
    given = {f.name for f in dataclasses.fields(Spec)} & set(vars(arguments)) - {"model"}
    values = {name: getattr(arguments, name) for name in given}
    if stage == "ppo":  # a round holds many steps and includes generation, so one is enough to warm up
        values |= {"warmup": 1, "steps": max(1, arguments.steps // 3)}
    if task in REAL:
        values |= {"file": str(arguments.data / REAL[task][1]), "longest": REAL[task][2]}
    return Spec(**values, task=stage, model=str(folder), reward=str(reward), answers=answers)


def main() -> None:
    arguments = parse()
    from steersman.weights.resolve import resolve

    folder = resolve(arguments.model, say=say).resolve()
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()},
    }
    print(f"{arguments.model}; {machine_line(result['machine'])}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="steersman-bench-") as name:
        scratch = Path(name)
        reward = scratch / "reward"
        run_worker("prepare", spec_of(arguments, "sft", folder, reward), scratch)
        for task in arguments.tasks:
            spec = spec_of(arguments, task, folder, reward)
            stage = spec.task
            sides = sides_of(stage, arguments)
            say(f"{task}: {len(sides)} sides, {arguments.repeats} repeats of {spec.warmup} + {spec.steps} steps")
            rows = summarise(stage, measure(sides, spec, arguments.repeats, scratch))
            result[task] = {"spec": dataclasses.asdict(spec), "rows": rows}
            title = {"sft": "SFT", "reward": f"Reward model, {spec.answers} answers a prompt", "ppo": "PPO"}[stage]
            print(show(f"{title}, {REAL[task][1]}" if task in REAL else title, stage, rows), flush=True)
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
