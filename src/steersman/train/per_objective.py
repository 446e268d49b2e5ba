"""Several objectives in one reward model: which head a ranking trains, and how well each head does.

A ranking trains the head of its own objective; the trunk learns from all. Heads learn order, not scale, so before they
are weighted each is divided by its deviation over the held-out answers (of all objectives).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steersman.families.heads import normalised, set_scale, weighted, weights_of
from steersman.train.rankings import RankedTree, pair_report
from steersman.types import OVERALL, Ranking


def check_objectives(rankings: Sequence[Ranking], weights: Mapping[str, float]) -> None:
    """Raises ValueError unless rankings and `reward.objectives` name the same objectives."""
    found = Counter(r.objective or OVERALL for r in rankings)
    if found and found.keys() != (weights or {OVERALL: 1.0}).keys():
        given = ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))
        raise ValueError(
            f"reward.objectives: expected a weight for each objective that rankings name: {given}; got "
            f"{', '.join(weights) or 'none'} (rankings that name none are '{OVERALL}')"
        )


def check_split(items: Sequence[RankedTree], held: Sequence[RankedTree], weights: Mapping[str, float]) -> None:
    """Raises ValueError where an objective has nothing to train on or nothing held out."""
    for name in weights:
        train, test = (sum(tree.objective == name for tree in trees) for trees in (items, held))
        if not train or not test:
            raise ValueError(
                f"objective '{name}': {train} rankings with a strict preference to train on and {test} to hold out; "
                "expected at least one of each: rank more prompts by it"
            )


def head_of(item: RankedTree, config: Any) -> int:
    """The head of a reward model that the ranking trains."""
    return list(weights_of(config)).index(item.objective) if weights_of(config) else 0


def own_scores(scores: Sequence[Tensor], items: Sequence[RankedTree], config: Any) -> list[Tensor]:
    """Scores [K] of each ranking's answers under the ranking's own objective, from scores [K, heads] under all."""
    return [given[:, head_of(item, config)] for given, item in zip(scores, items, strict=True)]


def settle_scale(config: Any, heads: Sequence[Tensor], zero: Sequence[float]) -> None:
    """Set each head's shift and scale from its outputs [K, heads] per prompt, so that heads can be added.

    The shift is `zero` (demonstrations' means) or, where that is empty, the heads' own means. A lone head is not
    scaled: a difference of its scores is the log-odds of a preference.
    """
    flat = torch.cat(list(heads))
    if flat.shape[1] == 1:
        set_scale(config, zero or [0.0], [1.0])
    else:
        set_scale(config, zero or flat.mean(dim=0).tolist(), flat.std(dim=0, unbiased=False).tolist())


def objective_report(config: Any, held: Sequence[RankedTree], heads: Sequence[Tensor], seed: int) -> dict[str, Any]:
    """Per objective: `pair_report` of its head on its held-out rankings, and accuracy of each head and of the sum.

    heads: [K, heads] of each ranking's answers, before shift and scale. `sum` is what PPO will follow.
    """
    out: dict[str, Any] = {}
    names = list(weights_of(config))
    for head, (name, weight) in enumerate(weights_of(config).items()):
        mine = [(item, given) for item, given in zip(held, heads, strict=True) if item.objective == name]
        items, given = [item for item, _ in mine], [scores for _, scores in mine]

        def accuracy(scores: list[Tensor], items: list[RankedTree] = items) -> Any:
            return pair_report(items, scores, seed)["accuracy"]

        out[name] = {
            "weight": weight,
            "mean": round(config.reward_shift[head], 4),
            "deviation": round(config.reward_scale[head], 4),
            **pair_report(items, [scores[:, head] for scores in given], seed),
            "by_head": {other: accuracy([scores[:, k] for scores in given]) for k, other in enumerate(names)},
            "sum": accuracy([weighted(normalised(scores, config), config) for scores in given]),
        }
    return out
