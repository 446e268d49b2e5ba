"""Whether a training stage fits into memory, how long it takes, and which settings would fit.

`steersman plan` shows this; every training stage asks `check_memory` before it loads a model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman import machine
from steersman.config import (
    DpoConfig,
    KtoConfig,
    ModelConfig,
    PpoConfig,
    PreferenceConfig,
    RewardConfig,
    SftConfig,
    replaced,
    to_dict,
)
from steersman.distributed import parallel
from steersman.families.known import family_of
from steersman.families.shape import Shape
from steersman.kernels import ops
from steersman.progress import note
from steersman.train.memory import Setting, predict
from steersman.train.speed import operations
from steersman.weights.folders import DTYPES, pick_device, read_config, text_config

Stage = SftConfig | RewardConfig | PpoConfig | DpoConfig | KtoConfig
NAMES: dict[type[Any], str] = {
    SftConfig: "sft",
    RewardConfig: "reward",
    PpoConfig: "ppo",
    DpoConfig: "dpo",
    KtoConfig: "kto",
}
MARGIN = 1.1
"""A plan leaves this much room above its prediction; a stage starts as long as the prediction itself fits."""
SHORTEST_ROW = 256
"""No plan proposes shorter rows: below, matrix products get slow."""
LORA_RANK = 16
GIB = 2**30


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens of a stage's documents (dialogues, rankings with their answers, prompts); 0: not known."""

    total: int = 0
    longest: int = 0
    documents: int = 0

    @property
    def mean(self) -> int:
        return self.total // max(1, self.documents)


def lengths_of(sizes: Sequence[int]) -> Lengths:
    """Lengths from the number of tokens of each document."""
    return Lengths(sum(sizes), max(sizes, default=0), len(sizes))


@dataclass(frozen=True)
class Option:
    """One way to run a stage."""

    changes: dict[str, Any]
    """Fields of the stage's section that differ from the configuration."""
    parts: dict[str, int]
    """Bytes at the peak."""
    operations: float
    """Floating-point operations per token of data and epoch (PPO: per answer)."""

    @property
    def peak(self) -> int:
        return sum(self.parts.values())

    @property
    def trains_less(self) -> bool:
        """Whether the option changes the training itself, and not only the order of the same work."""
        return not self.changes.keys() <= {"row_tokens", "checkpointing"}


