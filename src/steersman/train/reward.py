"""Reward model: a scalar head on the last real token, learned from rankings; a head per objective where they have some.

rankings -> one tree per prompt (the prompt once, K answers as branches) -> scores [K] of the ranking's objective
-> kwise_loss over all pairs of the prompt -> AdamW; then shifted so that demonstrations score 0 on average
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman import stopping
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig, RewardConfig, to_dict
from steersman.distributed import parallel
from steersman.families.heads import name_heads
from steersman.families.outputs import branch_heads, context_of, init_score_head, shard, use_checkpointing
from steersman.progress import activity, progress
from steersman.rl.losses import kwise_loss
from steersman.text.length import fit_rankings
from steersman.text.template import Template
from steersman.train.budget import check_memory, lengths_of
from steersman.train.cautions import cautions
from steersman.train.ensemble import agreement, nursery, train_members
from steersman.train.log import MetricsLog
from steersman.train.per_objective import check_objectives, check_split, objective_report, own_scores, settle_scale
from steersman.train.rankings import (
    RankedTree,
    frozen_states,
    pair_report,
    plan_batches,
    sources,
    split_holdout,
    states_below,
    to_ranked_trees,
)
from steersman.train.update import Updater, cosine, evenly_spaced, keep_freed_memory
from steersman.types import Conversation, Ranking
from steersman.weights.folders import (
    check_folder,
    load_scalar,
    load_tokenizer,
    pick_device,
    read_config,
    save_model,
    use_packed_rows,
)
from steersman.weights.lora import merged, quantized, set_trainable, settle


@torch.no_grad()
def score_trees(model: Any, trees: Sequence[Tree], row_tokens: int) -> list[Tensor]:
    """Scores [K, heads] of each tree's branches, in the trees' order, on the CPU."""
    counts = [len(t.branches) for t in trees]
    scores = [torch.full((count, model.score.out_features), -torch.inf) for count in counts]
    mine = parallel.share(fill_rows([t.size for t in trees], row_tokens))
    with activity("scoring", len(mine), "row") as shown:
        for done, (group, _) in enumerate(mine, 1):
            parallel.halt()
            row = to_device(build_row([trees[i] for i in group]), model.device)
            parts = torch.split(branch_heads(model, row).cpu(), [counts[i] for i in group])
            for i, part in zip(group, parts, strict=True):
                scores[i] = part
            shown.update(done)
    return list(torch.split(parallel.merge(torch.cat(scores)), counts))


def held_out_metrics(model: Any, held: Sequence[RankedTree], row_tokens: int) -> dict[str, float]:
    """Loss in nats per pair and share of pairs in the right order, for the curve and for a search."""
    scores = own_scores(score_trees(model, [h.tree for h in held], row_tokens), held, model.config)
    loss = torch.stack([kwise_loss(s, h.pairs) for s, h in zip(scores, held, strict=True)]).mean()
    right = [float(s[w] > s[l]) for s, h in zip(scores, held, strict=True) for w, l in h.pairs]
    return {"eval_loss": float(loss), "eval_accuracy": sum(right) / len(right)}


def to_tree(template: Template, demonstration: Conversation) -> Tree:
    """Its last answer as the one branch of what came before."""
    prompt, answer = demonstration.without_answer(), demonstration.messages[-1].content
    return Tree(template.prompt_ids(prompt), (template.answer_ids(answer),))


def demonstration_means(
    model: Any, template: Template, demonstrations: Sequence[Conversation], row_tokens: int
) -> list[float]:
    """Each head's mean score of demonstrations' answers, the zero of the reward scale (Ouyang et al. 2022)."""
    trees = [to_tree(template, d) for d in demonstrations]
    return [float(head.mean()) for head in torch.cat(score_trees(model, trees, row_tokens)).unbind(dim=1)]


def compare_members(
    first: Any, further: Sequence[Path], held: Sequence[RankedTree], config: RewardConfig, model_config: ModelConfig
) -> dict[str, Any]:
    """How the members of an ensemble do on the held-out rankings, alone and together."""
    trees = [h.tree for h in held]
    scores = [own_scores(score_trees(first, trees, config.rows.row_tokens), held, first.config)]
    for path in further:
        model = use_packed_rows(load_scalar(path, model_config.dtype, model_config.trust_remote_code)).to(first.device)
        scores.append(own_scores(score_trees(model, trees, config.rows.row_tokens), held, model.config))
    return agreement(scores, [h.pairs for h in held])


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
    member: int = 1,
) -> dict[str, Any]:
    """Train a reward model from `base` (the SFT model) into `output`; returns the manifest's metrics.

    `member`: which one of an ensemble; head and data order depend on it, the held-out prompts do not.
    """
    keep_freed_memory()
    rest = {"base": base, "rankings": rankings, "demonstrations": demonstrations, "model_config": model_config}
    further = train_members(run, output, config, inputs, seed=seed, **rest)
    check_folder(base)
    tokenizer = load_tokenizer(base)
    template = Template(tokenizer, model_config.thinking, today=False)
    context = context_of(read_config(base, model_config.trust_remote_code))
    fitted = fit_rankings(template, rankings, context, config.rows.long)
    rankings = fitted.records
    demonstrations = [d for d in demonstrations if to_tree(template, d).size <= context]
    check_objectives(rankings, config.objectives)
    training, held_out = split_holdout(rankings, config.holdout_fraction, seed)
    items, ties = to_ranked_trees(template, training, context)
    held, _ = to_ranked_trees(template, held_out, context)
    if not items or not held:
        raise ValueError(
            f"{len(rankings)} rankings, {len(items)} with a strict preference to train on and {len(held)} to hold out; "
            "expected at least one of each: rank more prompts"
        )
    check_split(items, held, config.objectives)
    check_memory(base, config, lengths_of([b.tree.size for b in items]), model_config)
    device = pick_device(model_config.device)
    options = (model_config.dtype, model_config.trust_remote_code, len(config.objectives) or 1)
    model = use_packed_rows(load_scalar(base, *options, **quantized(model_config, config.adapters.lora_rank))).to(
        device
    )
    if config.objectives:
        name_heads(model.config, config.objectives)
    init_score_head(model, seed + member - 1)
    set_trainable(model, config, seed + member - 1)
    if config.rows.checkpointing:
        use_checkpointing(model)
    shard(model)
    folder = StageFolder(
        output,
        "reward",
        {**to_dict(config), "seed": seed, **model_config.recorded},
        inputs,
        config.resume.save_seconds,
        config.resume.keep_checkpoints,
    )
    variant = f"/{member}" if member > 1 else ""
    batches = plan_batches(len(items), config.rows.batch_prompts, config.epochs, seed, "reward", variant)

    updater = Updater(
        model, lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay, grad_clip=config.optimizer.grad_clip
    )
    step = 0
    if (point := folder.load()) is not None:
        updater.restore(point[0])
        step = int(point[1]["step"])
    lasting = config.epochs > 1
    states = (
        frozen_states(model, [b.tree for b in items], config.adapters.train_layers, config.rows.row_tokens)
        if lasting
        else []
    )
    warmup = round(config.optimizer.warmup_fraction * len(batches))
    evaluated = evenly_spaced(len(batches), config.evals)
    pairs, began = 0, time.monotonic()
    with folder.resumable(lambda: (updater.state(), {"step": step})):
        with progress("reward", len(batches), start=step) as bar, MetricsLog(folder.path, "step", step + 1) as log:
            while step < len(batches):
                batch = [items[i] for i in batches[step]]
                total, right, count = 0.0, 0.0, sum(len(b.pairs) for b in batch)
                for group, weight in parallel.share(fill_rows([b.tree.size for b in batch], config.rows.row_tokens)):
                    parallel.halt()
                    part = [batch[i] for i in group]
                    row = to_device(build_row([b.tree for b in part]), device)
                    below = states_below(states, [batches[step][i] for i in group], row)
                    heads = torch.split(branch_heads(model, row, below), [len(b.tree.branches) for b in part])
                    scores = own_scores(heads, part, model.config)
                    margins = [[config.margin * n for n in b.steps] if config.margin else [] for b in part]
                    losses = [kwise_loss(s, b.pairs, m) for s, b, m in zip(scores, part, margins, strict=True)]
                    loss = weight * torch.stack(losses).sum() / len(batch)
                    loss.backward()  # type: ignore[no-untyped-call]
                    updater.gather()
                    total += float(loss.detach())
                    right += weight * sum(
                        int(s[w] > s[l]) for s, b in zip(scores, part, strict=True) for w, l in b.pairs
                    )
                total, right = parallel.add(total, right)
                share = cosine(step, len(batches), warmup, config.optimizer.final_lr_fraction)
                norm = updater.step(share)
                step += 1
                pairs += count
                speed = pairs / (time.monotonic() - began)
                metrics = {"loss": total, "accuracy": right / count, "grad_norm": norm}
                if step in evaluated:
                    with stopping.held():  # a point of this step must have its line
                        metrics |= held_out_metrics(model, held, config.rows.row_tokens)
                log.write(step, metrics, {"pairs_per_second": speed})
                bar.update(step, loss=total, accuracy=right / count)
                if step < len(batches) and folder.save_is_due:
                    folder.save(updater.state(), {"step": step})
            settle(model, folder.path, base)
            if config.evals:
                log.write(len(batches) + 1, held_out_metrics(model, held, config.rows.row_tokens))
        zero = demonstration_means(model, template, demonstrations, config.rows.row_tokens) if demonstrations else []
        if zero and not config.objectives:
            model.config.reward_shift = float(getattr(model.config, "reward_shift", 0.0)) + zero[0]
        measured = score_trees(model, [h.tree for h in held], config.rows.row_tokens)
        report = pair_report(held, own_scores(measured, held, model.config), seed)
        if config.objectives:
            settle_scale(model.config, measured, zero)
            report["objectives"] = objective_report(model.config, held, measured, seed)
        if further:
            report |= compare_members(model, further, held, config, model_config)
            for path in further if parallel.is_first() else ():
                shutil.copytree(path, folder.path / path.name, dirs_exist_ok=True)
        save_model(merged(model), tokenizer, folder.path)
        counts, notes = sources(rankings)
        report |= {
            "n_train_prompts": len(items),
            "all_ties": ties,
            **counts,
            **fitted.counts(),
            "normalised_on": len(demonstrations),
            "pairs_per_second": round(pairs / max(1e-9, time.monotonic() - began), 2) if pairs else None,
        }
        report["cautions"] = [*cautions(len(batches), folder.path), *fitted.cautions("reward")]
        folder.finish(report, notes)
        shutil.rmtree(nursery(output), ignore_errors=True)
    return report
