"""DPO and KTO: improve the policy on people's preferences directly, without a reward model or sampling.

rankings -> one tree per prompt (the prompt once, K answers as branches) -> log-ratios [K] to the SFT model
-> dpo_loss over all pairs of the prompt, or kto_loss over its desirable and undesirable answers -> AdamW

The SFT model is the start and the reference; its log-probabilities are computed once, in the rows of the first epoch,
so that the first log-ratios are exactly 0. The held-out prompts are those of the reward model.

Why so: decision 25 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.compute.packing import Tree, build_row, fill_rows, to_device
from steersman.config import DpoConfig, KtoConfig, ModelConfig
from steersman.distributed import parallel
from steersman.families.outputs import context_of, frozen_layers, response_logprobs
from steersman.progress import activity
from steersman.rl.preference_losses import dpo_loss, kto_loss
from steersman.text.length import fit_rankings
from steersman.text.template import Template
from steersman.train.cautions import cautions
from steersman.train.order import plan_batches
from steersman.train.rankings import (
    NOTHING,
    FrozenStates,
    RankedTree,
    apart,
    frozen_states,
    pair_report,
    sources,
    split_holdout,
    to_ranked_tree,
    to_ranked_trees,
)
from steersman.train.session import Origin, Steps, opened, trainable
from steersman.types import Ranking
from steersman.weights.folders import check_folder, load_causal, load_tokenizer, read_config
from steersman.weights.lora import settle


def kto_labels(ranking: Ranking) -> tuple[int, ...]:
    """1 (desirable), -1 (undesirable) or 0 (left out) per answer.

    Graded answers: good 1, poor -1, average 0. Ranked answers: 1 if an answer beats more answers than it loses to, -1
    if it loses to more. Where all were called bad, all are -1.
    """
    if ranking.all_bad:
        return (-1,) * len(ranking.answers)
    if ranking.grades is not None:
        return tuple({"good": 1, "average": 0, "poor": -1}[g] for g in ranking.grades)
    balance = [0] * len(ranking.answers)
    for winner, loser in ranking.pairs():
        balance[winner] += 1
        balance[loser] -= 1
    return tuple((b > 0) - (b < 0) for b in balance)


def mismatched(trees: Sequence[Tree], context: int) -> list[Tree]:
    """Each prompt with another prompt's answer, cut to the context; KTO's z0 is estimated from their log-ratios."""
    out = []
    for i, tree in enumerate(trees):
        others = (trees[(i + k) % len(trees)] for k in range(1, len(trees)))
        other = next((o for o in others if o.trunk != tree.trunk), None)
        if other is None:
            raise ValueError(
                "KTO estimates a KL from answers to other prompts: expected at least two different prompts"
            )
        out.append(Tree(tree.trunk, (other.branches[0][: context - len(tree.trunk)],)))
    return out


@dataclass(frozen=True)
class LabelledAnswers:
    """Rankings as tokens: the training items, with each answer's KTO label, and the held-out ones."""

    items: list[RankedTree]
    labels: list[tuple[int, ...]]
    others: list[Tree]
    """KTO: `mismatched` answers, one tree per item; DPO: none."""
    held: list[RankedTree]
    batches: list[list[int]]
    """Numbers of the items of each optimizer step."""

    @property
    def trees(self) -> list[Tree]:
        return [item.tree for item in self.items]


def prepare(
    template: Template, rankings: Sequence[Ranking], origin: Origin[DpoConfig | KtoConfig], context: int
) -> LabelledAnswers:
    """Raises ValueError where there is nothing to learn from, or for DPO nothing to hold out."""
    config = origin.config
    dpo = isinstance(config, DpoConfig)
    training, held_out = split_holdout(rankings, config.holdout_fraction, origin.seed)
    held, _ = to_ranked_trees(template, held_out, context)
    training += apart([r for r in held_out if not r.pairs()], [r for r in held_out if r.pairs()])  # they test nothing
    used = [r for r in training if (r.pairs() if dpo else any(kto_labels(r)))]
    items = [to_ranked_tree(template, r, context) for r in used]
    # likes and dislikes alone have no pairs to hold out, and are enough for KTO
    if not items or (dpo and not held):
        raise ValueError(
            f"{len(rankings)} rankings, {len(items)} with a preference to train on and {len(held)} to hold out; "
            "expected at least one of each: rank more prompts"
        )
    others = [] if dpo else mismatched([item.tree for item in items], context)
    batches = plan_batches([1] * len(items), config.rows.batch_prompts, config.epochs, f"{origin.seed}/{origin.stage}")
    return LabelledAnswers(items, [kto_labels(r) for r in used], others, held, batches)


