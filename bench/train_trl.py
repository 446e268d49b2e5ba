"""TRL's side of the training benchmark, under TRL's own Python: python train_trl.py DATA.json SPEC.json

Imports nothing of steersman. Token ids come ready in DATA.json, in the order to train on; the clock starts after the
warm-up steps. Prints one JSON object. SFTTrainer and RewardTrainer are those of TRL 1.16, PPOTrainer that of 0.23.1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from harness import own_peak_mib


class Clock(TrainerCallback):
    """Seconds and losses from the end of the warm-up on."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.began, self.ended, self.losses, self.rows = warmup, 0.0, 0.0, [], []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended = time.perf_counter()
        if state.global_step == self.warmup:
            self.began = self.ended

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
        if logs and "objective/kl" in logs:
            self.rows.append(dict(logs))

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def in_order(trainer: type) -> type:
    """The trainer with its rows in the order given, as every other side takes them."""

    class InOrder(trainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset if dataset is None else dataset)

    return InOrder


def settings(spec: SimpleNamespace, data: dict[str, Any], folder: str) -> dict[str, Any]:
    # pairs are two sequences each, and more than 8 at once do not fit into a laptop's memory
    at_once = 8 if spec.task == "reward" and data["batch"] % 8 == 0 else data["batch"]
    return {
        "output_dir": folder,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": data["batch"] // at_once,
        "learning_rate": spec.lr,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": True,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": spec.seed,
    }


def run_sft(spec: SimpleNamespace, data: dict[str, Any], folder: str) -> dict[str, Any]:
    from trl import SFTConfig, SFTTrainer

    clock = Clock(spec.warmup)
    model = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32)
    trainer = in_order(SFTTrainer)(
        model=model,
        args=SFTConfig(**settings(spec, data, folder), max_steps=spec.steps + spec.warmup, completion_only_loss=True),
        train_dataset=Dataset.from_list(data["rows"]),
        processing_class=AutoTokenizer.from_pretrained(spec.model),
        callbacks=[clock],
    )
    trainer.train()
    timed = data["rows"][spec.warmup * data["batch"] : (spec.warmup + spec.steps) * data["batch"]]
    return finish(trainer, spec, clock, sum(len(row["input_ids"]) for row in timed))


