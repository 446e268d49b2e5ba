"""Tasks beside the test prompts: each asks prompts of its own and scores the answers by itself (`eval.tasks`).

`Task` is the seam; users' functions and `sums` below stand behind it. Results are in the verdict and the report: the
mean of each model with its interval, and each model against the one that it is compared with first, paired by prompt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from steersman.eval.maker import Maker
from steersman.plugin_calls import task_of
from steersman.stats import Interval, bootstrap_mean, paired_bootstrap
from steersman.types import Conversation, Message


class Task(Protocol):
    """A task: its prompts, and the scoring of an answer."""

    @property
    def name(self) -> str: ...

    @property
    def prompts(self) -> Sequence[Conversation]: ...

    def score(self, number: int, answer: str) -> float:
        """Score of an answer to prompt `number`. Raises ValueError that names task and example."""
        ...


@dataclass(frozen=True)
class TaskPair:
    """Is `a` better at the task than `b`? The difference is a minus b, per prompt."""

    a: str
    b: str
    difference: Interval
    word: str


@dataclass(frozen=True)
class TaskResult:
    """Each model's result on a task."""

    name: str
    n: int
    models: Mapping[str, Interval]
    """Mean score of each model, by its label."""
    pairs: tuple[TaskPair, ...]


def tasks_of(names: Sequence[str]) -> list[Task]:
    """The tasks that `eval.tasks` names. Raises ValueError where a task is missing or has no prompts."""
    return [task_of(name, BUILT_IN) for name in names]


def sums() -> tuple[list[Conversation], Callable[[Conversation, str], float]]:
    """Sums of two numbers, asked in English and Chinese: whether training has cost the model its arithmetic.

    1 where the last number of the answer is the sum, else 0.
    """
    rng = random.Random(0)
    prompts = []
    for i in range(40):
        a, b = rng.randrange(2, 50), rng.randrange(2, 50)
        text = f"What is {a} + {b}?" if i % 2 == 0 else f"{a} 加 {b} 等于多少？"
        prompts.append(Conversation(f"sums-{i}", (Message("user", text),), {"sum": a + b}))

    def score(prompt: Conversation, answer: str) -> float:
        numbers = re.findall(r"\d+", answer)
        return float(bool(numbers) and numbers[-1] == str(prompt.meta["sum"]))

    return prompts, score


BUILT_IN: dict[str, Callable[..., Any]] = {"sums": sums}


@dataclass(frozen=True)
class TaskScores:
    """Measurements of one task: the score of every answer, by the model's name."""

    name: str
    ids: Sequence[str]
    scores: Mapping[str, Sequence[float]]


def summed_up(
    measured: TaskScores, labels: Mapping[str, str], makers: Mapping[str, Maker], resamples: int, seed: int
) -> TaskResult:
    """Means with intervals, and every model against each model that its maker names."""
    from steersman.eval.verdict import MIN_PROMPTS

    groups = list(measured.ids) if len(set(measured.ids)) < len(measured.ids) else None
    scores, n = measured.scores, len(measured.ids)
    pairs = []
    for a in scores:
        for b in [b for b in makers[a].against if b in scores]:
            difference = paired_bootstrap(scores[a], scores[b], groups, resamples, seed, expanded=True)
            word = "better" if difference.low > 0 else "worse" if difference.high < 0 else "no evidence"
            pairs.append(TaskPair(labels[a], labels[b], difference, word if n >= MIN_PROMPTS else "no evidence"))
    means = {labels[name]: bootstrap_mean(values, groups, resamples, seed) for name, values in scores.items()}
    return TaskResult(measured.name, n, means, tuple(pairs))
