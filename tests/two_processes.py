"""What torchrun starts in two processes for test_parallel.py: `SCENARIO FOLDER`, stages on a tiny model."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import test_preference as preferences
import test_train as stages
from steersman.artifact import sharded_point
from steersman.cli import processes
from steersman.config import replaced
from steersman.distributed import parallel
from steersman.rounds.export import as_ranking
from steersman.train.actors import Actors
from steersman.train.log import MetricsLog

torch.set_num_threads(1)


class Stop(Exception):
    pass


def stop_after(steps: int, run: Any, *arguments: Any, **changes: Any) -> None:
    """A stage that ends by an exception once so many steps have their resume point."""
    write = MetricsLog.write

    def counted(self: MetricsLog, step: int, *rest: Any) -> dict[str, Any]:
        if step > steps:
            raise Stop
        return write(self, step, *rest)

    MetricsLog.write = counted  # type: ignore[method-assign]
    try:
        run(*arguments, save_seconds=0.0, **changes)
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


def run_ppo(model: Path, scorer: Path, output: Path, **changes: Any) -> None:
    rounds = {"iterations": 2, "eval_every": 1, "critic_warmup_iterations": 0, "row_tokens": 64, "ema_decay": 0.5}
    rounds |= {"kl_target": 0.01, "confidence": 0.0}  # the last policy is drawn back, in shards too
    stages.run_ppo(model, scorer, output, **{**rounds, **changes})


def with_adapters(one: Path, tiny: Path, out: Path) -> None:
    """Every stage with LoRA into `out`, on the models in `one`; PPO with the reward model over its base, and beside."""
    stages.run_sft(tiny, out / "lora-sft", lora_rank=2, epochs=1)
    stages.run_reward(one / "lora-sft", out / "lora-reward", lora_rank=3, epochs=1)
    run_ppo(one / "lora-sft", one / "lora-reward", out / "lora-policy", lora_rank=4)
    run_ppo(one / "lora-sft", one / "reward", out / "lora-beside", lora_rank=4, iterations=1)
    run_dpo(tiny, out / "lora-dpo", lora_rank=2)


def check_what_is_split(one: Path) -> None:
    """PPO's four models over one base: its weights are split once for all, adapters and the critic's head are whole."""
    config = replaced(stages.PPO, lora_rank=4)
    actors = Actors.load(one / "lora-sft", one / "lora-reward", config, stages.FLOAT)
    for model in (actors.policy, actors.reference, actors.reward, actors.critic):
        names = dict(model.named_parameters())
        assert {n for n, p in names.items() if not parallel.is_split(p)} == {
            n for n in names if ".lora_" in n or n == "score.weight"
        }
        assert model.model.embed_tokens is actors.policy.model.embed_tokens


PPO_KINDS = {"full": ("tiny", "one/reward", 0), "lora": ("one/lora-sft", "one/lora-reward", 4)}


def ppo_kind(kind: str, folder: Path, output: Path, **changes: Any) -> None:
    """Three rounds of PPO, of all weights or of adapters on one base; the average of the weights is kept too."""
    model, scorer, rank = PPO_KINDS[kind]
    run_ppo(folder / model, folder / scorer, output, **{"iterations": 3, "lora_rank": rank, **changes})


def stopped_ppo(folder: Path) -> None:
    """Two uninterrupted runs, and two that end after the second round: by an exception, and by a signal."""
    for kind in PPO_KINDS:
        ppo_kind(kind, folder, folder / "two" / f"whole-{kind}")
    stop_after(1, ppo_kind, "full", folder, folder / "two" / "stopped-full")
    if dist.get_rank() == 1:
        Stop.__init__ = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
    stop_after(1, ppo_kind, "lora", folder, folder / "two" / "stopped-lora")


def resumed_ppo(folder: Path) -> None:
    """Both go on, and so do runs that one process left in the middle of a round."""
    for kind in PPO_KINDS:
        ppo_kind(kind, folder, folder / "two" / f"stopped-{kind}")
        ppo_kind(kind, folder, folder / "two" / f"inside-{kind}")


def run_dpo(model: Path, output: Path, **changes: Any) -> None:
    config = replaced(preferences.DPO, save_seconds=90.0, length_normalised=True, train_layers=1, **changes)
    preferences.run(model, output, config, preferences.rankings())


def run_kto(model: Path, output: Path) -> None:
    """Likes and dislikes alone: there is nothing to hold out."""
    config = replaced(preferences.KTO, save_seconds=90.0)
    said = [preferences.feedback("like" if i % 2 else "dislike", i) for i in range(11)]
    preferences.run(model, output, config, [r for f in said if (r := as_ranking(f))])


def run_t5(model: Path, output: Path) -> None:
    stages.run_sft(model, output / "t5-sft", epochs=1)
    stages.run_reward(model, output / "t5-reward", epochs=1, lora_rank=2)


def scenario(name: str, folder: Path) -> None:
    tiny, out = folder / "tiny", folder / "two"
    if name == "killed":
        parallel.everywhere(die_while_saving, model=tiny, output=out / "killed")
    elif name == "adapters":
        parallel.everywhere(with_adapters, one=folder / "one", tiny=tiny, out=out)
        parallel.everywhere(check_what_is_split, one=folder / "one")
    elif name in ("stopped_ppo", "resumed_ppo"):
        parallel.everywhere({"stopped_ppo": stopped_ppo, "resumed_ppo": resumed_ppo}[name], folder=folder)
    else:
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "sft")
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "resumed", save_seconds=0.0)
        parallel.everywhere(stages.run_reward, model=tiny, output=out / "reward")
        parallel.everywhere(run_ppo, model=tiny, scorer=folder / "one" / "reward", output=out / "policy")
        parallel.everywhere(run_dpo, model=tiny, output=out / "dpo")
        parallel.everywhere(run_kto, model=tiny, output=out / "kto")
        parallel.everywhere(run_t5, model=folder / "t5", output=out)
        half = stages.ModelConfig(dtype="bfloat16", device="cpu")
        parallel.everywhere(stages.run_sft, model=tiny, output=out / "sft-bfloat16", model_config=half)


if __name__ == "__main__":
    processes.run(lambda: scenario(sys.argv[1], Path(sys.argv[2])))
