"""DPO and KTO: improve the policy on people's preferences directly, without a reward model or sampling.

rankings -> one tree per prompt (the prompt once, K answers as branches) -> log-ratios [K] to the SFT model
-> dpo_loss over all pairs of the prompt, or kto_loss over its desirable and undesirable answers -> AdamW

The SFT model is the start and the reference; its log-probabilities are computed once, in the rows of the first epoch,
so that the first log-ratios are exactly 0. The held-out prompts are those of the reward model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.config import DpoConfig, KtoConfig, ModelConfig, to_dict
from steersman.models.decoder import response_logprobs, train_last_layers
from steersman.models.load import check_folder, load_causal, load_tokenizer, pick_device, save_model, use_packed_rows
from steersman.models.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.models.stage_folder import StageFolder
from steersman.progress import progress
from steersman.rl.preference import dpo_loss, kto_loss
from steersman.text.template import Template
from steersman.train.log import MetricsLog
from steersman.train.rankings import (
    RankedTree,
    frozen_states,
    pair_report,
    plan_batches,
    sources,
    split_holdout,
    states_below,
    to_ranked_tree,
    to_ranked_trees,
)
from steersman.train.update import Updater, cosine, keep_freed_memory
from steersman.types import Ranking


def kto_labels(ranking: Ranking) -> tuple[int, ...]:
    """1 (desirable), -1 (undesirable) or 0 (left out) per answer.

    A grade says it: good, poor, average. Of ranked answers those are desirable that beat more of the others than they
    lose to, and those undesirable that lose to more. Where all were called bad, all are undesirable.
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
    """Each prompt with an answer to another one, cut to the context: whose log-ratios estimate KTO's z0."""
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


def answer_logprobs(model: Any, row: Row, per_token: bool, below: Tensor | None = None) -> Tensor:
    """[B] nats: log p of each branch given its prompt, or its mean over the branch's tokens."""
    logprobs, _ = response_logprobs(model, row, below=below, entropy=False)
    count = len(row.branch_ends)
    total = torch.zeros(count, device=logprobs.device).index_add(0, row.target_branch, logprobs)
    return total / torch.bincount(row.target_branch, minlength=count) if per_token else total


def groups_of(trees: Sequence[Tree], batch: Sequence[int], row_tokens: int) -> list[list[int]]:
    """The batch's trees, by number, as they share rows."""
    return [[batch[k] for k in group] for group in fill_rows([trees[i].size for i in batch], row_tokens)]


