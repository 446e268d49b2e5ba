"""How far an iteration of PPO has come, so that a run can go on from the middle of one.

Answers that are there, the experience made from them and the optimizer steps done on it are kept in resume points;
rows are packed again and come out the same.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steersman.distributed import parallel
from steersman.rl.experience import Experience
from steersman.types import Completion

ANSWERS, EXPERIENCE = "answers", "experience."
TOTALS = ("policy_loss", "value_loss", "clip_fraction", "ratio_error_first")


@dataclass
class Iteration:
    """One iteration so far. `experience` is None until all answers are there."""

    evaluation: dict[str, float]
    """Held-out numbers of the policy that the iteration began with, where it was evaluated."""
    answers: list[list[Completion]] = field(default_factory=list)
    """Answers to the first prompts of the iteration, prompt by prompt."""
    experience: Experience | None = None
    measured: dict[str, float] = field(default_factory=dict)
    """Figures that only the scoring pass can measure."""
    steps: int = 0
    """Optimizer steps done on the experience."""
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0.0))
    """Sums over these steps and this process's rows."""

    moved: dict[str, float] = field(default_factory=dict)
    """How far the steps so far have moved the policy ("policy", nats per answer) and the values ("critic"); of all
    processes."""
    ended: bool = False
    """Whether the policy has moved too far to be moved on in this iteration."""

    def losses(self, critic: bool) -> dict[str, float]:
        """Mean losses over the steps and all processes, and the largest |ratio - 1| before the first step."""
        totals = self._of_all_processes()
        first = totals.pop("ratio_error_first")
        if not critic:
            del totals["value_loss"]
        return {name: total / self.steps for name, total in totals.items()} | {"ratio_error_first": first}

    def to_point(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, state) from which `from_point` rebuilds an equal iteration. Answers are JSON bytes, floats exact.

        Several processes call it together.
        """
        text = json.dumps([[dataclasses.asdict(c) for c in group] for group in self.answers])
        tensors = {ANSWERS: torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}
        if self.experience is not None:
            tensors |= {f"{EXPERIENCE}{name}": value for name, value in vars(self.experience).items()}
        plain = ("evaluation", "measured", "steps", "moved", "ended")
        return tensors, {name: getattr(self, name) for name in plain} | {"totals": self._of_all_processes()}

    def _of_all_processes(self) -> dict[str, float]:
        """The totals of all processes: sums, but for the largest error its maximum."""
        error = parallel.merge(torch.tensor(self.totals["ratio_error_first"], dtype=torch.float64))
        sums = dict(zip(self.totals, parallel.add(*self.totals.values()), strict=True))
        return sums | {"ratio_error_first": float(error)}

    @staticmethod
    def from_point(tensors: dict[str, Tensor], state: dict[str, Any]) -> Iteration:
        kept = {n: parallel.whole(t) for n, t in tensors.items() if n == ANSWERS or n.startswith(EXPERIENCE)}
        answers = [[_completion(c) for c in group] for group in json.loads(bytes(kept.pop(ANSWERS).numpy()))]
        made = {n.removeprefix(EXPERIENCE): t for n, t in kept.items()}
        iteration = Iteration(answers=answers, experience=Experience(**made) if made else None, **state)
        if not parallel.is_first():  # the first process has the sums of all
            iteration.totals = dict.fromkeys(TOTALS, 0.0)
        return iteration


def _completion(value: dict[str, Any]) -> Completion:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return Completion(**fields)
