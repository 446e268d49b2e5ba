"""Describes a data set in numbers: turns, lengths, languages, flags, sources, personal data."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.data.clean import words_of
from steersman.data.cleaning.quality import answers_of, asked_in
from steersman.data.cleaning.tongues import tongue
from steersman.data.dataset import DatasetInfo, stream_records
from steersman.messages import Conversation

LOOKED_AT = 2000
"""Number of records, spread evenly over the set, that are searched for languages and personal data."""
AT = (0, 5, 25, 50, 75, 95, 100)
"""Percentiles of lengths."""


@dataclass(frozen=True)
class Description:
    """Counts of a data set. `languages` and `personal` count only the `looked` records that were searched."""

    records: int
    characters: int
    turns: Mapping[int, int]
    """Number of turns -> dialogues that have so many."""
    answers: tuple[int, ...]
    """Characters of answers at the percentiles `AT`."""
    questions: tuple[int, ...]
    bins: tuple[tuple[int, int], ...]
    """Histogram of answers' lengths: (least number of characters, a power of two; number of answers)."""
    looked: int
    languages: Mapping[str, int]
    personal: Mapping[str, int]
    flags: Mapping[str, int]
    sources: Mapping[str, int]
    """How records were made, by their `meta` -> number of records."""

    def to_json(self) -> dict[str, Any]:
        out = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return out | {"turns": {str(k): v for k, v in sorted(self.turns.items())}, "percentiles": list(AT)}


def describe(info: DatasetInfo, tick: Callable[[int], None]) -> Description:
    """Read the whole set once; `tick` is called with the number of records read so far."""
    from steersman.data.pii.masking import mask  # lists of names take a second

    every = max(1, info.count // LOOKED_AT)
    answers, questions = array("q"), array("q")
    turns: Counter[int] = Counter()
    languages: Counter[str] = Counter()
    personal: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    records = characters = looked = 0
    for records, record in enumerate(stream_records(info.path), 1):
        tick(records)
        words = words_of(record)
        characters += len(words)
        answers.extend(map(len, answers_of(record)))
        if asked := asked_in(record):
            questions.append(len(asked))
        if isinstance(record, Conversation):
            turns[sum(m.role in ("user", "assistant") for m in record.messages)] += 1
            flags.update(record.meta.get("flags", ()))
            made = record.meta.get("made", record.meta.get("source"))
            sources[str(made.get("how", "made") if isinstance(made, Mapping) else made or "as imported")] += 1
        if records % every == 0:
            looked += 1
            languages[tongue(words)] += 1
            personal.update(mask(record).counts)
    return Description(
        records,
        characters,
        turns,
        _percentiles(answers),
        _percentiles(questions),
        _bins(answers),
        looked,
        dict(languages.most_common()),
        dict(personal.most_common()),
        dict(flags.most_common()),
        dict(sources.most_common()),
    )


def _percentiles(lengths: array[int]) -> tuple[int, ...]:
    return tuple(int(x) for x in np.percentile(np.frombuffer(lengths, np.int64), AT)) if lengths else ()


def _bins(lengths: array[int]) -> tuple[tuple[int, int], ...]:
    if not lengths:
        return ()
    powers = np.log2(np.maximum(np.frombuffer(lengths, np.int64), 1)).astype(int)
    return tuple((2**i, int((powers == i).sum())) for i in range(int(powers.min()), int(powers.max()) + 1))
