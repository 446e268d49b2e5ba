"""Learning where in a passage a question's answer stands, by transformers' question-answering classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from steersman.compute.padding import passes
from steersman.config import EncoderConfig
from steersman.data.examples import Example
from steersman.distributed import parallel
from steersman.families.answer_spans import Span, best_span
from steersman.families.encoded import ends
from steersman.text.marked import Marks, Window
from steersman.train import label_measures as measures
from steersman.train.label_measures import Measured


@dataclass(frozen=True)
class Item:
    """The windows of one question's passage, and in each the first and last token of an answer, (0, 0) without one."""

    windows: tuple[Window, ...]
    targets: tuple[tuple[int, int], ...]
    answered: bool = True
    """Whether the question has an answer."""

    @property
    def parted(self) -> bool:
        """Whether its answer stands whole in no window."""
        return self.answered and all(target == (0, 0) for target in self.targets)


class SpanTask:
    kind = "span"
    labels: tuple[str, ...] = ()
    unit = "question"

    def __init__(self, marks: Marks, config: EncoderConfig) -> None:
        self.marks, self.config = marks, config
        self.cut = 0
        self.unanswered = False
        """Whether some questions have no answer, so that a model may say so."""

    def items(self, examples: Sequence[Example], paired: bool) -> list[Item]:
        out = []
        for e in examples:
            windows = self.marks.windows(e.text, e.second, self.config.rows.stride)
            targets = tuple(_target(w, e.answers[:1]) for w in windows)
            out.append(Item(tuple(windows), targets, bool(e.answers)))
            self.cut += len(windows) > 1
        return out

    def weigh(self, items: Sequence[Any]) -> None:
        self.unanswered = any(not item.answered for item in items)

    def learnable(self, items: Sequence[Any]) -> tuple[list[Any], list[str]]:
        """Those that teach no wrong end, and what is said of answers that are out of reach."""
        whole, said, most = [item for item in items if not item.parted], [], self.config.head.answer_tokens
        if lost := len(items) - len(whole):
            said.append(
                f"{lost} of {len(items)} answers stand whole in no window and are not learned; a larger "
                f"encoder.rows.stride (now {self.config.rows.stride}) keeps more of them whole"
            )
        if not whole:
            raise ValueError("span: no answer stands whole in a window; expected a larger encoder.rows.stride")
        if long := sum(max(end - start + 1 for start, end in item.targets) > most for item in whole):
            said.append(f"{long} of {len(items)} answers have more than encoder.head.answer_tokens = {most} tokens")
        return whole, said

    def learn(self, model: Any, items: Sequence[Item], gather: Any) -> float:
        every = [(w, t) for item in items for w, t in zip(item.windows, item.targets, strict=True)]
        total = 0.0
        for group in passes([len(w.marked.ids) for w, _ in every], self.config.rows.row_tokens):
            parallel.halt()
            loss = self._loss(model, [every[i] for i in group]) / len(every)
            loss.backward()
            gather()
            total += float(loss.detach())
        return total

    def _loss(self, model: Any, chosen: Sequence[tuple[Window, tuple[int, int]]]) -> Any:
        start, end = ends(model, [w.marked for w, _ in chosen])
        targets = torch.tensor([t for _, t in chosen], device=start.device)
        first = F.cross_entropy(start, targets[:, 0], reduction="sum")
        return (first + F.cross_entropy(end, targets[:, 1], reduction="sum")) / 2

    @torch.no_grad()
    def outputs(self, model: Any, examples: Sequence[Example], items: Sequence[Item], tick: Any) -> list[Span]:
        every = [(number, w) for number, item in enumerate(items) for w in item.windows]
        found: list[list[tuple[Window, Any, Any]]] = [[] for _ in items]
        done = 0
        for group in passes([len(w.marked.ids) for _, w in every], self.config.rows.row_tokens):
            parallel.halt()
            start, end = ends(model, [every[i][1].marked for i in group])
            for row, i in enumerate(group):
                found[every[i][0]].append((every[i][1], start[row].cpu(), end[row].cpu()))
            done += len(group)
            tick(done * len(items) // len(every))
        most = self.config.head.answer_tokens
        return [best_span(parts, e.second, most, self.unanswered) for parts, e in zip(found, examples, strict=True)]

    def measure(self, model: Any, examples: Sequence[Example], items: Sequence[Item], tick: Any) -> Measured:
        said = [span.text for span in self.outputs(model, examples, items, tick)]
        return measures.of_spans([[text for _, text in e.answers] for e in examples], said)


def _target(window: Window, answers: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """The first and last token of the answer; (0, 0) where the window does not hold all of it."""
    for at, text in answers:
        until = at + len(text)
        tokens = [i for i, place in enumerate(window.places) if place and place[0] < until and place[1] > at]
        if tokens and _covers(window, tokens, at, until):
            return tokens[0], tokens[-1]
    return 0, 0


def _covers(window: Window, tokens: Sequence[int], at: int, until: int) -> bool:
    first, last = window.places[tokens[0]], window.places[tokens[-1]]
    assert first is not None
    assert last is not None
    inside = [place for place in window.places if place]
    # spaces have no tokens, so an answer may begin before its first token's first character
    return (first[0] <= at or first != inside[0]) and (last[1] >= until or last != inside[-1])
