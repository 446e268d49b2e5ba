"""Reward model: a scalar head on the last real token, learned from rankings; a head per objective where they have some.

rankings -> one tree per prompt (the prompt once, K answers as branches) -> scores [K] of the ranking's objective
-> kwise_loss over all pairs of the prompt -> AdamW; then shifted so that demonstrations score 0 on average

The head begins at random, or solved for the rankings (`linear_head.py`); without epochs that is all.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman import stopping
from steersman.artifact.manifest import read_manifest
from steersman.artifact.names import VALIDATOR
from steersman.compute.packing import Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig, RewardConfig
from steersman.distributed import parallel
from steersman.families.heads import name_heads
from steersman.families.outputs import branch_heads, context_of, frozen_layers, init_score_head, layer_count
from steersman.progress import activity, note
from steersman.rl.losses import kwise_loss, label_loss
from steersman.text.length import fit_rankings
from steersman.text.template import Template
from steersman.train.cautions import cautions
from steersman.train.ensemble import agreement, nursery, train_members
from steersman.train.linear_head import solve_heads
from steersman.train.order import evenly_spaced, plan_batches, shuffled
from steersman.train.per_objective import check_objectives, check_split, objective_report, own_scores, settle_scale
from steersman.train.rankings import (
    NOTHING,
    FrozenStates,
    RankedTree,
    frozen_states,
    in_order,
    label_of,
    pair_report,
    sources,
    split_holdout,
    to_ranked_tree,
    to_ranked_trees,
)
from steersman.train.session import Origin, Session, Steps, opened, trainable
from steersman.train.update import Updater
from steersman.types import Conversation, Ranking
from steersman.weights.folders import check_folder, load_scalar, load_tokenizer, read_config, use_packed_rows
from steersman.weights.lora import settle

TESTED = 120
"""Rankings that test the validator: enough to tell its accuracy to 5 points."""
ZEROED = 64
"""Demonstrations whose mean score is the scale's zero: enough to tell it to an eighth of their deviation."""


@torch.no_grad()
def score_trees(model: Any, trees: Sequence[Tree], row_tokens: int, states: FrozenStates = NOTHING) -> list[Tensor]:
    """Scores [K, heads] of each tree's branches, in the trees' order, on the CPU."""
    counts = [len(t.branches) for t in trees]
    scores = [torch.full((count, model.score.out_features), -torch.inf) for count in counts]
    mine = parallel.share(fill_rows([t.size for t in trees], row_tokens))
    with activity("scoring", len(mine), "row") as shown:
        for done, (group, _) in enumerate(mine, 1):
            parallel.halt()
            row = to_device(build_row([trees[i] for i in group]), model.device)
            row = states.beneath(row, [trees[i] for i in group])
            parts = torch.split(branch_heads(model, row).cpu(), [counts[i] for i in group])
            for i, part in zip(group, parts, strict=True):
                scores[i] = part
            shown.update(done)
    return list(torch.split(parallel.merge(torch.cat(scores)), counts))


def held_out_metrics(
    model: Any, held: Sequence[RankedTree], row_tokens: int, states: FrozenStates = NOTHING
) -> dict[str, float]:
    """Loss in nats per pair and share of pairs in the right order, for the curve and for a search."""
    scores = own_scores(score_trees(model, [h.tree for h in held], row_tokens, states), held, model.config)
    loss = torch.stack([h.weight * kwise_loss(s, h.pairs) for s, h in zip(scores, held, strict=True)]).mean()
    right = sum(in_order(s, h.pairs) for s, h in zip(scores, held, strict=True))
    return {"eval_loss": float(loss), "eval_accuracy": right / sum(len(h.pairs) for h in held)}


def to_tree(template: Template, demonstration: Conversation) -> Tree:
    """The dialogue before the last answer as trunk, the last answer as the only branch."""
    prompt, answer = demonstration.without_answer(), demonstration.messages[-1].content
    return Tree(template.prompt_ids(prompt), (template.answer_ids(answer),))