def run_reward(spec: SimpleNamespace, data: dict[str, Any], folder: str) -> dict[str, Any]:
    from trl import RewardConfig, RewardTrainer

    clock = Clock(spec.warmup)
    model = AutoModelForSequenceClassification.from_pretrained(spec.reward, num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    tokenizer.pad_token_id = model.config.pad_token_id = data["pad"]
    trainer = in_order(RewardTrainer)(
        model=model,
        args=RewardConfig(**settings(spec, data, folder), max_steps=spec.steps + spec.warmup, max_length=None),
        train_dataset=Dataset.from_list(data["rows"]),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return finish(trainer, spec, clock, spec.steps * data["batch"])


def finish(trainer: Any, spec: SimpleNamespace, clock: Clock, units: int) -> dict[str, Any]:
    """The peak is read before the model is saved for the held-out measurement."""
    peak = own_peak_mib()
    trainer.model.save_pretrained(spec.output)
    result = {"units": units, "seconds": clock.seconds, "per_second": units / clock.seconds, "peak_mib": peak}
    return result | {"losses": clock.losses}


def old_tokenizer(folder: str, data: dict[str, Any]) -> Any:
    """transformers 4 does not know the tokenizer class that version 5 writes into its folders; the file is the same."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"), padding_side="left")
    tokenizer.pad_token, tokenizer.eos_token = tokenizer.convert_ids_to_tokens([data["pad"], data["eos"]])
    return tokenizer


def old_model(kind: Any, folder: str, **extra: Any) -> Any:
    """A folder of transformers 5 under version 4, which looks for the rotary base under its old name."""
    raw = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    config = AutoConfig.from_pretrained(folder, **extra)
    if "rope_theta" not in raw:
        config.rope_theta = raw["rope_parameters"]["rope_theta"]
    return kind.from_pretrained(folder, config=config, dtype=torch.float32)


def scorer(folder: str) -> Any:
    """A reward model; the head's bias is the shift of ours, which transformers' head has no place for."""
    model = old_model(AutoModelForSequenceClassification, folder, num_labels=1)
    head = torch.nn.Linear(model.score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(model.score.weight)
        head.bias.fill_(-getattr(model.config, "reward_shift", 0.0))
    model.score = head
    return model


def train_last_layers(model: Any, layers: int) -> None:
    """As steersman's `train_last_layers`."""
    if layers:
        model.requires_grad_(False)
        for part in (
            *model.model.layers[-layers:],
            model.model.norm,
            *([model.score] if hasattr(model, "score") else []),
        ):
            part.requires_grad_(True)


def adapt(ppo: Any, reward: Any, spec: SimpleNamespace, eos: int) -> list[int]:
    """What every side shares, put into the module of TRL's PPOTrainer; returns a list that lengths of answers go to.

    Generation, reference, reward model and the values of rollouts run outside accelerate's autocast, so in float32:
    here in bfloat16 with float32 results, as all else. An answer without an end scores `no_eos_reward`.
    """
    lengths: list[int] = []

    def in_bfloat16(function: Any) -> Any:
        def inside(*args: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return function(*args)

        return inside

    run_forward, run_reward = in_bfloat16(ppo.forward), in_bfloat16(ppo.get_reward)

    def forward(*args: Any) -> Any:
        out = run_forward(*args)
        if not isinstance(out, tuple):  # the reference's
            out.logits = out.logits.float()
        return out

    def get_reward(model: Any, ids: torch.Tensor, pad: int, context: int) -> Any:
        values, scores, ends = run_reward(model, ids, pad, context)
        scores = scores.float()
        if model is reward:
            lengths.extend((ends - context + 1).tolist())
            scores = torch.where((ids[:, context:] == eos).any(dim=1), scores, spec.no_eos_reward)
        return values.float(), scores, ends

    ppo.batch_generation, ppo.forward, ppo.get_reward = in_bfloat16(ppo.batch_generation), forward, get_reward
    return lengths


def run_ppo(spec: SimpleNamespace, data: dict[str, Any], folder: str) -> dict[str, Any]:
    from trl import PPOConfig, PPOTrainer
    from trl.trainer import ppo_trainer

    tokenizer = old_tokenizer(spec.model, data)
    policy, reference = (old_model(AutoModelForCausalLM, spec.model) for _ in range(2))
    reward, critic = (scorer(spec.reward) for _ in range(2))
    for model in (policy, critic):
        train_last_layers(model, spec.train_layers)
    for model in (reference, reward):
        model.to(torch.bfloat16)
    lengths = adapt(ppo_trainer, reward, spec, data["eos"])
    clock = Clock(spec.warmup)
    dataset = Dataset.from_list(data["rows"])
    chosen = {
        **settings(spec, data, folder),
        "total_episodes": (spec.warmup + spec.steps) * spec.episodes,
        "num_ppo_epochs": spec.epochs,
        "num_mini_batches": spec.minibatches,
        "local_rollout_forward_batch_size": spec.episodes,
        "response_length": spec.max_tokens,
        "temperature": 1.0,
        "stop_token": "eos",
        "num_sample_generations": 0,
    }
    trainer = PPOTrainer(
        args=PPOConfig(**(chosen | spec.peer)),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=critic,
        train_dataset=dataset,
        eval_dataset=dataset.select(range(1)),
        callbacks=[clock],
    )
    trainer.train()
    units, peak = spec.steps * spec.episodes, own_peak_mib()
    trainer.model.policy.to(torch.bfloat16).save_pretrained(spec.output)
    return {
        "units": units,
        "seconds": clock.seconds,
        "per_second": units / clock.seconds,
        "peak_mib": peak,
        "answer_tokens": sum(lengths) / len(lengths),
        "log": [{key: row[key] for key in ("objective/kl", "objective/scores")} for row in clock.rows],
    }


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    spec = SimpleNamespace(**json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        result = {"sft": run_sft, "reward": run_reward, "ppo": run_ppo}[spec.task](spec, data, folder)
    print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    main()
