"""Rankings as training data, for whatever learns from them: the reward model, DPO, KTO.

rankings -> held out by prompt -> one tree per prompt with a branch per answer; and how often scores of the answers
agree with held-out rankings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from steersman import stats
from steersman.compute.packing import Below, Row, Tree, build_row, fill_rows, to_device
from steersman.distributed import parallel
from steersman.families.outputs import share_trunk
from steersman.progress import activity
from steersman.progress import note as say
from steersman.text.template import Template
from steersman.train.memory import CACHE_BYTES
from steersman.train.order import shuffled
from steersman.types import OVERALL, Ranking


@dataclass(frozen=True)
class RankedTree:
    """A ranking as tokens: a tree with a branch per answer, the strict pairs, and what the length baseline needs."""

    tree: Tree
    pairs: tuple[tuple[int, int], ...]
    characters: tuple[int, ...]
    steps: tuple[int, ...] = ()
    """For each pair, by how many grades the winner is above the loser."""
    objective: str = OVERALL
    weight: float = 1.0
    """Of the ranking's loss, by its labeler's reliability."""
    label: int = 0
    """Of a single answer without pairs: 1 good, -1 poor."""


def to_ranked_tree(template: Template, ranking: Ranking, context: int) -> RankedTree:
    """A ranking that fits into the model's context (`text.length.fit_rankings`)."""
    trunk = template.prompt_ids(ranking.prompt)
    branches = tuple(template.answer_ids(a) for a in ranking.answers)
    assert len(trunk) + max(map(len, branches)) <= context, f"ranking '{ranking.id}' is longer than {context} tokens"
    return RankedTree(
        Tree(trunk, branches),
        ranking.pairs(),
        tuple(map(len, ranking.answers)),
        ranking.grade_steps(),
        ranking.objective or OVERALL,
        ranking.weight,
        label_of(ranking),
    )


def label_of(ranking: Ranking) -> int:
    """1 or -1 for a single answer that was called good or poor, else 0."""
    if len(ranking.answers) > 1 or ranking.grades is None:
        return 0
    return {"good": 1, "average": 0, "poor": -1}[ranking.grades[0]]


def to_ranked_trees(template: Template, rankings: Sequence[Ranking], context: int) -> tuple[list[RankedTree], int]:
    """Rankings with at least one strict pair, and how many had none."""
    out = [to_ranked_tree(template, r, context) for r in rankings if r.pairs()]
    return out, len(rankings) - len(out)


def apart(rankings: Sequence[Ranking], held: Sequence[Ranking]) -> list[Ranking]:
    """The rankings of prompts of which none is held out."""
    keys = {_prompt_key(r) for r in held}
    return [r for r in rankings if _prompt_key(r) not in keys]


def split_holdout(rankings: Sequence[Ranking], fraction: float, seed: int) -> tuple[list[Ranking], list[Ranking]]:
    """(training, held out) by prompt: rankings of one prompt never straddle. The same for every stage of a seed.

    Without those of labelers who are not believed (weight 0), of whom a note is made. Single answers with a label test
    nothing, so that none is held out: they come last in training, without those to prompts that are held out.
    """
    labelled, rankings = [r for r in rankings if label_of(r)], [r for r in rankings if not label_of(r)]
    keys = sorted({_prompt_key(r) for r in rankings})
    if left := sum(r.weight == 0 for r in (*rankings, *labelled)):
        every = len(rankings) + len(labelled)
        say(f"note: {left} of {every} rankings are of labelers with weight 0 and left out: rank --agreement")
        rankings, labelled = ([r for r in some if r.weight > 0] for some in (rankings, labelled))
    held = {keys[i] for i in shuffled(len(keys), f"{seed}/reward/holdout")[: round(len(keys) * fraction)]}
    held_out = [r for r in rankings if _prompt_key(r) in held]
    return [r for r in rankings if _prompt_key(r) not in held] + apart(labelled, held_out), held_out


def _prompt_key(ranking: Ranking) -> str:
    return "\x00".join(f"{m.role}\x01{m.spelled}" for m in ranking.prompt.messages)