def demonstration_means(
    model: Any, template: Template, demonstrations: Sequence[Conversation], row_tokens: int
) -> list[float]:
    """Each head's mean score of demonstrations' answers, the zero of the reward scale (Ouyang et al. 2022)."""
    trees = [to_tree(template, d) for d in demonstrations]
    return [float(head.mean()) for head in torch.cat(score_trees(model, trees, row_tokens)).unbind(dim=1)]


def set_scale_and_report(
    model: Any,
    held: Sequence[RankedTree],
    zero: Sequence[float],
    config: RewardConfig,
    seed: int,
    states: FrozenStates = NOTHING,
) -> dict[str, Any]:
    """Set each head's shift and scale; returns the metrics on the held-out rankings.

    `zero`: result of `demonstration_means`, [] without demonstrations.
    """
    if zero and not config.objectives:
        model.config.reward_shift = float(getattr(model.config, "reward_shift", 0.0)) + zero[0]
    measured = score_trees(model, [h.tree for h in held], config.rows.row_tokens, states)
    report = pair_report(held, own_scores(measured, held, model.config), seed)
    if config.objectives:
        settle_scale(model.config, measured, zero)
        report["objectives"] = objective_report(model.config, held, measured, seed)
    return report


def join_members(
    session: Session[RewardConfig, Any], further: Sequence[Path], held: Sequence[RankedTree]
) -> dict[str, Any]:
    """Put an ensemble's further members, and the validator, beside the first.

    Returns held-out accuracy of each member and of the mean, and the validator's own figures.
    """
    first, config, how = session.model, session.origin.config, session.origin.model
    trees, row_tokens = [h.tree for h in held], config.rows.row_tokens
    for path in further if parallel.is_first() else ():
        shutil.copytree(path, session.path / path.name, dirs_exist_ok=True)
    validation = {p.name: dict(read_manifest(p).metrics) for p in further if p.name == VALIDATOR}
    further = [path for path in further if path.name != VALIDATOR]
    if not further:
        return validation
    scores = [own_scores(score_trees(first, trees, row_tokens), held, first.config)]
    for path in further:
        model = use_packed_rows(load_scalar(path, how.dtype, how.trust_remote_code)).to(first.device)
        scores.append(own_scores(score_trees(model, trees, row_tokens), held, model.config))
    return agreement(scores, [h.pairs for h in held]) | validation


@dataclass(frozen=True)
class RankedPrompts:
    """Rankings as tokens: the items of each optimizer step, and the held-out ones."""

    items: list[RankedTree]
    ties: int
    """Training rankings left out, since all their answers are equal."""
    held: list[RankedTree]
    batches: list[list[int]]
    """Numbers of the items of each optimizer step."""

    def said(self, batch: Sequence[int]) -> int:
        """Pairs and labels of a step."""
        return sum(len(item.pairs) + abs(item.label) for item in (self.items[i] for i in batch))

    def counts(self) -> dict[str, int]:
        labels = sum(abs(item.label) for item in self.items)
        return {"all_ties": self.ties} | ({"labels": labels} if labels else {})


def prepare(
    template: Template, rankings: Sequence[Ranking], origin: Origin[RewardConfig], context: int, member: int
) -> RankedPrompts:
    """Raises ValueError where there is nothing to learn from or to hold out, for some objective."""
    config = origin.config
    check_objectives(rankings, config.objectives)
    training, held_out = split_holdout(rankings, config.holdout_fraction, origin.seed)
    labelled, training = [r for r in training if label_of(r)], [r for r in training if not label_of(r)]
    if member == 0:  # the validator learns from what the others are tested on, and is tested on what they learn from
        told = [r for r in training if r.pairs()]
        training, held_out = held_out, told if config.objectives else told[:TESTED]
        labelled = []
    items, ties = to_ranked_trees(template, training, context)
    if not config.objectives:
        items += [to_ranked_tree(template, r, context) for r in labelled]
    elif labelled:
        note(f"reward: {len(labelled)} single answers with a label are left out: no objective's head learns from them")
    held, _ = to_ranked_trees(template, held_out, context)
    if not items or not held:
        raise ValueError(
            f"{len(rankings)} rankings, {len(items)} with a strict preference to train on and {len(held)} to hold out; "
            "expected at least one of each: rank more prompts"
        )
    check_split(items, held, config.objectives)
    order = f"{origin.seed}/reward", f"/{member}" if member != 1 else ""
    return RankedPrompts(
        items, ties, held, plan_batches([1] * len(items), config.rows.batch_prompts, config.epochs, *order)
    )


