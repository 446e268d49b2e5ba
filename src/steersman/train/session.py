"""Opening and closing a training stage: the parts that SFT, reward model, DPO, KTO and PPO have in common.

    origin = Origin("sft", output, config, model_config, seed, inputs)
    with opened(origin, base, sizes, load) as session:  # memory checked, models loaded, working folder open
        steps = Steps(session, total)                   # optimizer and schedule, at the newest resume point
        for step in steps:                              # bar, log, a resume point now and then and after a signal
            ...                                         # what the stage is about: gather gradients
            norm, rate = steps.update()
            session.write(steps.done, {"loss": loss, "lr": rate})
        session.save(model, tokenizer)                  # the end of bar and log
        return session.finish(report)                   # hashes, manifest, the folder's own name

A stage that ends otherwise leaves its working folder, and the same call goes on from the newest resume point in it.

Why so: decision 56 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from steersman.artifact.stage_folder import StageFolder
from steersman.config import (
    DpoConfig,
    EncoderConfig,
    KtoConfig,
    ModelConfig,
    PpoConfig,
    PretrainConfig,
    RewardConfig,
    SftConfig,
    to_dict,
)
from steersman.families.outputs import shard, use_checkpointing
from steersman.machine import keep_freed_memory
from steersman.progress import Metric, Progress, progress
from steersman.train.budget import check_memory, lengths_of
from steersman.train.log import MetricsLog
from steersman.train.schedule import Schedule
from steersman.train.update import Rule, Updater
from steersman.weights.folders import pick_device, save_model, use_packed_rows
from steersman.weights.lora import merged, quantized, set_trainable

M = TypeVar("M")
C = TypeVar("C", bound=SftConfig | RewardConfig | DpoConfig | KtoConfig | PpoConfig)
S = TypeVar("S", bound=SftConfig | RewardConfig | DpoConfig | KtoConfig | PpoConfig | PretrainConfig | EncoderConfig)
Rules = Callable[[str, Tensor], Rule]
Point = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""(tensors, state) that a stage can go on from."""


@dataclass(frozen=True)
class Origin(Generic[S]):
    """A stage's settings, seed and inputs (name -> hash), and the folder of its artifact."""

    stage: str
    output: Path
    config: S
    model: ModelConfig
    seed: int
    inputs: Mapping[str, str]

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings that the manifest records; a resume point serves only the same settings."""
        return {**to_dict(self.config), "seed": self.seed, **self.model.recorded}


def trainable(
    load: Callable[..., Any], base: Path, origin: Origin[C], seed: int, prepare: Callable[[Any], None] = lambda _: None
) -> Any:
    """Load `base` for training: over packed rows, untrained parts frozen, split over the processes.

    `load` is `load_causal` or `load_scalar`; `prepare` is called with the model before anything is frozen.
    """
    config, device = origin.config, pick_device(origin.model.device)
    model = load(
        base, origin.model.dtype, origin.model.trust_remote_code, **quantized(origin.model, config.adapters.lora_rank)
    )
    model = use_packed_rows(model).to(device)
    prepare(model)
    set_trainable(model, config, seed)
    if config.rows.checkpointing:
        use_checkpointing(model)
    shard(model)
    return model


class Session(Generic[S, M]):
    """A stage under way: its models, its working folder, its bar and its log."""

    def __init__(self, origin: Origin[S], model: M, folder: StageFolder, contexts: contextlib.ExitStack) -> None:
        self.origin, self.model, self.folder = origin, model, folder
        self._contexts = contexts
        self._shown = contextlib.ExitStack()
        self._units, self._began = 0, time.monotonic()
        self.bar: Progress
        self.log: MetricsLog

    @property
    def path(self) -> Path:
        return self.folder.path

    def begin(self, point: Callable[[], Point | None], total: int, done: int, unit: str = "step") -> None:
        """Start: signals wait for `parallel.halt` and then save `point()`; progress is shown and logged.

        `done` of the `total` units were done before this run.
        """
        self._contexts.enter_context(self.folder.resumable(point))
        self._contexts.enter_context(self._shown)
        self.bar = self._shown.enter_context(progress(self.origin.stage, total, start=done, unit=unit))
        # a step's line bears the number of steps that are done, an iteration's its own
        first = done + 1 if unit == "step" else done
        self.log = self._shown.enter_context(MetricsLog(self.path, unit, first))
        self._began = time.monotonic()

    def write(
        self, number: int, metrics: dict[str, Any], timing: dict[str, float] | None = None, **shown: Metric
    ) -> dict[str, Any]:
        """Write a line of metrics.jsonl and, with `shown`, update the bar; returns the line as `read_metrics` will."""
        row = self.log.write(number, metrics, timing)
        if shown:
            self.bar.update(number, **shown)
        return row

    def speed(self, more: int) -> float:
        """Units per second since the stage began, after `more` of them."""
        self._units += more
        return self._units / (time.monotonic() - self._began)

    def mean_speed(self, digits: int | None = None) -> float | None:
        """Units per second, rounded, for the manifest; None where this run did none."""
        return round(self._units / max(1e-9, time.monotonic() - self._began), digits) if self._units else None

    def keep(self, point: Callable[[], Point | None]) -> None:
        """Save a resume point if it is time for one. All processes call it together."""
        if self.folder.agree_to_save() and (found := point()) is not None:
            self.folder.save(*found)

    def save(self, model: Any, tokenizer: Any, state: dict[str, Tensor] | None = None) -> None:
        """Training is over: end bar and log, and write the model, adapters merged; `state`: other weights of it."""
        self._shown.close()
        save_model(merged(model), tokenizer, self.path, state)

    def finish(self, report: dict[str, Any], notes: tuple[str, ...] = ()) -> dict[str, Any]:
        """Write the manifest and give the folder its name; returns `report`, the manifest's metrics."""
        self.folder.finish(report, notes)
        return report