def answer_logprobs(
    model: Any, trees: Sequence[Tree], group: Sequence[int], per_token: bool, states: FrozenStates = NOTHING
) -> dict[int, Tensor]:
    """Tree number -> log p [K] of its answers given the prompt, in nats per answer or, if `per_token`, per token.

    `states`: the result of `frozen_states`.
    """
    chosen = [trees[i] for i in group]
    row = states.beneath(to_device(build_row(chosen), model.device), chosen)
    logprobs, _ = response_logprobs(model, row, entropy=False)
    count = len(row.branch_ends)
    total = torch.zeros(count, device=logprobs.device).index_add(0, row.target_branch, logprobs)
    if per_token:
        total = total / torch.bincount(row.target_branch, minlength=count)
    return dict(zip(group, torch.split(total, [len(tree.branches) for tree in chosen]), strict=True))


def my_rows(trees: Sequence[Tree], batch: Sequence[int], row_tokens: int) -> list[tuple[list[int], float]]:
    """This process's rows of the batch, each as the numbers of its trees, with the row's weight."""
    groups = fill_rows([trees[i].size for i in batch], row_tokens)
    return parallel.share([[batch[k] for k in group] for group in groups])


def of_all(found: Mapping[int, Tensor], trees: Sequence[Tree], batch: Sequence[int]) -> dict[int, Tensor]:
    """Gather from all processes one number per answer [K] of each tree; `found` holds those of this process's rows."""
    if parallel.size() == 1:
        return dict(found)
    counts = [len(trees[i].branches) for i in batch]
    parts = [found.get(i, torch.full((n,), -torch.inf)).cpu() for i, n in zip(batch, counts, strict=True)]
    merged = parallel.merge(torch.cat(parts)).to(next(iter(found.values())).device)
    return dict(zip(batch, torch.split(merged, counts), strict=True))


@torch.no_grad()
def tree_logprobs(
    model: Any,
    trees: Sequence[Tree],
    batches: Sequence[Sequence[int]],
    row_tokens: int,
    per_token: bool = False,
    states: FrozenStates = NOTHING,
) -> dict[int, Tensor]:
    """`answer_logprobs` of the trees named in `batches`, from the rows that training makes of them."""
    out: dict[int, Tensor] = {}
    with activity("log-probabilities", len(batches), "batch") as shown:
        for done, batch in enumerate(batches, 1):
            found: dict[int, Tensor] = {}
            for group, _ in my_rows(trees, batch, row_tokens):
                parallel.halt()
                found |= answer_logprobs(model, trees, group, per_token, states)
            out |= of_all(found, trees, batch)
            shown.update(done)
    return out


def answer_losses(
    config: DpoConfig | KtoConfig, item: RankedTree, labels: Sequence[int], ratios: Tensor, kl: float
) -> Tensor:
    """One prompt's terms of a step's loss: one for DPO [1], one per labelled answer for KTO."""
    if isinstance(config, DpoConfig):
        return item.weight * dpo_loss(ratios, item.pairs, config.beta, config.label_smoothing)[None]
    return item.weight * kto_loss(ratios, labels, kl, config.beta, config.desirable_weight, config.undesirable_weight)


@dataclass(frozen=True)
class Reference:
    """The SFT model's log-probabilities [K] of each tree's answers, by the tree's number."""

    items: Mapping[int, Tensor]
    others: Mapping[int, Tensor]
    held: Mapping[int, Tensor]
    states: FrozenStates
    """The items' states from `frozen_states`."""