def new_model(base: Path, origin: Origin[RewardConfig], member: int) -> Any:
    """The SFT model with a new head for each objective."""
    objectives, seed = origin.config.objectives, origin.seed + member - 1

    def with_heads(model: Any) -> None:
        if objectives:
            name_heads(model.config, objectives)
        init_score_head(model, seed)

    return trainable(functools.partial(load_scalar, heads=len(objectives) or 1), base, origin, seed, with_heads)


def learn(
    model: Any,
    updater: Updater,
    config: RewardConfig,
    examples: RankedPrompts,
    batch: Sequence[int],
    states: FrozenStates,
) -> tuple[float, float]:
    """Gather one step's gradients; returns its loss in nats and how many pairs are in order, and labels that the
    score's sign agrees with."""
    items = [examples.items[i] for i in batch]
    total, right = 0.0, 0.0
    for group, weight in parallel.share(fill_rows([b.tree.size for b in items], config.rows.row_tokens)):
        parallel.halt()
        part = [items[i] for i in group]
        row = to_device(build_row([b.tree for b in part]), model.device)
        row = states.beneath(row, [b.tree for b in part])
        heads = torch.split(branch_heads(model, row), [len(b.tree.branches) for b in part])
        scores = own_scores(heads, part, model.config)
        margins = [[config.margin * n for n in b.steps] if config.margin else [] for b in part]
        losses = [
            b.weight * (label_loss(s[0], b.label) if b.label else kwise_loss(s, b.pairs, m))
            for s, b, m in zip(scores, part, margins, strict=True)
        ]
        loss = weight * torch.stack(losses).sum() / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        updater.gather()
        total += float(loss.detach())
        right += weight * sum(in_order(s.detach(), b.pairs) for s, b in zip(scores, part, strict=True))
        right += weight * sum(int(b.label * s[0] > 0) for s, b in zip(scores, part, strict=True) if b.label)
    total, right = parallel.add(total, right)
    return total, right


