"""The messages of one conversation that rows hold: in order of time, and parted where nobody spoke for long."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    line: int
    role: str
    text: str
    at: float | None


def by_time(said: list[Said], notes: Counter[str]) -> list[Said]:
    times = [s.at for s in said if s.at is not None]
    if len(times) < len(said) or times == sorted(times):
        return said
    notes["conversations whose messages were put in order of time"] += 1
    return sorted(said, key=lambda s: s.at or 0.0)


def parted(said: list[Said], pause: float) -> Iterator[list[Said]]:
    """The messages without a pause so long."""
    piece: list[Said] = []
    for before, one in itertools.pairwise([None, *said]):
        assert one is not None
        if before is not None and before.at is not None and one.at is not None and one.at - before.at > pause:
            yield piece
            piece = []
        piece.append(one)
    if piece:
        yield piece