@dataclass(frozen=True)
class FrozenStates:
    """Hidden states behind the frozen layers, by tree: computed once for all epochs and models, or empty."""

    kept: Mapping[Tree, Below] = field(default_factory=dict)

    def beneath(self, row: Row, trees: Sequence[Tree]) -> Row:
        """The row of these trees, with their kept states as `below`; as it is where those of one are not kept."""
        if not all(tree in self.kept for tree in trees):
            return row
        states = torch.cat([self.kept[tree].states for tree in trees])
        return replace(row, below=Below(F.pad(states, (0, 0, 0, row.padding)), self.kept[trees[0]].layers))


NOTHING = FrozenStates()


@torch.no_grad()
def frozen_states(model: Any, trees: Sequence[Tree], frozen: int, row_tokens: int) -> FrozenStates:
    """States of the trees behind the `frozen` lowest layers; empty without any, or where they would be too large.

    Empty with several processes too: each may get other trees in every epoch.
    """
    if parallel.size() > 1:
        return NOTHING
    trunk = share_trunk([model], frozen)
    if trunk is None or sum(t.size for t in trees) * model.config.hidden_size * model.dtype.itemsize > CACHE_BYTES:
        return NOTHING
    kept: dict[Tree, Below] = {}
    groups = fill_rows([t.size for t in trees], row_tokens)
    with activity("frozen layers", len(groups), "row") as shown:
        for done, group in enumerate(groups, 1):
            row = trunk(to_device(build_row([trees[i] for i in group]), model.device))
            assert row.below is not None
            pieces = torch.split(row.below.states, [*(trees[i].size for i in group), row.padding])
            kept |= {trees[i]: Below(piece, row.below.layers) for i, piece in zip(group, pieces, strict=False)}
            shown.update(done)
    return FrozenStates(kept)


def in_order(scores: Tensor, pairs: Sequence[tuple[int, int]]) -> float:
    """Pairs (winner, loser) whose winner scores higher; equal scores count half, as in `pair_report`."""
    return sum(0.5 + 0.5 * float(torch.sign(scores[winner] - scores[loser])) for winner, loser in pairs)


def pair_report(held: Sequence[RankedTree], scores: Sequence[Tensor], seed: int) -> dict[str, Any]:
    """How often scores [K] of each ranking's answers order its pairs as people did.

    Accuracy with a 95 % interval clustered by prompt, beside 'the longer answer wins', and calibration of
    sigmoid(score difference), which Bradley and Terry take for the probability of a preference.
    """
    correct, longer, margins, groups = [], [], [], []
    prompts: dict[tuple[int, ...], int] = {}
    for item, given in zip(held, scores, strict=True):
        number = prompts.setdefault(item.tree.trunk, len(prompts))
        values = given.tolist()
        for winner, loser in item.pairs:
            margin = values[winner] - values[loser]
            correct.append(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0)
            extra = item.characters[winner] - item.characters[loser]
            longer.append(1.0 if extra > 0 else 0.5 if extra == 0 else 0.0)
            margins.append(margin)
            groups.append(number)
    p = 1 / (1 + np.exp(-np.array(margins)))
    right = np.array(correct)
    # each pair once, from the side the model favours: how sure was it, and was it right
    bins = stats.calibration(np.maximum(p, 1 - p), right)
    accuracy = stats.proportion_interval(right, groups=np.array(groups), seed=seed)
    length = stats.proportion_interval(np.array(longer), groups=np.array(groups), seed=seed)
    lead = stats.paired_bootstrap(right, np.array(longer), groups=np.array(groups), seed=seed)
    return {
        "accuracy": accuracy.to_json(),
        "length_baseline": length.to_json(),
        "lead_over_length": lead.to_json(),
        "calibration": bins,
        "ece": stats.expected_calibration_error(bins),
        "n_pairs": len(correct),
        "n_prompts": len(prompts),
    }


def sources(rankings: Sequence[Ranking]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Rankings per source for the manifest's metrics, and a note for readers where the rule judge ranked."""
    simulated = sum(r.simulated for r in rankings)
    note = f"{simulated} of {len(rankings)} rankings are simulated by a rule judge, not made by people"
    return {"simulated": simulated, "human": len(rankings) - simulated}, (note,) if simulated else ()
