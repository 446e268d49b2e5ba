"""A reward model's head as the best linear one over the SFT model's states: solved, not descended to.

states [N, d] of all answers' last tokens, divided by their deviations -> minimise, over weights [d],
mean over prompts of kwise_loss + price * |weights|^2 -> the price by cross-validation over prompts

Few rankings bear few parameters: the features are those of SFT, and ridge holds what noise would fit. Training the
layers may follow, and then begins with a head that says something (Kumar et al. 2022).

Why so: decision 91 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute.packing import Tree, build_row, fill_rows, to_device
from steersman.distributed import parallel
from steersman.families.outputs import branch_features
from steersman.progress import activity
from steersman.train.order import shuffled
from steersman.train.per_objective import head_of
from steersman.train.rankings import NOTHING, FrozenStates, RankedTree

PRICES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Prices of the squared weights that are tried, on features of deviation 1."""
FOLDS = 4


@dataclass(frozen=True)
class Comparisons:
    """What rankings say, as rows of the answers' features: `better` above `worse` by `margin`."""

    better: Tensor
    worse: Tensor
    """-1: a single answer that was labelled, against nothing"""
    sign: Tensor
    """1; -1 for an answer labelled poor"""
    item: Tensor
    """Number of the ranking"""
    margin: Tensor
    weight: Tensor
    """Of a ranking's comparisons together its own weight"""

    def of(self, chosen: Tensor) -> Comparisons:
        """The comparisons for which `chosen` is True."""
        return Comparisons(**{name: value[chosen] for name, value in vars(self).items()})

    def loss(self, scores: Tensor) -> Tensor:
        """Mean over rankings of `kwise_loss`, or of `label_loss`, of the answers' scores [N]."""
        against = torch.where(self.worse < 0, torch.zeros_like(scores[self.better]), scores[self.worse])
        lead = self.sign * (scores[self.better] - against) - self.margin
        return -(self.weight * F.logsigmoid(lead)).sum() / max(1, len(torch.unique(self.item)))


def comparisons(items: Sequence[RankedTree], margin: float) -> Comparisons:
    """All strict pairs and labels of the rankings; answers are numbered through, ranking by ranking."""
    rows: list[tuple[int, int, float, int, float, int]] = []
    first = 0
    for number, item in enumerate(items):
        steps = item.steps if margin else (0,) * len(item.pairs)
        for (winner, loser), step in zip(item.pairs, steps, strict=True):
            rows.append((first + winner, first + loser, margin * step, 1, item.weight / len(item.pairs), number))
        if item.label:
            rows.append((first, -1, 0.0, item.label, item.weight, number))
        first += len(item.tree.branches)
    better, worse, margins, sign, weight, of = zip(*rows, strict=True)
    numbers = (torch.tensor(column) for column in (better, worse, sign, of))
    real = (torch.tensor(column, dtype=torch.float64) for column in (margins, weight))
    return Comparisons(*numbers, *real)


def solved(features: Tensor, told: Comparisons, price: float) -> Tensor:
    """Weights [d] of least loss; features [N, d] float64. The loss is convex, so the start does not matter."""
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = told.loss(features @ weights) + price * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def fitted(features: Tensor, told: Comparisons, order: str) -> tuple[Tensor, float, float | None]:
    """(weights [d], the price of least loss on rankings left out, that loss in nats per pair; None of a lone ranking).

    `order` names how rankings are divided among the folds.
    """
    deviation = features.std(dim=0, unbiased=False).clamp(min=1e-6)
    scaled = features / deviation  # around no mean: a head without a bias scores single answers so
    present = torch.unique(told.item).tolist()
    fold = torch.zeros(max(present) + 1, dtype=torch.int64)
    for place, i in enumerate(shuffled(len(present), order)):
        fold[present[i]] = place % FOLDS
    held = fold[told.item]
    folds = sorted(set(held.tolist()))
    if len(folds) < 2:  # a lone ranking leaves nothing to choose by
        return solved(scaled, told, PRICES[-1]) / deviation, PRICES[-1], None
    losses = {
        price: sum(float(told.of(held == k).loss(scaled @ solved(scaled, told.of(held != k), price))) for k in folds)
        / len(folds)
        for price in PRICES
    }
    best = min(losses, key=losses.__getitem__)
    return solved(scaled, told, best) / deviation, best, losses[best]


@torch.no_grad()
def last_states(model: Any, trees: Sequence[Tree], row_tokens: int, states: FrozenStates = NOTHING) -> Tensor:
    """[N, d] float64 on the CPU: the state that the head reads of every answer, tree by tree."""
    counts, out = [len(tree.branches) for tree in trees], [torch.zeros(0)] * len(trees)
    rows = fill_rows([tree.size for tree in trees], row_tokens)
    with activity("features", len(rows), "row") as shown:
        for done, group in enumerate(rows, 1):
            parallel.halt()
            row = to_device(build_row([trees[i] for i in group]), model.device)
            row = states.beneath(row, [trees[i] for i in group])
            for i, part in zip(
                group, torch.split(branch_features(model, row).cpu(), [counts[i] for i in group]), strict=True
            ):
                out[i] = part
            shown.update(done)
    return torch.cat(out).double()


def solve_heads(
    model: Any, items: Sequence[RankedTree], row_tokens: int, margin: float, order: str, states: FrozenStates = NOTHING
) -> dict[str, Any]:
    """Set the weights of every head from the rankings of its objective; returns price and loss of each.

    Raises ValueError with several processes, each of which has a part of the model.
    """
    if parallel.size() > 1:
        raise ValueError("reward.head_init = 'solved' is computed by one process: expected --processes 1, or 'random'")
    report: dict[str, Any] = {}
    for head in range(model.score.out_features):
        mine = [item for item in items if head_of(item, model.config) == head]
        features = last_states(model, [item.tree for item in mine], row_tokens, states)
        weights, price, loss = fitted(features, comparisons(mine, margin), order)
        with torch.no_grad():
            model.score.weight[head] = weights.to(model.score.weight)
        name = mine[0].objective if model.score.out_features > 1 else ""
        report |= {f"head_price{name and '_' + name}": price, f"head_loss{name and '_' + name}": loss}
    return report
