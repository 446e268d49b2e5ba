"""Questions of a task that share a line or a sentence of their text: one of them in a test would show what was learned.

What comes in many questions is a task's wording (an instruction, a usual option), and joins nothing.
Why so: decision 110 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from steersman.data.contamination import units
from steersman.data.near import Clusters
from steersman.data.task_records import Counts, Question

LEAST = 10
"""Words (Chinese: characters) of a line that two texts hardly share by chance."""
MOST = (20, 8, 3)
"""Questions that a line may come in, more being wording: the first that leaves no group larger than LARGEST."""
LARGEST = 0.2
"""Share of the questions that one group may have: of a larger one nothing can be held out."""
PIECE = re.compile(r"[^\n。！？!?]+[。！？!?]?")
ALL_SHARE = (
    "questions that share a line with others, too many of them to hold a group out: tests may show what was learned"
)
SHARED = "questions that share a line with others: kept in one split with them"


def together(found: Sequence[Question], counts: Counts) -> list[str]:
    """The key by which each question is split: its own, or that of the first of those whose text it shares."""
    at: dict[int, list[int]] = {}
    for i, question in enumerate(found):
        for piece in set(_pieces(question)):
            at.setdefault(piece, []).append(i)
    first = {key: i for i, key in reversed([*enumerate(question.key for question in found)])}
    own = [first[question.key] for question in found]
    names, sizes = own, dict[int, int]()
    for most in MOST:
        clusters = Clusters(len(found))
        clusters.join((a, b) for a, b in enumerate(own) if a != b)
        for places in at.values():
            if len(places) > 1 and len({own[i] for i in places}) <= most:
                clusters.join((places[0], i) for i in places[1:])
        names = clusters.names().tolist()
        sizes = {}
        for name in names:
            sizes[name] = sizes.get(name, 0) + 1
        if max(sizes.values(), default=0) <= max(LARGEST * len(found), MOST[0]):
            break
    else:
        counts.changed[ALL_SHARE] += sum(size for size in sizes.values() if size > 1)
        names = own
    keys: dict[int, set[str]] = {}
    for name, question in zip(names, found, strict=True):
        keys.setdefault(name, set()).add(question.key)
    if moved := sum(len(keys[name]) > 1 for name in names):
        counts.changed[SHARED] += moved
    return [min(keys[name]) for name in names]


def _pieces(question: Question) -> Iterator[int]:
    """Hashes of the longer lines and sentences of what is asked; not of answers and options."""
    said = {*question.answers, *question.choices}
    for text in question.values.values():
        for piece in PIECE.findall(text) if text not in said else ():
            words = units(piece)
            if len(words) >= LEAST and piece.strip() not in said:
                yield hash(words)
