"""Learning labels of texts and pairs (one, several, or a number) by transformers' sequence classifiers."""

from __future__ import annotations

import re
from collections import Counter
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
from steersman.families.encoded import logits
from steersman.text.marked import Marked, Marks
from steersman.train import label_measures as measures
from steersman.train.label_measures import Measured

PROBLEMS = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
"""Kind of examples -> `problem_type` of transformers' config."""
MOST_WEIGHT = 50.0
"""Of a class beside the commonest: a class of one example must not decide a step."""


@dataclass(frozen=True)
class Item:
    """An example as tokens and as what is learned."""

    marked: Marked
    target: tuple[float, ...]
    """Number of the label; 0 and 1 for each label; or the score."""


class LabelTask:
    """`kind`: single_label, multi_label or regression. `labels` is empty for regression."""

    unit = "example"

    def __init__(self, kind: str, labels: Sequence[str], marks: Marks, config: EncoderConfig) -> None:
        self.kind, self.labels, self.marks, self.config = kind, tuple(labels), marks, config
        self.weights: Tensor | None = None
        self.cut = 0

    def items(self, examples: Sequence[Example], paired: bool) -> list[Item]:
        if not examples:
            return []
        marked = self.marks.texts([e.text for e in examples], [e.second for e in examples] if paired else None)
        self.cut += sum(one.cut for one in marked)
        return [Item(m, self._target(e)) for m, e in zip(marked, examples, strict=True)]

    def _target(self, example: Example) -> tuple[float, ...]:
        if self.kind == "regression":
            assert example.score is not None
            return (example.score,)
        if self.kind == "multi_label":
            return tuple(float(name in example.labels) for name in self.labels)
        return (float(self.labels.index(example.labels[0])),)

    def weigh(self, items: Sequence[Any]) -> None:
        """Set the classes' weights by how rare they are among the items that are learned."""
        how = self.config.head.class_weights
        if how == "none" or self.kind == "regression":
            return
        power = 0.5 if how == "sqrt" else 1.0
        if self.kind == "multi_label":
            there = torch.tensor([item.target for item in items]).sum(0).clamp_min(1)
            self.weights = ((len(items) - there).clamp_min(1) / there).pow(power).clamp(1, MOST_WEIGHT)
            return
        counts = Counter(int(item.target[0]) for item in items)
        most = max(counts.values())
        self.weights = torch.tensor(
            [min((most / counts.get(i, most)) ** power, MOST_WEIGHT) for i in range(len(self.labels))]
        )

    def learn(self, model: Any, items: Sequence[Item], gather: Any) -> float:
        """Gradients of one step, the mean loss over its items; a backward pass and `gather()` for each pass."""
        total, whole = 0.0, self.share(items)
        for group in passes([len(i.marked.ids) for i in items], self.config.rows.row_tokens):
            parallel.halt()
            chosen = [items[i] for i in group]
            loss = self.loss(logits(model, [i.marked for i in chosen]), chosen) / whole
            loss.backward()  # type: ignore[no-untyped-call]
            gather()
            total += float(loss.detach())
        return total

    def share(self, items: Sequence[Item]) -> float:
        """What a sum of losses is divided by: the mean of torch's and transformers' losses."""
        if self.kind == "single_label" and self.weights is not None:
            return float(self.weights[[int(i.target[0]) for i in items]].sum())
        return float(len(items) * (len(self.labels) if self.kind == "multi_label" else 1))

    def loss(self, found: Tensor, items: Sequence[Item]) -> Tensor:
        """Sum over items [B, labels]: cross-entropy, binary cross-entropy, or squared error."""
        target = torch.tensor([i.target for i in items], device=found.device)
        weights = None if self.weights is None else self.weights.to(found.device)
        if self.kind == "regression":
            return F.mse_loss(found, target, reduction="sum")
        if self.kind == "multi_label":
            return F.binary_cross_entropy_with_logits(found, target, pos_weight=weights, reduction="sum")
        smooth = self.config.head.label_smoothing
        return F.cross_entropy(found, target[:, 0].long(), weights, label_smoothing=smooth, reduction="sum")

    @torch.no_grad()
    def outputs(self, model: Any, items: Sequence[Item], tick: Any) -> Tensor:
        """[N, labels] on the CPU, in the items' order."""
        found = torch.empty(len(items), model.config.num_labels)
        done = 0
        for group in passes([len(i.marked.ids) for i in items], self.config.rows.row_tokens):
            parallel.halt()
            found[group] = logits(model, [items[i].marked for i in group]).cpu()
            done += len(group)
            tick(done)
        return found

    def measure(self, model: Any, examples: Sequence[Example], items: Sequence[Item], tick: Any) -> Measured:
        found: Tensor = self.outputs(model, items, tick)
        loss = float(self.loss(found, items)) / self.share(items)
        if self.kind == "regression":
            return measures.of_scores([e.score or 0.0 for e in examples], found[:, 0].tolist(), loss)
        truth = [e.labels for e in examples]
        said: list[tuple[str, ...]]
        if self.kind == "single_label":
            said = [(self.labels[i],) for i in found.argmax(dim=1).tolist()]
        else:
            said = [tuple(self.labels[i] for i, x in enumerate(row) if x > 0) for row in found.tolist()]
        return measures.of_labels(self.kind, truth, said, self.labels, loss)


def labels_of(examples: Sequence[Example]) -> list[str]:
    """Every label, numbers in their order, else by the alphabet."""
    found = {label for e in examples for label in e.labels}
    numbers = all(re.fullmatch(r"-?\d+", label) for label in found)  # ① is a digit to Python, and no number
    return sorted(found, key=lambda x: (int(x), x)) if numbers else sorted(found)