@torch.no_grad()
def tree_logprobs(
    model: Any,
    trees: Sequence[Tree],
    batches: Sequence[Sequence[int]],
    row_tokens: int,
    per_token: bool = False,
    states: Sequence[Tensor] = (),
) -> dict[int, Tensor]:
    """`answer_logprobs` [K] of the trees named in `batches`, by number, from the rows that training makes of them."""
    out: dict[int, Tensor] = {}
    for group in (g for batch in batches for g in groups_of(trees, batch, row_tokens)):
        row = to_device(build_row([trees[i] for i in group]), model.device)
        logprobs = answer_logprobs(model, row, per_token, states_below(states, group, row))
        out.update(zip(group, torch.split(logprobs, [len(trees[i].branches) for i in group]), strict=True))
    return out


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
    stage = "dpo" if isinstance(config, DpoConfig) else "kto"
    per_token = isinstance(config, DpoConfig) and config.length_normalised
    keep_freed_memory()
    check_folder(base)
    tokenizer = load_tokenizer(base)
    template = Template(tokenizer)
    training, held_out = split_holdout(rankings, config.holdout_fraction, seed)
    device = pick_device(model_config.device)
    model = use_packed_rows(load_causal(base, model_config.dtype, model_config.trust_remote_code)).to(device)
    train_last_layers(model, config.train_layers)
    context = model.config.max_position_embeddings
    held, _ = to_ranked_trees(template, held_out, context)
    used = [r for r in training if (r.pairs() if stage == "dpo" else any(kto_labels(r)))]
    items = [to_ranked_tree(template, r, context) for r in used]
    # likes and dislikes alone have no pairs to hold out, and are enough for KTO
    if not items or (not held and stage == "dpo"):
        raise ValueError(
            f"{len(rankings)} rankings, {len(items)} with a preference to train on and {len(held)} to hold out; "
            "expected at least one of each: rank more prompts"
        )
    folder = StageFolder(
        output,
        stage,
        {**to_dict(config), "seed": seed, **model_config.recorded},
        inputs,
        config.save_seconds,
        config.keep_checkpoints,
    )
    batches = plan_batches(len(items), config.batch_prompts, config.epochs, seed, stage)
    first_epoch = batches[: len(batches) // config.epochs]
    trees, labels = [item.tree for item in items], [kto_labels(r) for r in used]
    others = mismatched(trees, context) if stage == "kto" else []
    states = frozen_states(model, trees, config.train_layers, config.row_tokens)
    reference = tree_logprobs(model, trees, first_epoch, config.row_tokens, per_token, states)
    others_reference = tree_logprobs(model, others, first_epoch if others else [], config.row_tokens)
    held_trees, whole = [h.tree for h in held], [range(len(held))]
    held_reference = tree_logprobs(model, held_trees, whole, config.row_tokens, per_token)

    updater = Updater(model, lr=config.lr, weight_decay=config.weight_decay, grad_clip=config.grad_clip)
    step = 0
    if (point := folder.load()) is not None:
        updater.restore(point[0])
        step = int(point[1]["step"])
    warmup = round(config.warmup_fraction * len(batches))
    answers, began = 0, time.monotonic()
    with progress(stage, len(batches), start=step) as bar, MetricsLog(folder.path, "step", step + 1) as log:
        while step < len(batches):
            batch = batches[step]
            kl = 0.0
            if others:
                now = tree_logprobs(model, others, [batch], config.row_tokens)
                kl = max(0.0, float(torch.cat([now[i] - others_reference[i] for i in batch]).mean()))
            labelled = sum(label != 0 for i in batch for label in labels[i])
            total, rewards = 0.0, {}
            for group in groups_of(trees, batch, config.row_tokens):
                row = to_device(build_row([trees[i] for i in group]), device)
                logprobs = answer_logprobs(model, row, per_token, states_below(states, group, row))
                parts = torch.split(logprobs, [len(trees[i].branches) for i in group])
                ratios = {i: part - reference[i] for i, part in zip(group, parts, strict=True)}
                if isinstance(config, DpoConfig):
                    smooth = config.label_smoothing
                    losses = [dpo_loss(r, items[i].pairs, config.beta, smooth) for i, r in ratios.items()]
                    loss = torch.stack(losses).sum() / len(batch)
                else:
                    weights = (config.desirable_weight, config.undesirable_weight)
                    losses = [kto_loss(r, labels[i], kl, config.beta, *weights) for i, r in ratios.items()]
                    loss = torch.cat(losses).sum() / labelled
                loss.backward()  # type: ignore[no-untyped-call]
                updater.gather()
                total += float(loss.detach())
                rewards.update({i: config.beta * r.detach() for i, r in ratios.items()})
            share = cosine(step, len(batches), warmup, config.final_lr_fraction)
            norm = updater.step(share)
            step += 1
            answers += sum(len(r) for r in rewards.values())
            metrics = {"loss": total, **margins([items[i] for i in batch], [rewards[i] for i in batch])}
            metrics |= {"kl": kl} if others else {}
            speed = answers / (time.monotonic() - began)
            log.write(step, metrics | {"lr": config.lr * share, "grad_norm": norm}, {"answers_per_second": speed})
            bar.update(step, **metrics)
            if step < len(batches) and folder.save_is_due:
                folder.save(updater.state(), {"step": step})
    ended = tree_logprobs(model, held_trees, whole, config.row_tokens, per_token)
    implicit = [config.beta * (ended[i] - held_reference[i]) for i in range(len(held))]
    counts, notes = sources(rankings)
    report = {
        **(margins(held, implicit) | pair_report(held, implicit, seed) if held else {"accuracy": None}),
        "n_train_prompts": len(items),
        **counts,
        "answers_per_second": round(answers / max(1e-9, time.monotonic() - began), 2) if answers else None,
    }
    save_model(model, tokenizer, folder.path)
    folder.finish(report, notes)
    return report


def margins(items: Sequence[RankedTree], rewards: Sequence[Tensor]) -> dict[str, float]:
    """Over all pairs: share ordered rightly, mean implicit rewards of winners and losers; {} where there is no pair.

    Both may fall while the margin grows, since the loss sees their difference alone.
    """
    won = [float(r[w]) for item, r in zip(items, rewards, strict=True) for w, _ in item.pairs]
    lost = [float(r[l]) for item, r in zip(items, rewards, strict=True) for _, l in item.pairs]
    if not won:
        return {}
    right = sum(w > l for w, l in zip(won, lost, strict=True)) / len(won)
    chosen, rejected = sum(won) / len(won), sum(lost) / len(lost)
    return {"accuracy": right, "margin": chosen - rejected, "chosen": chosen, "rejected": rejected}
