"""Data sets of `steersman tasks build` -> suites: each answer is scored by the metric of its kind of task.

A closed kind is answered by the likeliest label (`by=logprob`, of whole answers with their end; `norm=characters` per
character), by free generation (`by=generation`), or by generation that can say nothing but a label (`by=constrained`).
Few examples (`shots`) come from the training split beside the file; `cot=1` asks for reasons first.
"""

from __future__ import annotations

import dataclasses
import functools
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.eval.suites.answer_metrics import METRICS, SARI, best
from steersman.eval.suites.questions import Asking, Question, item_of, joint
from steersman.eval.suites.suite import Item, Spec, last
from steersman.types import Conversation

ANSWERS = (
    re.compile(r"(?:答案\s*(?:是|为)?|answer\s*(?:is)?)\s*[:：]", re.I),
    re.compile(r"答案\s*(?:应该是|应为|是|为)|\banswer\s+is\b", re.I),
)
"""What comes before an answer that follows its reasons, the surer first."""


def task_of(prompt: Conversation) -> Mapping[str, Any]:
    """What `tasks build` wrote about a prompt; {} of others."""
    found = prompt.meta.get("task")
    return found if isinstance(found, Mapping) else {}


def asking_of(spec: Spec, shots: Sequence[tuple[int, Mapping[str, Any]]], path: Path) -> Asking:
    """How the prompts are put; `shots`: records to take solved examples from, in an order of no meaning."""
    shots = random.Random(0).sample(shots, len(shots))
    by = spec.one_of("by", ("logprob", "generation", "constrained"))
    return Asking(
        by="logprob" if by == "logprob" else "generation",
        style=spec.one_of("style", ("chat", "text")),
        cot=spec.one_of("cot", ("0", "1")) == "1",
        examples=tuple(_question(value, f"{path}:{line}") for line, value in shots),
        shots=spec.number("shots"),
    )


def examples_of(path: Path) -> Path:
    """Where few-shot examples come from: the training split beside a split of the same set, else the file itself."""
    for split in ("test", "validation"):
        beside = path.with_name(path.name.replace(f"-{split}.jsonl", "-train.jsonl"))
        if beside != path and beside.is_file():
            return beside
    return path


def item(value: Mapping[str, Any], where: str, asking: Asking, constrained: bool) -> Item | str:
    """A record as it is asked, or why it cannot be. ValueError where it is no record of `tasks build`."""
    question = _question(value, where)
    conversation = Conversation.from_json(value, where)
    task = task_of(conversation)
    if task.get("metric") not in (*METRICS, SARI):
        raise ValueError(f"{where}: meta.task: expected a record of a test split of steersman tasks build")
    golds = tuple(task.get("answers") or (question.answer,))
    chosen = bool(question.choices) and (constrained or asking.by == "logprob") and not asking.cot
    if chosen and not set(golds) & set(question.choices):
        return "the right answer is none of the labels that can be chosen"
    made = item_of(question, asking)
    found = {**made.prompt.meta, "task": dict(task)}
    between = joint(str(made.prompt.meta.get("text", "")))
    score = functools.partial(_score, task["metric"], golds, str(task.get("copy", "")), asking.cot)
    return dataclasses.replace(
        made,
        prompt=dataclasses.replace(made.prompt, meta=found),
        score=last(score),
        choices=tuple(dataclasses.replace(choice, ends=True) for choice in made.choices),
        also=tuple(k for k, choice in enumerate(question.choices) if choice in golds),
        expected=golds[0],
        allowed=tuple(f"{between}{c}" for c in question.choices) if constrained and chosen else (),
    )


def _question(value: Mapping[str, Any], where: str) -> Question:
    one = Conversation.from_json(value, where)
    users = [m.text for m in one.messages if m.role == "user"]
    if len(users) != 1 or one.is_prompt:
        raise ValueError(f"{where}: expected one question with its answer, as steersman tasks build writes them")
    task, answer = task_of(one), one.messages[-1].text
    labels = tuple(map(str, task.get("labels", ())))
    gold = labels.index(answer) if answer in labels else -1
    return Question(one.id, users[0], str(task.get("kind", "")), labels, gold, answer, lettered=False)


def _score(metric: str, golds: tuple[str, ...], source: str, cot: bool, answer: str) -> float:
    marks = next((found for of in ANSWERS if (found := list(of.finditer(answer)))), []) if cot else []
    if marks:
        answer = answer[marks[-1].end() :]
    return best(metric, answer, golds, source)
