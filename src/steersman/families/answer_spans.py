"""From logits of ends to an answer: the likeliest span of a passage's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steersman.text.marked import Window

LIKELIEST = 20
"""Starts and ends that are combined."""


@dataclass(frozen=True)
class Span:
    """A part of the passage; no text where the model says that there is no answer."""

    text: str
    start: int
    score: float
    """Sum of the two logits, less those of no answer."""


def best_span(parts: Sequence[tuple[Window, Any, Any]], passage: str, most: int, may_lack: bool) -> Span:
    """`parts`: windows with logits [L] of starts and ends; `most`: tokens of an answer. With `may_lack`
    the first token, where it is likelier than every span of every window, means that there is none."""
    best, lacking = Span("", 0, -torch.inf), torch.inf
    for window, start, end in parts:
        none = float(start[0] + end[0])
        lacking = min(lacking, none)
        inside = torch.tensor([place is not None for place in window.places])
        if not bool(inside.any()):
            continue
        begin, stop = (x[: len(inside)].masked_fill(~inside, -torch.inf) for x in (start, end))
        count = min(LIKELIEST, int(inside.sum()))
        firsts, lasts = begin.topk(count).indices.tolist(), stop.topk(count).indices.tolist()
        for i in firsts:
            for j in lasts:
                score = float(begin[i] + stop[j])
                if i <= j < i + most and score > best.score:
                    first, last = window.places[i], window.places[j]
                    assert first is not None
                    assert last is not None
                    best = Span(passage[first[0] : last[1]], first[0], score)
    if may_lack and lacking > best.score:
        return Span("", 0, best.score - lacking)
    return Span(best.text, best.start, best.score - lacking)