def reference_of(model: Any, examples: LabelledAnswers, config: DpoConfig | KtoConfig) -> Reference:
    """The reference, computed by the model before its first step, in the rows of the first epoch."""
    trees, others, held = examples.trees, examples.others, [h.tree for h in examples.held]
    first_epoch = examples.batches[: len(examples.batches) // config.epochs]
    per_token, row_tokens = per_token_of(config), config.rows.row_tokens
    states = frozen_states(model, trees, frozen_layers(model, config.adapters.train_layers), row_tokens)
    return Reference(
        tree_logprobs(model, trees, first_epoch, row_tokens, per_token, states),
        tree_logprobs(model, others, first_epoch, row_tokens) if others else {},
        tree_logprobs(model, held, [range(len(held))] if held else [], row_tokens, per_token),
        states,
    )


def estimated_kl(
    model: Any, examples: LabelledAnswers, batch: Sequence[int], reference: Reference, row_tokens: int
) -> float:
    """KTO's z0: estimated KL in nats of the model from the SFT model, from answers to other prompts."""
    now = tree_logprobs(model, examples.others, [batch], row_tokens)
    return max(0.0, float(torch.cat([now[i] - reference.others[i] for i in batch]).mean()))


def learn(
    steps: Steps,
    config: DpoConfig | KtoConfig,
    examples: LabelledAnswers,
    batch: Sequence[int],
    reference: Reference,
    kl: float,
) -> tuple[float, dict[int, Tensor]]:
    """Gather one step's gradients; returns its loss and the implicit rewards [K] of the batch's answers.

    `kl`: `estimated_kl`, 0 for DPO.
    """
    trees, per_token = examples.trees, per_token_of(config)
    dpo = isinstance(config, DpoConfig)
    count = len(batch) if dpo else sum(label != 0 for i in batch for label in examples.labels[i])
    total, rewards = 0.0, {}
    for group, weight in my_rows(trees, batch, config.rows.row_tokens):
        parallel.halt()
        logprobs = answer_logprobs(steps.session.model, trees, group, per_token, reference.states)
        ratios = {i: logprobs[i] - reference.items[i] for i in group}
        losses = [answer_losses(config, examples.items[i], examples.labels[i], r, kl) for i, r in ratios.items()]
        loss = weight * torch.cat(losses).sum() / count
        loss.backward()  # type: ignore[no-untyped-call]
        steps.updater.gather()
        total += float(loss.detach())
        rewards.update({i: config.beta * r.detach() for i, r in ratios.items()})
    return sum(parallel.add(total)), of_all(rewards, trees, batch)


def per_token_of(config: DpoConfig | KtoConfig) -> bool:
    return isinstance(config, DpoConfig) and config.length_normalised


def run(
    *,
    base: Path,
    rankings: Sequence[Ranking],
    output: Path,
    config: DpoConfig | KtoConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Optimise `base` (the SFT model) on rankings into `output`, by DPO or KTO as `config` says.

    Returns the manifest's metrics. Resumes by itself.
    """
    origin = Origin("dpo" if isinstance(config, DpoConfig) else "kto", output, config, model_config, seed, inputs)
    check_folder(base)
    tokenizer = load_tokenizer(base)
    template = Template(tokenizer, model_config.thinking, today=False)
    context = context_of(read_config(base, model_config.trust_remote_code))
    fitted = fit_rankings(template, rankings, context, config.rows.long)
    examples = prepare(template, fitted.records, origin, context)
    items, held, batches = examples.items, examples.held, examples.batches

    sizes = [tree.size for tree in examples.trees]
    with opened(origin, base, sizes, lambda: trainable(load_causal, base, origin, seed)) as session:
        model = session.model
        # the model is still the SFT model: nothing is restored yet, and a new adapter changes nothing
        reference = reference_of(model, examples, config)
        steps = Steps(session, len(batches))
        for step in steps:
            batch = batches[step]
            kl = estimated_kl(model, examples, batch, reference, config.rows.row_tokens) if examples.others else 0.0
            loss, rewards = learn(steps, config, examples, batch, reference, kl)
            norm, rate = steps.update()
            metrics = {"loss": loss, **margins([items[i] for i in batch], [rewards[i] for i in batch])}
            metrics |= {"kl": kl} if examples.others else {}
            speed = {"answers_per_second": session.speed(sum(len(r) for r in rewards.values()))}
            session.write(steps.done, metrics | {"lr": rate, "grad_norm": norm}, speed, **metrics)
        settle(model, session.path, base)
        whole = [range(len(held))] if held else []
        ended = tree_logprobs(model, [h.tree for h in held], whole, config.rows.row_tokens, per_token_of(config))
        implicit = [config.beta * (ended[i] - reference.held[i]) for i in range(len(held))]
        session.save(model, tokenizer)
        counts, notes = sources(fitted.records)
        report = {
            **(margins(held, implicit) | pair_report(held, implicit, seed) if held else {"accuracy": None}),
            "n_train_prompts": len(items),
            **counts,
            **fitted.counts(),
            "answers_per_second": session.mean_speed(2),
            "cautions": [*cautions(len(batches), session.path), *fitted.cautions(origin.stage)],
        }
        return session.finish(report, notes)


def margins(items: Sequence[RankedTree], rewards: Sequence[Tensor]) -> dict[str, float]:
    """Over all pairs: share where the winner's implicit reward is higher, winners' and losers' means; {} without pairs.

    Both may fall while the margin grows, since the loss sees their difference alone.
    """
    won = [float(r[w]) for item, r in zip(items, rewards, strict=True) for w, _ in item.pairs]
    lost = [float(r[l]) for item, r in zip(items, rewards, strict=True) for _, l in item.pairs]
    if not won:
        return {}
    right = sum(w > l for w, l in zip(won, lost, strict=True)) / len(won)
    chosen, rejected = sum(won) / len(won), sum(lost) / len(lost)
    return {"accuracy": right, "margin": chosen - rejected, "chosen": chosen, "rejected": rejected}