@contextlib.contextmanager
def opened(
    origin: Origin[C], base: Path, sizes: Sequence[int], load: Callable[[], M], **models: Any
) -> Iterator[Session[C, M]]:
    """Check that the stage fits into memory, load its models, open its working folder; close log and bar afterwards.

    `sizes`: tokens of each document; `models`: see `budget.setting_of`. Raises ValueError where the stage cannot start.
    """
    check_memory(base, origin.config, lengths_of(sizes), origin.model, **models)
    with working(origin, load) as session:
        yield session


@contextlib.contextmanager
def working(origin: Origin[S], load: Callable[[], M]) -> Iterator[Session[S, M]]:
    """`opened` for a stage whose memory is not predicted."""
    keep_freed_memory()
    model = load()
    kept = origin.config.resume
    identity = origin.stage, origin.recorded, origin.inputs
    folder = StageFolder(origin.output, *identity, kept.save_seconds, kept.keep_checkpoints)
    with contextlib.ExitStack() as contexts:
        yield Session(origin, model, folder, contexts)


class Steps:
    """The optimizer steps of a stage that trains one model, from the newest resume point on."""

    def __init__(self, session: Session[Any, Any], total: int, rules: Rules | None = None, stop_after: int = 0) -> None:
        """`rules`: see `Updater`; `stop_after`: the steps to do of the total, 0: all."""
        config = session.origin.config
        self.session, self.total, self.done = session, total, 0
        self.end = min(total, stop_after or total)
        self.updater = Updater(
            session.model,
            lr=config.optimizer.lr,
            weight_decay=config.optimizer.weight_decay,
            grad_clip=config.optimizer.grad_clip,
            rules=rules,
        )
        self.schedule = Schedule(
            total, round(config.optimizer.warmup_fraction * total), config.optimizer.final_lr_fraction
        )
        self.kept: dict[str, Any] = {}
        """Further content of resume points, besides weights, optimizer and number of steps."""
        if (point := session.folder.load()) is not None:
            self.updater.restore(point[0])
            self.kept = dict(point[1])
            self.done = int(self.kept.pop("step"))

    def __iter__(self) -> Iterator[int]:
        """Numbers of the steps to do. `update` must be called once for each."""
        self.session.begin(self._point, max(self.end, self.done), self.done)
        while self.done < self.end:
            yield self.done
            if self.done < self.end:
                self.session.keep(self._point)

    def update(self) -> tuple[float, float]:
        """Apply the gathered gradients; returns their norm before clipping and the learning rate."""
        share = self.schedule.share(self.done)
        norm = self.updater.step(share)
        self.done += 1
        return norm, self.updater.peak_lr * share

    def _point(self) -> Point:
        return self.updater.state(), {"step": self.done, **self.kept}
