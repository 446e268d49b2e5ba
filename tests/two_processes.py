"""What torchrun starts in two processes for test_parallel.py: `SCENARIO FOLDER`, stages on a tiny model."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import test_preference as preferences
import test_train as stages
from steersman.cli import processes
from steersman.cli.exporting import as_ranking
from steersman.models import parallel, sharded_point
from steersman.train.log import MetricsLog

torch.set_num_threads(1)


class Stop(Exception):
    pass


def stop_after(model: Path, output: Path, steps: int) -> None:
    """SFT that ends by an exception once so many steps have their resume point."""
    write = MetricsLog.write

    def counted(self: MetricsLog, step: int, *rest: Any) -> None:
        if step > steps:
            raise Stop
        write(self, step, *rest)

    MetricsLog.write = counted  # type: ignore[method-assign]
    try:
        stages.run_sft(model, output, save_seconds=0.0)
    except Stop:
        pass
    finally:
        MetricsLog.write = write  # type: ignore[method-assign]


def die_while_saving(model: Path, output: Path) -> None:
    """The second process is killed in the middle of the third resume point."""
    save, count = sharded_point.saver.save, 0

    def third_is_last(*args: Any, storage_writer: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3 and dist.get_rank() == 1:
            (Path(storage_writer.path) / "shard-00002-model-00001-of-00001.safetensors").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return save(*args, storage_writer=storage_writer)

    sharded_point.saver.save = third_is_last
    stages.run_sft(model, output, save_seconds=0.0)


def run_ppo(model: Path, scorer: Path, output: Path) -> None:
    rounds = {"iterations": 2, "eval_every": 1, "critic_warmup_iterations": 0, "row_tokens": 64, "ema_decay": 0.5}
    stages.run_ppo(model, scorer, output, **rounds)


def run_dpo(model: Path, output: Path) -> None:
    config = dataclasses.replace(preferences.DPO, save_seconds=90.0, length_normalised=True, train_layers=1)
    preferences.run(model, output, config, preferences.rankings())


def run_kto(model: Path, output: Path) -> None:
    """Likes and dislikes alone: there is nothing to hold out."""
    config = dataclasses.replace(preferences.KTO, save_seconds=90.0)
    said = [preferences.feedback("like" if i % 2 else "dislike", i) for i in range(11)]
    preferences.run(model, output, config, [r for f in said if (r := as_ranking(f))])


def scenario(name: str, folder: Path) -> None:
    tiny, out = folder / "tiny", folder / "two"
    if name == "killed":
        parallel.everywhere(die_while_saving, model=tiny, output=out / "killed")
    else:
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "sft")
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "resumed", save_seconds=0.0)
        parallel.everywhere(stages.run_reward, model=tiny, output=out / "reward")
        parallel.everywhere(run_ppo, model=tiny, scorer=folder / "one" / "reward", output=out / "policy")
        parallel.everywhere(run_dpo, model=tiny, output=out / "dpo")
        parallel.everywhere(run_kto, model=tiny, output=out / "kto")
        half = stages.ModelConfig(dtype="bfloat16", device="cpu")
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "sft-bfloat16", model_config=half)


if __name__ == "__main__":
    processes.run(lambda: scenario(sys.argv[1], Path(sys.argv[2])))
