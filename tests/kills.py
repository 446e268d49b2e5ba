"""Stages killed with SIGKILL at random moments and gone on with: `python tests/kills.py RUNS [STAGE...]`.

A process of its own, because it forks: stages start in milliseconds then, and forking wants a parent without threads.
Moments are random shares of the CPU time that the uninterrupted run took, so that a busy machine moves none of them.
Prints one JSON object: per stage how many runs and kills there were, what was going on at the kills, and how many of
the runs ended with every file of the uninterrupted one.
"""

from __future__ import annotations

import collections
import functools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # imported here, and with it what else a stage would import
from safetensors import safe_open

import test_preference as p
import test_train as t
from steersman.artifact.files import TORN
from steersman.artifact.manifest import POINTS, read_manifest, sweep, tree_hashes
from steersman.artifact.stage_folder import partial_of
from steersman.config import Config, DpoConfig, EvalConfig, KtoConfig, replaced
from steersman.eval import (
    kept,
    report,  # noqa: F401
)
from steersman.eval import run as evaluation
from steersman.eval.maker import Evaluated
from steersman.rounds import registry
from tiny import make_model


class Fork:
    """A forked process that calls `work` and ends."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                work(*args)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time so far, from the clock that Linux has for each process."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def wait(self) -> float:
        """Until it has ended by itself, and well. Returns the CPU time it took."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        spent = self.cpu
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"ended with status {status}"
        return spent

    def kill_at(self, seconds: float) -> bool:
        """SIGKILL after so much CPU time; False if it had ended before."""
        while self.cpu < seconds:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.wait()
                return False
            time.sleep(0.0005)
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        assert status in (0, signal.SIGKILL), f"ended with status {status}"
        return status != 0


Run = Callable[[Path, float], Any]


def stages(folder: Path) -> dict[str, Run]:
    """Stage -> what runs it into a folder, with a resume point every so many seconds."""
    base, model, scorer = make_model(folder / "base"), folder / "model", folder / "scorer"
    adapter = folder / "adapter"
    Fork(functools.partial(t.run_sft, epochs=12), base, model).wait()  # it ends some of its answers
    Fork(t.run_reward, base, scorer).wait()
    Fork(functools.partial(t.run_reward, lora_rank=4, lr=1e-2), model, adapter).wait()
    # its KL is far beyond the default target, and what is drawn back is no better than the SFT model
    rounds: dict[str, Any] = {"rollout_prompts": 2, "max_tokens": 24, "kl_draw_back": False}
    without_critic: dict[str, Any] = {**rounds, "answers_per_prompt": 3, "critic_warmup_iterations": 0}

    def preferences(config: DpoConfig | KtoConfig) -> Run:
        longer = replace(config, epochs=6)
        return lambda output, save: p.run(base, output, replaced(longer, save_seconds=save), p.rankings())

    return {
        "sft": lambda output, save: t.run_sft(base, output, save_seconds=save),
        "sample": lambda output, _: t.run_sample(base, output),
        "reward": lambda output, save: t.run_reward(base, output, save_seconds=save),
        "ppo": lambda output, save: t.run_ppo(model, scorer, output, save_seconds=save, **rounds),
        "grpo": lambda output, save: t.run_ppo(
            model, scorer, output, save_seconds=save, advantage="grpo", kl_in="loss", **without_critic
        ),
        "rloo": lambda output, save: t.run_ppo(
            model, scorer, output, save_seconds=save, advantage="rloo", **without_critic
        ),
        "dpo": preferences(p.DPO),
        "kto": preferences(p.KTO),
        "sft-lora": lambda output, save: t.run_sft(base, output, save_seconds=save, lora_rank=2),
        "ppo-lora": lambda output, save: t.run_ppo(
            model, adapter, output, save_seconds=save, lora_rank=4, lr=5e-3, critic_lr=5e-3, **rounds
        ),
        "eval": lambda output, _: evaluation.run(
            models={n: Evaluated(n, f, registry.maker_of(n)) for n, f in (("sft", base), ("ppo", model))},
            prompts=t.prompts(),
            output=output,
            reward=scorer,
            config=Config(model=t.FLOAT, eval=EvalConfig(max_tokens=8, batch_prompts=2, bootstrap=50)),
            inputs={},
            about=kept.About(),
        ),
    }


def scene(output: Path) -> str:
    """What a killed process was at, by what it left."""
    if output.exists():
        return "sweeping"
    partial = partial_of(output)
    seen = "writing, " if any(path for pattern in TORN for path in partial.rglob(pattern)) else ""
    points = sorted(partial.glob(POINTS))
    if not points:
        return seen + ("after some answers" if any(partial.rglob(".*.sha256")) else "nothing saved yet")
    with safe_open(points[-1], framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    if "round" not in state:
        return seen + "after a resume point"
    return seen + f"after one amid {'updates' if state['round']['steps'] else 'rollouts'}"


def content(output: Path) -> dict[str, str]:
    """Hash of every file, after a look at what should not be there."""
    assert not partial_of(output).exists()
    left = {p.name for p in output.rglob(".*")} - {".tensorboard"}
    assert not left, f"left behind: {left}"
    return tree_hashes(output)


def kill(name: str, run: Run, runs: int, folder: Path) -> dict[str, Any]:
    began, output = time.monotonic(), folder / name / "whole"
    whole = Fork(run, output, 0.0).wait()
    expected = content(output)
    if name in ("ppo", "ppo-lora", "grpo", "rloo"):
        best = read_manifest(output).metrics["best"]
        assert best["iteration"] > 0, f"the SFT model is the best, nothing was learned that could differ: {best}"
    kills, equal, moments = 0, 0, collections.Counter[str]()
    for number in range(runs):
        rng = random.Random(f"{name}/{number}")
        output = folder / name / str(number)
        save = rng.choice([0.0, 0.0, whole / 5])
        mine, wanted = 0, rng.choice([1, 1, 2, 3])
        while mine < wanted:
            if Fork(run, output, save).kill_at(whole * rng.random() / (1 + mine)):
                mine += 1
                moments[scene(output)] += 1
            elif mine:
                break
            else:  # faster than the uninterrupted run: once more, or it would not count
                shutil.rmtree(output)
        if output.exists():
            sweep(output)  # killed while it swept: the verb that finds an artifact sweeps first
        else:
            Fork(run, output, save).wait()
        kills += mine
        equal += content(output) == expected
        shutil.rmtree(output)
    spent = {"uninterrupted_cpu_seconds": round(whole, 2), "seconds": round(time.monotonic() - began)}
    return {"runs": runs, "kills": kills, "equal": equal, **spent, "moments": dict(moments.most_common())}


def main(runs: int, chosen: list[str]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        every = stages(Path(name))
        print(json.dumps({s: kill(s, every[s], runs, Path(name)) for s in chosen or every}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
