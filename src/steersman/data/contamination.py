"""Finds test prompts that occur in training data, exactly or nearly.

Exact: a training record says the same, from its beginning to one of its user turns, upper case, full width, punctuation
and white space aside. Near: at least NEAR of the prompt's runs of RUN words (of a Chinese or Japanese text: characters)
stand in one training record, or HALF of them where it has nearly all of the prompt's words: in a short prompt one word
more breaks many runs. A prompt too short to have MIN_RUNS such runs is compared exactly alone: "how do I return it"
says nothing.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from steersman.data.formats import Parsed
from steersman.data.made import origin_key
from steersman.text.folding import folded
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
    """Words, `folded`, Chinese and Japanese characters one by one."""
    return tuple(UNIT.findall(folded(text)))


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


def _runs(text: tuple[str, ...]) -> set[int]:
    """Hashes of the runs of a text."""
    return {hash(text[i : i + RUN]) for i in range(len(text) - RUN + 1)}


class Finder:
    """Finds which of `prompts` a record holds; memory grows by some 300 bytes a prompt, whose texts are read where
    they lie."""

    def __init__(self, prompts: Sequence[Conversation]) -> None:
        self.prompts = prompts
        exactly, runs, of, self._sizes = (array("q") for _ in range(4))
        for i in range(len(prompts)):
            text = self._asked(i)
            exactly.append(hash(text))
            found = _runs(text)
            self._sizes.append(len(found))
            if len(found) >= MIN_RUNS:
                runs.extend(found)
                of.extend(itertools.repeat(i, len(found)))
        self._exactly, self._runs = Sorted(exactly, array("q", range(len(exactly)))), Sorted(runs, of)

    def _asked(self, i: int) -> tuple[str, ...]:
        return units(_asked(self.prompts[i].messages))

    def exact(self, record: Parsed) -> set[int]:
        origin = origin_key(record)  # a variant of a test prompt gives it away, in whatever words
        of = [units(origin)] if origin is not None else []
        said = {hash(prefix): prefix for prefix in (*of, *_prefixes(_messages(record)))}
        found = zip(*self._exactly.find(list(said)), strict=True)
        return {i for i, h in found if self._asked(i) == said[h]}

    def near(self, record: Parsed) -> set[int]:
        said = record if isinstance(record, str) else "\n".join(m.spelled for m in _messages(record))
        words, sizes = units(said), self._sizes
        hits = Counter(self._runs.find(list(_runs(words)))[0])
        likely = {i: n for i, n in hits.items() if n >= HALF * sizes[i]}
        return {i for i, n in likely.items() if n >= NEAR * sizes[i] or _has_nearly_all(words, self._asked(i))}


def _has_nearly_all(words: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    return (Counter(asked) & Counter(words)).total() >= NEARLY_ALL * len(asked)


class Sorted:
    """Which prompts have a hash."""

    def __init__(self, hashes: array[int], prompts: array[int]) -> None:
        keys = np.frombuffer(hashes, np.int64) if hashes else np.zeros(0, np.int64)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._prompts = np.frombuffer(prompts, np.int64)[order].astype(np.int32) if prompts else np.zeros(0, np.int32)

    def find(self, hashes: Sequence[int]) -> tuple[list[int], list[int]]:
        """(prompts, the hash that each was found by)."""
        wanted = np.array(hashes, np.int64)
        low, high = (np.searchsorted(self._keys, wanted, side) for side in ("left", "right"))
        places = [i for a, b in zip(low.tolist(), high.tolist(), strict=True) for i in range(a, b)]
        return self._prompts[places].tolist() if places else [], self._keys[places].tolist() if places else []


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
