"""Tasks beside the test prompts: each asks prompts of its own and scores the answers by itself (`eval.tasks`).

`Task` is the seam; the suites of `eval/suites`, files of test questions, users' functions and `sums` below stand behind
it. Results are in the verdict and the report: the mean of each model with its interval, and each model against the one
that it is compared with first, paired by prompt.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from steersman.eval.maker import Maker
from steersman.eval.suites import closed, forms, instructions, long_dialogues, needle_suite, refusal_suite, repetition
from steersman.eval.suites.suite import Item, Kind, Suite, last
from steersman.plugin_calls import task_of
from steersman.plugins import is_file
from steersman.stats import Groups, Interval, bootstrap_mean, paired_bootstrap, wilson
from steersman.types import Conversation, Message

Held = Literal["yes", "unknown", "no"]


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
    names: tuple[str, str] = ("", "")
    """The models' names, where `a` and `b` are their labels."""
    held: Held = "unknown"
    """Whether `a` is shown to be no worse than `b` by more than the task's margin ("yes"), shown to be worse by more
    ("no"), or neither; of a regression suite "no" too where `a` fails a prompt that none may fail, and "yes" where it
    fails none at all."""


@dataclass(frozen=True)
class TaskResult:
    """Each model's result on a task."""

    name: str
    n: int
    models: Mapping[str, Interval]
    """Mean score of each model, by its label."""
    pairs: tuple[TaskPair, ...]
    kind: Kind = "task"
    margin: float = 0.0
    failed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of a regression suite: model's name -> ids of the prompts that it fails."""
    compared: Sequence[str] = ()
    """Of a regression suite: ids of the prompts that may fail no more often than with the other model."""


def tasks_of(names: Sequence[str], folder: Path | None = None) -> list[Suite]:
    """The tasks that `eval.tasks` names; files are looked for from `folder`. Raises ValueError where a task is missing
    or has no prompts."""
    return [suite_of(name, folder) for name in names]


def suite_of(name: str, folder: Path | None = None) -> Suite:
    """A built-in suite, a file of test questions, or a user's function."""
    if is_file(name):
        return forms.read(name, folder)
    if name in SUITES:
        return SUITES[name]()
    task = task_of(name, BUILT_IN)
    items = [Item(p.id, p, last(functools.partial(task.score, i))) for i, p in enumerate(task.prompts)]
    return Suite(name, tuple(items))


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


SUITES: Mapping[str, Callable[[], Suite]] = {
    "instructions": instructions.suite,
    "refusals": refusal_suite.suite,
    "closed": closed.suite,
    "dialogues": long_dialogues.suite,
    "repetition": repetition.suite,
    "needles": needle_suite.suite,
}
BUILT_IN: dict[str, Callable[..., Any]] = {"sums": sums, **SUITES}


@dataclass(frozen=True)
class TaskScores:
    """Measurements of one task: the score of every answer, by the model's name."""

    name: str
    ids: Sequence[str]
    scores: Mapping[str, Sequence[float]]
    kind: Kind = "task"
    margin: float = 0.0
    compared: Sequence[str] = ()


def summed_up(
    measured: TaskScores, labels: Mapping[str, str], makers: Mapping[str, Maker], resamples: int, seed: int
) -> TaskResult:
    """The models' mean scores with intervals, and the comparisons: each model with those that it is to be compared with
    (`Maker.against`)."""
    groups = list(measured.ids) if len(set(measured.ids)) < len(measured.ids) else None
    scores, n = measured.scores, len(measured.ids)
    failed = {name: [i for i, s in zip(measured.ids, values, strict=True) if s < 1] for name, values in scores.items()}
    failed = failed if measured.kind == "regression" else {}
    pairs = []
    for a in scores:
        for b in [b for b in makers[a].against if b in scores]:
            difference = paired(scores[a], scores[b], groups, resamples, seed)
            held = held_to(difference, measured.margin)
            if failed:
                held = kept_from(failed[a], measured.compared, held)
            word = word_of(difference, len(set(measured.ids)))
            pairs.append(TaskPair(labels[a], labels[b], difference, word, (a, b), held))
    means = {labels[name]: bootstrap_mean(values, groups, resamples, seed) for name, values in scores.items()}
    compared = measured.compared if failed else ()
    return TaskResult(measured.name, n, means, tuple(pairs), measured.kind, measured.margin, failed, compared)


def kept_from(failed: Sequence[str], compared: Sequence[str], held: Held) -> Held:
    """`TaskPair.held` of a regression suite; `held`: of the difference."""
    return "yes" if not failed else "no" if not set(failed) <= set(compared) else held


def paired(
    ours: Sequence[float], theirs: Sequence[float], groups: Groups = None, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of the mean difference of scores from 0 to 1, prompt by prompt.

    Where all differences are equal, resampling would give a width of 0; so many prompts without another difference
    leave room for as many as Wilson's bound of none says.
    """
    differences = [x - y for x, y in zip(ours, theirs, strict=True)]
    if len(differences) > 1 and len(set(differences)) == 1:
        value, room = differences[0], wilson(0, len(set(groups)) if groups is not None else len(differences))[1]
        return Interval(value, max(-1.0, value - room), min(1.0, value + room), len(differences))
    return paired_bootstrap(ours, theirs, groups, resamples, seed, expanded=True)


def word_of(difference: Interval, prompts: int | None = None) -> str:
    """The verdict's word for a difference of scores; `prompts`: how many differ, where some were asked repeatedly."""
    from steersman.eval.verdict import MIN_PROMPTS

    if (difference.n if prompts is None else prompts) < MIN_PROMPTS:
        return "no evidence"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "no evidence"


def held_to(difference: Interval, margin: float) -> Held:
    """See `TaskPair.held`."""
    if difference.high < -margin:
        return "no"
    return "yes" if difference.low >= -margin else "unknown"
