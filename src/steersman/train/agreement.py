"""How often a reward model, whoever trained it, puts answers into the order that a file of rankings says.

rankings -> those that fit the model's context -> one tree per prompt, as in training -> scores -> accuracy beside
length, calibration, and the same by label. An ensemble's score is the mean of its members'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.config import ModelConfig
from steersman.families.heads import weighted, weights_of
from steersman.families.outputs import context_of
from steersman.progress import note as say
from steersman.text.length import fit_rankings
from steersman.train.ensemble import member_folders
from steersman.train.rankings import RankedTree, pair_report, to_ranked_tree
from steersman.train.reward import score_trees
from steersman.types import Ranking
from steersman.weights.checks import stored_tensors
from steersman.weights.folders import (
    check_folder,
    load_scalar,
    load_template,
    pick_device,
    read_config,
    use_packed_rows,
)

ROW_TOKENS = 2048
MOST_VALUES = 100
"""A label with more values than these names records, not groups of them."""


@dataclass(frozen=True)
class Agreement:
    """`report`: figures over all pairs, as `pair_report` makes them; `by`: label -> value -> the same."""

    report: Mapping[str, Any]
    by: Mapping[str, Mapping[str, Mapping[str, Any]]]
    left_out: Mapping[str, int]
    notes: Mapping[str, int]
    """Facts that are no fault, such as ties -> number"""
    ungrouped: Mapping[str, int]
    """Label with too many values to group by -> their number"""


def agreement(
    folder: Path,
    rankings: Sequence[Ranking],
    labels: Sequence[Mapping[str, str]],
    config: ModelConfig,
    *,
    long: str = "skip",
    seed: int = 0,
) -> Agreement:
    """Score `rankings` by the reward model in `folder`. ValueError where it is none, or nothing can be compared."""
    check_folder(folder)
    template = load_template(folder, config)
    fitted = fit_rankings(template, rankings, context_of(read_config(folder, config.trust_remote_code)), long)
    ranked = [(r, label) for r, label in _with_labels(fitted.records, rankings, labels) if r.pairs()]
    if not ranked:
        raise ValueError(f"{len(rankings)} rankings, none of which prefers an answer to another; expected at least one")
    items = [to_ranked_tree(template, r, 1 << 62) for r, _ in ranked]
    scores = scored(folder, items, config)
    margins = [float(s[w] - s[l]) for s, item in zip(scores, items, strict=True) for w, l in item.pairs]
    by, ungrouped = _by_label([label for _, label in ranked], items, scores, seed)
    every = sum(len(r.answers) * (len(r.answers) - 1) // 2 for r, _ in ranked)
    notes = {
        "pairs of answers that people call equal": every - len(margins),
        "pairs of answers that the reward model scores equal (a half each)": margins.count(0.0),
        "prompts cut at their beginning": fitted.cut,
    }
    left = {
        "longer than the model's context": fitted.skipped,
        "all answers equal": len(fitted.records) - len(ranked),
    }
    left, notes = ({why: n for why, n in counts.items() if n} for counts in (left, notes))
    return Agreement(pair_report(items, scores, seed), by, left, notes, ungrouped)


def _with_labels(
    kept: Sequence[Ranking], rankings: Sequence[Ranking], labels: Sequence[Mapping[str, str]]
) -> list[tuple[Ranking, Mapping[str, str]]]:
    """Each of `kept`, some of `rankings` in their order (prompts may be cut), with its label."""
    at, out = 0, []
    for ranking in kept:
        while (rankings[at].id, rankings[at].answers) != (ranking.id, ranking.answers):
            at += 1
        out.append((ranking, labels[at]))
        at += 1
    return out


def scored(folder: Path, items: Sequence[RankedTree], config: ModelConfig) -> list[Tensor]:
    """Scores [K] of each ranking's answers: under the ranking's own objective where the model has a head for it, else
    the heads' weighted sum. ValueError where the folder is no reward model.
    """
    folders = (folder, *member_folders(folder))
    of_members = scored_by_each(folders, items, config)
    if len(of_members) > 1:
        say(f"{folder}: the mean of {len(of_members)} members")
    return [torch.stack(parts).mean(dim=0) for parts in zip(*of_members, strict=True)]


def scored_by_each(folders: Sequence[Path], items: Sequence[RankedTree], config: ModelConfig) -> list[list[Tensor]]:
    """The same for each reward model by itself."""
    of_members = []
    for path in folders:
        if not any(name.endswith("score.weight") for name in stored_tensors(path)):
            raise ValueError(
                f"{path}: not a reward model (it has no scalar head); expected what `steersman reward` makes"
            )
        model = load_scalar(path, config.dtype, config.trust_remote_code)
        model = use_packed_rows(model).to(pick_device(config.device))
        heads = score_trees(model, [item.tree for item in items], ROW_TOKENS)
        of_members.append([_score(given, item, model.config) for given, item in zip(heads, items, strict=True)])
    return of_members


def _score(heads: Tensor, item: RankedTree, config: Any) -> Tensor:
    names = list(weights_of(config))
    return heads[:, names.index(item.objective)] if item.objective in names else weighted(heads, config)


def _by_label(
    labels: Sequence[Mapping[str, str]], items: Sequence[RankedTree], scores: Sequence[Tensor], seed: int
) -> tuple[dict[str, dict[str, Mapping[str, Any]]], dict[str, int]]:
    """Label -> value -> figures, the most frequent first; a label with one value, or with too many, groups nothing."""
    out: dict[str, dict[str, Mapping[str, Any]]] = {}
    ungrouped: dict[str, int] = {}
    for name in dict.fromkeys(name for label in labels for name in label):
        counts = Counter(label.get(name, "") for label in labels)
        if len(counts) > MOST_VALUES:
            ungrouped[name] = len(counts)
        elif len(counts) > 1:
            out[name] = {}
            for value, _ in counts.most_common():
                at = [i for i, label in enumerate(labels) if label.get(name, "") == value]
                report = pair_report([items[i] for i in at], [scores[i] for i in at], seed)
                out[name][value] = {key: report[key] for key in report if key != "calibration"}
    return out, ungrouped