def setting_of(config: Stage, lengths: Lengths, model_config: ModelConfig, **models: Any) -> Setting:
    """The settings and data sizes that decide a stage's memory. `models`: PPO's `reward_models`, `shared_base`."""
    row, longest = config.rows.row_tokens, lengths.longest
    answers = answer_length = cached = 0
    averaged, critic = False, True
    if isinstance(config, SftConfig):
        longest = min(longest, row)
        batch = config.rows.batch_tokens
    elif isinstance(config, RewardConfig | PreferenceConfig):
        row = max(row, longest)
        batch = config.rows.batch_prompts * (lengths.mean or row)
        if isinstance(config, RewardConfig):  # the validator and further members see the same rankings
            passes = config.epochs + config.validator + config.members - 1
        else:
            passes = config.epochs + 1  # the SFT model's comes first
        cached = lengths.total if passes > 1 and config.adapters.train_layers else 0
    else:
        longest += config.rollouts.answers_per_prompt * config.rollouts.max_tokens
        answers = config.rollouts.prompts_per_iteration * config.rollouts.answers_per_prompt
        answer_length = lengths.longest + config.rollouts.max_tokens
        averaged, critic = config.optimizer.ema_decay > 0, config.advantage.method == "gae"
        row = max(row, longest)
        mean = lengths.mean + config.rollouts.answers_per_prompt * config.rollouts.max_tokens
        batch = -(-config.rollouts.prompts_per_iteration // config.minibatches) * mean
    dtype, device = DTYPES[model_config.dtype], pick_device(model_config.device)
    return Setting(
        stage=NAMES[type(config)],
        row_tokens=min(row, max(batch, longest)),
        accumulate=batch > row,
        train_layers=config.adapters.train_layers,
        lora_rank=config.adapters.lora_rank,
        checkpointing=config.rows.checkpointing,
        itemsize=dtype.itemsize,
        on_gpu=device.type != "cpu",
        kernels=ops.multiplies(torch.empty(0, dtype=dtype, device=device)),
        longest=longest,
        data_tokens=lengths.total,
        cached_tokens=cached,
        answers=min(128, answers),
        answer_length=answer_length,
        averaged=averaged,
        critic=critic,
        **models,
    )


@dataclass(frozen=True)
class Plan:
    """A stage's memory as configured, and every other way to run it."""

    stage: str
    free: int
    """Bytes that the process may take in total."""
    options: list[Option]
    """First the configuration; then options of the same training, the least work first; then those that train less."""

    @property
    def chosen(self) -> Option | None:
        """The configuration if it fits, or else the first of the others that does."""
        first, *others = self.options
        return first if self.fits(first) else next((option for option in others if self.fits(option)), None)

    def fits(self, option: Option) -> bool:
        """Whether the option's peak fits, with room for the prediction's error."""
        return MARGIN * option.peak <= self.free

    @property
    def advice(self) -> str:
        """The settings to change, in words and as options of the command line."""
        if (chosen := self.chosen) is None:
            least = min(self.options, key=lambda option: option.peak)
            return (
                f"nothing that Steersman can set would fit; the least is {shown(least.peak)} with "
                f"{as_options(self.stage, least)}. Take a smaller model, shorter dialogues or a larger machine"
            )
        less = ", which trains less" if chosen.trains_less else ""
        return f"{as_options(self.stage, chosen)} takes {shown(chosen.peak)}{less}"


def as_options(stage: str, option: Option) -> str:
    """`--set` options for a command line."""
    values = {
        key: f"{value:g}" if isinstance(value, float) else str(value).lower() for key, value in option.changes.items()
    }
    return " ".join(f"--set {stage}.{key}={value}" for key, value in values.items())


def shown(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def shape_in(folder: Path, trust_remote_code: bool = False) -> Shape:
    """A model's shape from its config.json. Raises ValueError for a family that is not in `compute.layers.FAMILIES`."""
    config = text_config(read_config(folder, trust_remote_code))
    return family_of(config).shape(config)


def free_memory(on_gpu: bool) -> int:
    """Bytes that this process may take in total: free memory, within a container's limit, plus what it holds now."""
    if on_gpu:
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return machine.free_memory() + machine.own_memory()


def make_plan(
    shape: Shape,
    config: Stage,
    lengths: Lengths,
    model_config: ModelConfig,
    free: int | None = None,
    **models: Any,
) -> Plan:
    """`free`: bytes to plan for, by default what this machine has. `models`: see `setting_of`."""

    def option(changes: dict[str, Any]) -> Option:
        changed = replaced(config, **changes)
        setting = setting_of(changed, lengths, model_config, **models)
        return Option(changes, predict(shape, setting), operations(shape, setting, changed, lengths.mean))

    same = [option(changes) for changes in _same_training(config, lengths.longest)]
    same.sort(key=lambda o: (o.operations, -o.changes.get("row_tokens", config.rows.row_tokens)))
    less = [
        option(fewer | changes)
        for fewer in _less_training(config, shape.layers)
        for changes in [{}, *_same_training(config, lengths.longest)]
    ]
    if free is None:
        free = free_memory(pick_device(model_config.device).type != "cpu")
    return Plan(NAMES[type(config)], free, [option({}), *same, *less])


def _same_training(config: Stage, longest: int) -> Iterator[dict[str, Any]]:
    """Fields with other values of row_tokens and checkpointing; a row never gets shorter than the longest document."""
    rows = [config.rows.row_tokens]
    while rows[-1] // 2 >= max(longest, SHORTEST_ROW):
        rows.append(rows[-1] // 2)
    for row, recompute in itertools.product(rows, sorted({config.rows.checkpointing, True})):
        wanted = {"row_tokens": row, "checkpointing": recompute}
        now = to_dict(config)
        if changes := {key: value for key, value in wanted.items() if now[key] != value}:
            yield changes


def _less_training(config: Stage, layers: int) -> Iterator[dict[str, Any]]:
    """Fields that train fewer layers, most layers first; then adapters, at about ten times the learning rate."""
    now = config.adapters.train_layers or layers
    for count in dict.fromkeys(max(1, round(share * now)) for share in (2 / 3, 1 / 2, 1 / 3)):
        yield {"train_layers": count}
    if not config.adapters.lora_rank:
        rates = {key: 10 * value for key, value in to_dict(config).items() if key in ("lr", "critic_lr")}
        adapters = {"lora_rank": LORA_RANK, **rates}
        yield adapters
        yield adapters | {"train_layers": max(1, round(now / 3))}


def check_memory(base: Path, config: Stage, lengths: Lengths, model_config: ModelConfig, **models: Any) -> None:
    """Refuse to start what cannot fit: ValueError with what would. Models of unknown families are not judged."""
    if not model_config.memory_check or parallel.size() > 1:  # a sharded model's memory is not counted yet
        return
    try:
        shape = shape_in(base, model_config.trust_remote_code)
    except ValueError as error:
        note(f"{NAMES[type(config)]}: whether it fits into memory is not checked: {error}")
        return
    plan = make_plan(shape, config, lengths, model_config, **models)
    if (peak := plan.options[0].peak) > plan.free:
        raise ValueError(
            f"{plan.stage}: not started, since its memory is predicted to reach {shown(peak)} and {shown(plan.free)} "
            f"are free. {plan.advice}. To start it as it is: --set model.memory_check=false"
        )
