"""Learning vectors of texts that belong together: InfoNCE over the batch (van den Oord et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute.padding import passes
from steersman.config import EncoderConfig
from steersman.data.examples import Example
from steersman.distributed import parallel
from steersman.families.encoded import vectors
from steersman.text.marked import Marked, Marks
from steersman.train import label_measures as measures
from steersman.train.label_measures import Measured


@dataclass(frozen=True)
class Item:
    """A text, the one that belongs to it, and some that do not."""

    text: Marked
    second: Marked
    negatives: tuple[Marked, ...]
    names: tuple[str, ...]
    """Both texts, then the negatives: equal ones are no negatives of each other."""


class VectorTask:
    kind = "embedding"
    labels: tuple[str, ...] = ()
    unit = "pair"

    def __init__(self, marks: Marks, config: EncoderConfig, pooling: str) -> None:
        self.marks, self.config, self.pooling = marks, config, pooling
        self.cut = 0

    def items(self, examples: Sequence[Example], paired: bool) -> list[Item]:
        out = []
        for e in examples:
            negatives = e.negatives[: self.config.head.negatives]
            names = (e.text, e.second, *negatives)
            first, second, *others = self.marks.texts(names)
            self.cut += sum(one.cut for one in (first, second, *others))
            out.append(Item(first, second, tuple(others), names))
        return out

    def weigh(self, items: Sequence[Any]) -> None:
        return

    def learn(self, model: Any, items: Sequence[Item], gather: Any) -> float:
        loss = self.loss(model, items)
        loss.backward()  # type: ignore[no-untyped-call]
        gather()
        return float(loss.detach())

    def loss(self, model: Any, items: Sequence[Item]) -> Tensor:
        """Mean over the items of -log softmax of the text that belongs, among all second texts and negatives."""
        rows = [i.text for i in items] + [i.second for i in items] + [n for i in items for n in i.negatives]
        found = self._vectors(model, rows)
        asked, given = found[: len(items)], found[len(items) :]
        names = [i.names[1] for i in items] + [name for i in items for name in i.names[2:]]
        same = torch.zeros(len(items), len(names), dtype=torch.bool)
        for row, item in enumerate(items):
            for column, name in enumerate(names):
                same[row, column] = column != row and name in item.names[:2]
        scores = (asked @ given.T / self.config.head.temperature).masked_fill(same.to(found.device), -torch.inf)
        return F.cross_entropy(scores, torch.arange(len(items), device=found.device))

    def _vectors(self, model: Any, rows: Sequence[Marked]) -> Tensor:
        order: list[int] = []
        parts = []
        for group in passes([len(row.ids) for row in rows], self.config.rows.row_tokens):
            parallel.halt()
            parts.append(vectors(model, [rows[i] for i in group], self.pooling))
            order += group
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(parts[0].device)]

    @torch.no_grad()
    def measure(self, model: Any, examples: Sequence[Example], items: Sequence[Item], tick: Any) -> Measured:
        """Each text looks for the one that belongs to it among all second texts and negatives of these examples."""
        texts, right = collection(examples)
        queries = self._vectors(model, [i.text for i in items])
        tick(len(items) // 2)
        documents = self._vectors(model, self.marks.texts(texts))
        tick(len(items))
        return measures.of_search(queries.cpu().double().numpy(), documents.cpu().double().numpy(), right)


def collection(examples: Sequence[Example]) -> tuple[list[str], list[set[int]]]:
    """(texts that are searched, for each example the numbers of the right ones)."""
    number: dict[str, int] = {}
    belongs: dict[str, set[int]] = {}
    for e in examples:
        for name in (e.second, *e.negatives):
            number.setdefault(name, len(number))
        belongs.setdefault(e.text, set()).add(number[e.second])
    return list(number), [belongs[e.text] for e in examples]
