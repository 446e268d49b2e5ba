"""Finds test prompts that occur in training data, exactly or nearly.

Exact: a training record says the same, from its beginning to one of its user turns, upper case, punctuation and
white space aside. Near: at least NEAR of the prompt's runs of RUN words (of a Chinese or Japanese text: characters)
stand in one training record, or HALF of them where it has nearly all of the prompt's words: in a short prompt one word
more breaks many runs. A prompt too short to have MIN_RUNS such runs is compared exactly alone: "how do I return it"
says nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from steersman.data.formats import Parsed
from steersman.data.made import origin_key
from steersman.types import Conversation, Feedback, Message, Ranking

RUN, MIN_RUNS, NEAR = 4, 6, 0.7
HALF, NEARLY_ALL = 0.5, 0.85
UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Number of `total` test prompts found in training data, with the ids of a few."""

    total: int
    exact: int = 0
    near: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def found(self) -> bool:
        return self.exact + self.near > 0

    def __str__(self) -> str:
        kinds = [f"{n} {how}" for n, how in ((self.exact, "exactly"), (self.near, "nearly")) if n]
        return (
            f"{self.exact + self.near} of {self.total} test prompts are in the training data ({', '.join(kinds)}; "
            f"such as {', '.join(self.examples)}): what is measured on them is memory, not skill"
        )


def units(text: str) -> tuple[str, ...]:
    """Words in small letters, Chinese and Japanese characters one by one."""
    return tuple(UNIT.findall(text.casefold()))


def _messages(record: Parsed) -> tuple[Message, ...]:
    if isinstance(record, str):
        return ()
    return (record.prompt if isinstance(record, Ranking | Feedback) else record).messages


def _asked(messages: Sequence[Message]) -> str:
    return "\n".join(m.spelled for m in messages if m.role == "user")


def _prefixes(messages: Sequence[Message]) -> Iterable[tuple[str, ...]]:
    """The dialogue up to each user turn, as units."""
    asked: tuple[str, ...] = ()
    for message in messages:
        if message.role == "user":
            asked += units(message.spelled)
            yield asked


def _runs(text: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {text[i : i + RUN] for i in range(len(text) - RUN + 1)}


class Finder:
    """Finds which of `prompts` a record holds; memory grows with the prompts alone."""

    def __init__(self, prompts: Sequence[Conversation]) -> None:
        self.prompts = prompts
        self._asked = [units(_asked(p.messages)) for p in prompts]
        self._exactly: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._index: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        for i, text in enumerate(self._asked):
            self._exactly[text].append(i)
            runs = _runs(text)
            self._sizes.append(len(runs))
            if len(runs) >= MIN_RUNS:
                for run in runs:
                    self._index[run].append(i)

    def exact(self, record: Parsed) -> set[int]:
        origin = origin_key(record)  # a variant of a test prompt gives it away, in whatever words
        of = [units(origin)] if origin is not None else []
        return {i for prefix in (*of, *_prefixes(_messages(record))) for i in self._exactly.get(prefix, ())}

    def near(self, record: Parsed) -> set[int]:
        said = record if isinstance(record, str) else "\n".join(m.spelled for m in _messages(record))
        words = units(said)
        hits = Counter(i for run in _runs(words) for i in self._index.get(run, ()))
        asked, sizes = self._asked, self._sizes
        return {
            i
            for i, n in hits.items()
            if n >= NEAR * sizes[i]
            or (n >= HALF * sizes[i] and (Counter(asked[i]) & Counter(words)).total() >= NEARLY_ALL * len(asked[i]))
        }


def overlap(prompts: Sequence[Conversation], training: Iterable[Parsed]) -> Overlap:
    """Which of `prompts` are in `training`, which is read once; memory grows with the prompts alone."""
    finder = Finder(prompts)
    exact: set[int] = set()
    near: set[int] = set()
    for record in training:
        exact |= finder.exact(record)
        near |= finder.near(record)
    near -= exact
    shown = tuple(prompts[i].id for i in [*sorted(exact), *sorted(near)][:3])
    return Overlap(len(prompts), len(exact), len(near), shown)
