"""A `Suite` is a task of prompts: what is asked, how answers are scored, and what kind of promise it tests.

An item is answered by generation, turn by turn where it has several, or by choice: the likeliest of its `choices`.
A suite is named on the command line and in `eval.tasks` by a built-in name, a file, or a user's function; options
follow the name after commas: `ceval_val.jsonl.xz,shots=5,examples=ceval_dev.jsonl.xz`.

Why so: decision 66 in docs/LOG.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.types import Conversation

Kind = Literal["task", "safety", "regression"]
Scorer = Callable[[Sequence[str]], float]
"""The answers to an item's turns, in order -> score from 0 to 1."""


APART = "\n\n"
"""What is between the examples of a text to be continued, and ends its answer."""


@dataclass(frozen=True)
class Choice:
    """A text and one of the ways to go on, by whose log-probability the choice is made."""

    context: str
    continuation: str
    ends: bool = False
    """The answer's end counts too (of a text to be continued by a decoder: APART): then no label is likelier for being
    the beginning of another."""


@dataclass(frozen=True)
class Item:
    """One prompt of a suite."""

    id: str
    prompt: Conversation
    score: Scorer
    group: str = ""
    """What results are also shown by: a subject, a kind of question."""
    turns: tuple[str, ...] = ()
    """The user's turns after the first, each asked once the one before is answered."""
    choices: tuple[Choice, ...] = ()
    """Where the likeliest continuation is the answer; empty: the answer is generated."""
    gold: int = -1
    """Which of `choices` is right."""
    also: tuple[int, ...] = ()
    """Other `choices` that are right."""
    expected: str = ""
    """The right answer, for people who read the results."""
    parts: Mapping[str, Scorer] = field(default_factory=dict)
    """Named parts of the score, shown beside it."""
    allowed: tuple[str, ...] = ()
    """A generated answer is one of these; empty: any."""
    compared: bool = False
    """Of a regression suite: a model may fail it, if it is not shown to fail such items more often than the other."""


@dataclass(frozen=True)
class Suite:
    """See the top of this file; also a `Task` of `eval.tasks`."""

    name: str
    items: tuple[Item, ...]
    kind: Kind = "task"
    margin: float = 0.0
    """How much lower a model may score, with confidence, before it counts as worse."""
    by_length: bool = False
    """Choices are compared by log-probability per character: they are texts of different lengths."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What is not asked -> number of records."""
    max_tokens: int = 0
    """Most tokens of an answer; 0: as the evaluation says."""
    stop: tuple[str, ...] = ()
    batch: bool = False
    """Whether each choice's log-probability is compared beside its mean over the questions (`asking.calibrated`)."""

    @property
    def prompts(self) -> Sequence[Conversation]:
        return [item.prompt for item in self.items]

    def score(self, number: int, answer: str) -> float:
        return self.items[number].score([answer])


def last(check: Callable[[str], float]) -> Scorer:
    """The scorer that looks at the last answer alone."""
    return lambda answers: float(check(answers[-1]))


@dataclass(frozen=True)
class Spec:
    """A suite's name and options, as a user wrote them."""

    name: str
    options: Mapping[str, str]

    @staticmethod
    def parse(text: str, known: Mapping[str, str]) -> Spec:
        """`known`: option -> its meaning. ValueError names an option that is none."""
        name, *parts = text.split(",")
        options = {}
        for part in parts:
            key, equals, value = part.partition("=")
            if key not in known or not equals:
                told = "; ".join(f"{k}=... ({v})" for k, v in known.items())
                raise ValueError(f"task '{text}': '{part}': expected {told}")
            options[key] = value
        return Spec(name, options)

    def number(self, key: str, default: int = 0) -> int:
        value = self.options.get(key, "")
        if value and not value.isdecimal():
            raise ValueError(f"task '{self.name}': {key}={value}: expected a whole number")
        return int(value) if value else default

    def one_of(self, key: str, values: Sequence[str]) -> str:
        value = self.options.get(key, values[0])
        if value not in values:
            raise ValueError(f"task '{self.name}': {key}={value}: expected one of {', '.join(values)}")
        return value


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items (0: all), evenly over the whole: files are sorted by subject."""
    if not most or most >= len(items):
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def different_ids(items: Sequence[Item]) -> tuple[Item, ...]:
    """The same items; ids that repeat get a number, since prompts that share an id are resampled together."""
    import dataclasses

    seen: Counter[str] = Counter()
    out = []
    for item in items:
        seen[item.id] += 1
        name = item.id if seen[item.id] == 1 else f"{item.id}#{seen[item.id]}"
        out.append(item if name == item.id else dataclasses.replace(item, id=name))
    return tuple(out)