def run(
    *,
    base: Path,
    rankings: Sequence[Ranking],
    demonstrations: Sequence[Conversation],
    output: Path,
    config: RewardConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Train a reward model from `base` (the SFT model) into `output`; returns the manifest's metrics.

    The further members of an ensemble, and the validator, are trained first, each a stage of its own.
    """
    check_epochs(config)
    origin = Origin("reward", output, config, model_config, seed, inputs)
    learned = config.epochs or (config.validator and config.validator_epochs)
    shared = SharedStates(not learned) if config.validator or config.members > 1 else None

    def member(number: int, output: Path, inputs: Mapping[str, str]) -> None:
        alone = replace(config, members=1, validator=False)
        if not number:
            alone = replace(alone, epochs=config.validator_epochs, evals=0)
        origin_of = replace(origin, output=output, inputs=inputs, config=alone)
        # the validator needs no zero: PPO sets its scale by the SFT model's answers
        train(base, rankings, demonstrations if number else [], origin_of, number, shared=shared)

    further = train_members(member, output, config.members, inputs, config.validator)
    return train(base, rankings, demonstrations, origin, 1, further, shared)


def check_epochs(config: RewardConfig) -> None:
    """Raises ValueError where nothing would be learned."""
    for name, passes in (("epochs", config.epochs), ("validator_epochs", config.validator and config.validator_epochs)):
        if passes is not False and not passes and config.head_init != "solved":
            raise ValueError(f"reward.{name} = 0 learns nothing: expected 1 or more, or reward.head_init = 'solved'")
    if not config.epochs and config.members > 1:
        raise ValueError(f"reward.members = {config.members}: without epochs all would be one model; expected 1")


@dataclass
class SharedStates:
    """The frozen layers' states of all rankings, once one of a stage's models has computed them."""

    whole: bool
    """No model learns more than its head: all layers are frozen"""
    states: FrozenStates | None = None


def states_of(
    model: Any, every: Sequence[Tree], mine: Sequence[Tree], config: RewardConfig, shared: SharedStates | None
) -> FrozenStates:
    """The frozen layers' states of what several models see (`every` tree), or else of what this one sees again.

    The same rows whichever model asks first, so that a resumed stage computes the same numbers.
    """
    if shared and shared.states:
        return shared.states
    again = config.epochs + (config.head_init == "solved") > 1
    lasting = every if shared else mine if again else []
    whole = shared is not None and shared.whole
    frozen = layer_count(model) if whole else frozen_layers(model, config.adapters.train_layers)
    states = frozen_states(model, lasting, frozen, config.rows.row_tokens)
    if shared:
        shared.states = states
    return states


def solve(
    model: Any, items: Sequence[RankedTree], origin: Origin[RewardConfig], states: FrozenStates
) -> dict[str, Any]:
    """Begin with a solved head, where that is wanted; returns what it says of itself."""
    config = origin.config
    if config.head_init != "solved":
        return {}
    order = f"{origin.seed}/reward/folds"
    return solve_heads(model, items, config.rows.row_tokens, config.margin, order, states)


def train(
    base: Path,
    rankings: Sequence[Ranking],
    demonstrations: Sequence[Conversation],
    origin: Origin[RewardConfig],
    member: int,
    further: Sequence[Path] = (),
    shared: SharedStates | None = None,
) -> dict[str, Any]:
    """One reward model. `member`: which one of an ensemble; head and data order depend on it, the held-out prompts do
    not; 0 is the validator, which learns from those. `further`: folders of the others, where this is the first.
    `shared`: what several models read alike; None without others.
    """
    config = origin.config
    check_folder(base)
    tokenizer = load_tokenizer(base)
    template = Template(tokenizer, origin.model.thinking, today=False)
    context = context_of(read_config(base, origin.model.trust_remote_code))
    fitted = fit_rankings(template, rankings, context, config.rows.long)
    short = [d for d in demonstrations if to_tree(template, d).size <= context]
    demonstrations = [short[i] for i in shuffled(len(short), f"{origin.seed}/reward/zero")[:ZEROED]]
    examples = prepare(template, fitted.records, origin, context, member)
    held, batches, trees = examples.held, examples.batches, [item.tree for item in examples.items]
    every = [item.tree for item in to_ranked_trees(template, fitted.records, context)[0]]
    evaluated = evenly_spaced(len(batches), config.evals)

    with opened(origin, base, [tree.size for tree in trees], lambda: new_model(base, origin, member)) as session:
        model = session.model
        states = states_of(model, every, trees, config, shared)
        solution, steps = solve(model, examples.items, origin, states), Steps(session, len(batches))
        for step in steps:
            loss, right = learn(model, steps.updater, config, examples, batches[step], states)
            norm, _ = steps.update()
            accuracy = right / (pairs := examples.said(batches[step]))
            metrics = {"loss": loss, "accuracy": accuracy, "grad_norm": norm}
            if steps.done in evaluated:
                with stopping.held():  # a point of this step must have its line
                    metrics |= held_out_metrics(model, held, config.rows.row_tokens, states)
            session.write(steps.done, metrics, {"pairs_per_second": session.speed(pairs)}, loss=loss, accuracy=accuracy)
        settle(model, session.path, base)
        if config.evals:
            session.write(len(batches) + 1, held_out_metrics(model, held, config.rows.row_tokens, states))
        zero = demonstration_means(model, template, demonstrations, config.rows.row_tokens) if demonstrations else []
        report = set_scale_and_report(model, held, zero, config, origin.seed, states)
        report |= join_members(session, further, held) if further else {}
        session.save(model, tokenizer)
        counts, notes = sources(fitted.records)
        report |= {
            "n_train_prompts": len(trees),
            **examples.counts(),
            **counts,
            **fitted.counts(),
            **solution,
            "normalised_on": len(demonstrations),
            "pairs_per_second": session.mean_speed(2),
            "cautions": [*(cautions(len(batches), session.path) if batches else []), *fitted.cautions("reward")],
        }
        session.finish(report, notes)
        shutil.rmtree(nursery(origin.output), ignore_errors=True)
        return report
