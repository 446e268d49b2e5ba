"""The optimizer steps of pretraining: which rows each one reads, and the way back from a spike of the loss.

Steps are counted twice: `done` counts what was read and never falls, `updates` counts the steps that stand. A loss far
above the last ones, or a gradient that is not finite, takes weights and optimizer back to a point held in memory, and
training goes on with the rows after: those in between are skipped. The point is part of every resume point, so that a
resumed run goes back to the same.

Why so: decision 81 in docs/LOG.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steersman.config import PretrainConfig
from steersman.progress import note
from steersman.train.average import Average, LastPoints
from steersman.train.dial import Recipe
from steersman.train.schedule import Schedule
from steersman.train.session import Point, Session
from steersman.train.update import Updater

WINDOW, LEAST = 50, 10
"""Losses that a new one is compared with, at most and at least."""
FLOOR = 0.02
"""Nats: a deviation is never taken to be smaller."""
MOST = 20
"""Spikes after which a run ends: its rate is too high."""
POINT = "point/"


def is_spike(losses: Sequence[float], loss: float, deviations: float) -> bool:
    """Whether a loss is so many standard deviations above the mean of the last ones, or not finite."""
    if not math.isfinite(loss):
        return True
    if not deviations or len(losses) < LEAST:
        return False
    return loss > statistics.fmean(losses) + deviations * max(statistics.pstdev(losses), FLOOR)


class Trajectory:
    def __init__(self, session: Session[PretrainConfig, Any], updater: Updater, recipe: Recipe) -> None:
        config = session.origin.config
        self.session, self.updater, self.recipe, self.config = session, updater, recipe, config
        self.done = self.updates = 0
        self.losses: list[float] = []
        self.spikes: list[dict[str, Any]] = []
        self.kept: dict[str, Any] = {}
        """Further content of resume points."""
        self.average = _average(config, updater, recipe.steps)
        self.back: dict[str, Tensor] = {}
        self.back_at = 0
        u = config.updates
        warmup, fall = round(u.warmup_fraction * recipe.steps), round(u.decay_fraction * recipe.steps)
        self.schedule = Schedule(recipe.steps, warmup, u.final_lr_fraction, "stable", fall=fall)
        if (point := session.folder.load()) is not None:
            self._restore(point[0])
            self.back = {n.removeprefix(POINT): x for n, x in point[0].items() if n.startswith(POINT)}
            known = dict(point[1])
            self.done, self.updates, self.back_at = (known.pop(n) for n in ("done", "updates", "back_at"))
            self.losses, self.spikes = known.pop("losses"), known.pop("spikes")
            self.kept = known

    def __iter__(self) -> Iterator[int]:
        """Numbers of the batches to read; `update` must be called once for each."""
        self.session.begin(self._point, self._total(), self.done)
        while self.updates < self.recipe.steps:
            if self.config.kept.spike_deviations and self.updates % self.config.kept.spike_every == 0:
                self._keep()
            yield self.done
            if self.updates < self.recipe.steps:
                self.session.keep(self._point)

    def _total(self) -> int:
        return self.recipe.steps + self.done - self.updates

    def update(self, loss: float) -> dict[str, float | bool]:
        """Apply the gathered gradients of a batch of this loss, or go back; returns what the log shall hold."""
        self.done += 1
        rate = self.schedule.share(self.updates)
        if is_spike(self.losses, loss, self.config.kept.spike_deviations):
            return self._go_back(loss)
        try:
            norm = self.updater.step(rate)
        except FloatingPointError:
            return self._go_back(loss)
        self.updates += 1
        self.losses = [*self.losses, loss][-WINDOW:]
        if self.average is not None:
            self.average.update(self.updates)
        return {"loss": loss, "lr": self.updater.peak_lr * rate, "grad_norm": norm}

    def _go_back(self, loss: float) -> dict[str, float | bool]:
        if not self.back or len(self.spikes) >= MOST:
            raise FloatingPointError(
                f"step {self.updates + 1}: the loss is {loss:.4g} after {len(self.spikes)} spikes; lower the learning "
                f"rate: --set pretrain.updates.lr={self.updater.peak_lr / 3:.2g}"
            )
        mean = statistics.fmean(self.losses) if self.losses else math.nan
        note(
            f"pretrain: the loss of step {self.updates + 1} is {loss:.3f}, that of the last {len(self.losses)} "
            f"{mean:.3f}: back to step {self.back_at}; the rows of {self.updates - self.back_at + 1} steps are skipped"
        )
        self.updater.forget()
        self.spikes.append({"step": self.updates + 1, "loss": loss, "back_to": self.back_at})
        self._restore(self.back)
        self.updates = self.back_at
        self.session.bar.total = self._total()
        return {"spike": True, "spike_loss": loss, "back_to": self.back_at}

    def _tensors(self) -> dict[str, Tensor]:
        return {**self.updater.state(), **(self.average.state() if self.average else {})}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.updater.restore(dict(tensors))
        if self.average is not None:
            self.average.restore(dict(tensors))

    @torch.no_grad()
    def _keep(self) -> None:
        """Copy what a spike goes back to, into memory that is reused."""
        self.back_at = self.updates
        for name, value in self._tensors().items():
            if name in self.back:
                self.back[name].copy_(value)
            else:
                self.back[name] = value.clone()

    def _point(self) -> Point:
        counts = {"done": self.done, "updates": self.updates, "back_at": self.back_at}
        back = {f"{POINT}{name}": value for name, value in self.back.items()}
        return {**self._tensors(), **back}, {**counts, "losses": self.losses, "spikes": self.spikes, **self.kept}


def _average(config: PretrainConfig, updater: Updater, steps: int) -> Average | None:
    kept = config.kept
    if kept.average == "ema":
        return Average(updater, kept.ema_decay)
    if kept.average == "last":
        return LastPoints(
            updater, steps, kept.last_points, max(1, round(kept.last_fraction * steps / kept.last_points))
        )
    return None
