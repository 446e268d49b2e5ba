"""Reward model: a scalar head on the last real token, learned from rankings.

rankings -> one tree per prompt (the prompt once, K answers as branches) -> scores [K]
-> kwise_loss over all pairs of the prompt -> AdamW; then shifted so that demonstrations score 0 on average
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from steersman import stats
from steersman.config import ModelConfig, RewardConfig, to_dict
from steersman.models import parallel
from steersman.models.decoder import branch_scores, init_score_head, share_trunk
from steersman.models.layers import use_checkpointing
from steersman.models.load import check_folder, load_scalar, load_tokenizer, pick_device, read_config, use_packed_rows
from steersman.models.lora import quantized, save_trained, set_trainable
from steersman.models.packing import Tree, build_row, fill_rows, to_device
from steersman.models.stage_folder import StageFolder
from steersman.progress import progress
from steersman.rl.losses import kwise_loss
from steersman.text.template import Template
from steersman.train.ensemble import agreement, nursery, train_members
from steersman.train.log import MetricsLog
from steersman.train.memory import CACHE_BYTES
from steersman.train.plan import check_memory, lengths_of
from steersman.train.update import Updater, cosine, evenly_spaced, keep_freed_memory
from steersman.types import Conversation, Ranking


@dataclass(frozen=True)
class RankedTree:
    """A ranking as tokens: a tree with a branch per answer, the strict pairs, and what the length baseline needs."""

    tree: Tree
    pairs: tuple[tuple[int, int], ...]
    characters: tuple[int, ...]
    steps: tuple[int, ...] = ()
    """Grades between winner and loser of each pair."""


def to_ranked_trees(template: Template, rankings: Sequence[Ranking], context: int) -> tuple[list[RankedTree], int]:
    """Rankings with at least one strict pair, and how many had none. Raises ValueError on one beyond the context."""
    out = []
    for ranking in rankings:
        pairs = ranking.pairs()
        if not pairs:
            continue
        trunk = template.prompt_ids(ranking.prompt)
        branches = tuple(template.answer_ids(a) for a in ranking.answers)
        longest = len(trunk) + max(map(len, branches))
        if longest > context:
            raise ValueError(
                f"ranking '{ranking.id}': {longest} tokens; expected at most the model's context, {context}"
            )
        out.append(RankedTree(Tree(trunk, branches), pairs, tuple(map(len, ranking.answers)), ranking.grade_steps()))
    return out, len(rankings) - len(out)


def split_holdout(rankings: Sequence[Ranking], fraction: float, seed: int) -> tuple[list[Ranking], list[Ranking]]:
    """(training, held out) by prompt: rankings of one prompt never straddle."""
    keys = sorted({_prompt_key(r) for r in rankings})
    random.Random(f"{seed}/reward/holdout").shuffle(keys)
    held = set(keys[: round(len(keys) * fraction)])
    return [r for r in rankings if _prompt_key(r) not in held], [r for r in rankings if _prompt_key(r) in held]


def _prompt_key(ranking: Ranking) -> str:
    return "\x00".join(f"{m.role}\x01{m.content}" for m in ranking.prompt.messages)


def score_trees(model: Any, trees: Sequence[Tree], row_tokens: int) -> list[Tensor]:
    """Scores [K] of each tree's branches, in the trees' order, on the CPU."""
    counts = [len(t.branches) for t in trees]
    scores = [torch.full((count,), -torch.inf) for count in counts]
    for group, _ in parallel.share(fill_rows([t.size for t in trees], row_tokens)):
        row = to_device(build_row([trees[i] for i in group]), model.device)
        parts = torch.split(branch_scores(model, row).cpu(), [counts[i] for i in group])
        for i, part in zip(group, parts, strict=True):
            scores[i] = part
    return list(torch.split(parallel.merge(torch.cat(scores)), counts))


@torch.no_grad()
def evaluate(model: Any, held: Sequence[RankedTree], row_tokens: int, seed: int) -> dict[str, Any]:
    """Held-out accuracy with a 95 % interval clustered by prompt, beside 'the longer answer wins', and calibration."""
    correct, longer, probabilities, groups = [], [], [], []
    for number, (item, scores) in enumerate(
        zip(held, score_trees(model, [h.tree for h in held], row_tokens), strict=True)
    ):
        values = scores.tolist()
        for winner, loser in item.pairs:
            margin = values[winner] - values[loser]
            correct.append(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0)
            extra = item.characters[winner] - item.characters[loser]
            longer.append(1.0 if extra > 0 else 0.5 if extra == 0 else 0.0)
            probabilities.append(margin)
            groups.append(number)
    p = 1 / (1 + np.exp(-np.array(probabilities)))
    right = np.array(correct)
    # each pair once, from the side the model favours: how sure was it, and was it right
    bins = stats.calibration(np.maximum(p, 1 - p), right)
    accuracy = stats.accuracy_interval(right, groups=np.array(groups), seed=seed)
    length = stats.accuracy_interval(np.array(longer), groups=np.array(groups), seed=seed)
    lead = stats.paired_bootstrap(right, np.array(longer), groups=np.array(groups), seed=seed)
    return {
        "accuracy": accuracy.to_json(),
        "length_baseline": length.to_json(),
        "lead_over_length": lead.to_json(),
        "calibration": bins,
        "ece": stats.expected_calibration_error(bins),
        "n_pairs": len(correct),
        "n_prompts": len(held),
    }


@torch.no_grad()
def held_out_metrics(model: Any, held: Sequence[RankedTree], row_tokens: int) -> dict[str, float]:
    """Loss in nats per pair and share of pairs in the right order, for the curve and for a search."""
    scores = score_trees(model, [h.tree for h in held], row_tokens)
    loss = torch.stack([kwise_loss(s, h.pairs) for s, h in zip(scores, held, strict=True)]).mean()
    right = [float(s[w] > s[l]) for s, h in zip(scores, held, strict=True) for w, l in h.pairs]
    return {"eval_loss": float(loss), "eval_accuracy": sum(right) / len(right)}


@torch.no_grad()
def demonstration_mean(
    model: Any, template: Template, demonstrations: Sequence[Conversation], row_tokens: int
) -> float:
    """Mean score of demonstrations' answers, the zero of the reward scale (Ouyang et al. 2022)."""
    trees = [
        Tree(template.prompt_ids(d.without_answer()), (template.answer_ids(d.messages[-1].content),))
        for d in demonstrations
    ]
    return float(torch.cat(score_trees(model, trees, row_tokens)).mean())


def frozen_states(model: Any, trees: Sequence[Tree], config: RewardConfig) -> list[Tensor]:
    """Each tree's states [T, hidden] after the frozen layers, computed once for all epochs; [] if none or too large."""
    frozen = len(model.model.layers) - config.train_layers if config.train_layers else 0
    trunk, _ = share_trunk([model], frozen)
    if trunk is None or sum(t.size for t in trees) * model.config.hidden_size * model.dtype.itemsize > CACHE_BYTES:
        return []
    states: dict[int, Tensor] = {}
    for group in fill_rows([t.size for t in trees], config.row_tokens):
        row = to_device(build_row([trees[i] for i in group]), model.device)
        pieces = torch.split(trunk(row), [*(trees[i].size for i in group), row.padding])
        states.update(zip(group, pieces[:-1], strict=True))
    return [states[i] for i in range(len(trees))]


@torch.no_grad()
def compare_members(
    first: Any, further: Sequence[Path], held: Sequence[RankedTree], config: RewardConfig, model_config: ModelConfig
) -> dict[str, Any]:
    """How the members of an ensemble do on the held-out rankings, alone and together."""
    trees = [h.tree for h in held]
    scores = [[s.cpu() for s in score_trees(first, trees, config.row_tokens)]]
    for path in further:
        model = use_packed_rows(load_scalar(path, model_config.dtype, model_config.trust_remote_code)).to(first.device)
        scores.append([s.cpu() for s in score_trees(model, trees, config.row_tokens)])
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
    template = Template(tokenizer)
    training, held_out = split_holdout(rankings, config.holdout_fraction, seed)
    context = read_config(base, model_config.trust_remote_code).max_position_embeddings
    items, ties = to_ranked_trees(template, training, context)
    held, _ = to_ranked_trees(template, held_out, context)
    if not items or not held:
        raise ValueError(
            f"{len(rankings)} rankings, {len(items)} with a strict preference to train on and {len(held)} to hold out; "
            "expected at least one of each: rank more prompts"
        )
    check_memory(base, config, lengths_of([b.tree.size for b in items]), model_config)
    device = pick_device(model_config.device)
    options = (model_config.dtype, model_config.trust_remote_code)
    model = use_packed_rows(load_scalar(base, *options, **quantized(model_config, config.lora_rank))).to(device)
    init_score_head(model, seed + member - 1)
    set_trainable(model, config, seed + member - 1)
    if config.checkpointing:
        use_checkpointing(model)
    parallel.shard(model)
    folder = StageFolder(
        output, "reward", {**to_dict(config), "seed": seed, **model_config.recorded}, inputs, config.save_seconds
    )
    batches = []
    for epoch in range(config.epochs):
        order = list(range(len(items)))
        random.Random(f"{seed}/reward/{epoch}" + (f"/{member}" if member > 1 else "")).shuffle(order)
        batches += [order[i : i + config.batch_prompts] for i in range(0, len(order), config.batch_prompts)]

    updater = Updater(model, lr=config.lr, weight_decay=config.weight_decay, grad_clip=config.grad_clip)
    step = 0
    if (point := folder.load()) is not None:
        updater.restore(point[0])
        step = int(point[1]["step"])
    # of several processes, each may meet another part of the trees in every epoch
    lasting = config.epochs > 1 and parallel.size() == 1
    states = frozen_states(model, [b.tree for b in items], config) if lasting else []
    warmup = round(config.warmup_fraction * len(batches))
    evaluated = evenly_spaced(len(batches), config.evals)
    pairs, began = 0, time.monotonic()
    with progress("reward", len(batches), start=step) as bar, MetricsLog(folder.path, "step", step + 1) as log:
        while step < len(batches):
            batch = [items[i] for i in batches[step]]
            total, right, count = 0.0, 0.0, sum(len(b.pairs) for b in batch)
            for group, weight in parallel.share(fill_rows([b.tree.size for b in batch], config.row_tokens)):
                part = [batch[i] for i in group]
                row = to_device(build_row([b.tree for b in part]), device)
                below = None
                if states:
                    below = F.pad(torch.cat([states[batches[step][i]] for i in group]), (0, 0, 0, row.padding))
                scores = torch.split(branch_scores(model, row, below), [len(b.tree.branches) for b in part])
                margins = [[config.margin * n for n in b.steps] if config.margin else [] for b in part]
                losses = [kwise_loss(s, b.pairs, m) for s, b, m in zip(scores, part, margins, strict=True)]
                loss = weight * torch.stack(losses).sum() / len(batch)
                loss.backward()  # type: ignore[no-untyped-call]
                updater.gather()
                total += float(loss.detach())
                right += weight * sum(int(s[w] > s[l]) for s, b in zip(scores, part, strict=True) for w, l in b.pairs)
            total, right = parallel.add(total, right)
            share = cosine(step, len(batches), warmup, config.final_lr_fraction)
            norm = updater.step(share)
            step += 1
            pairs += count
            speed = pairs / (time.monotonic() - began)
            metrics = {"loss": total, "accuracy": right / count, "grad_norm": norm}
            if step in evaluated:
                metrics |= held_out_metrics(model, held, config.row_tokens)
            log.write(step, metrics, {"pairs_per_second": speed})
            bar.update(step, loss=total, accuracy=right / count)
            if step < len(batches) and folder.save_is_due:
                folder.save(updater.state(), {"step": step})
        if config.evals:
            log.write(len(batches) + 1, held_out_metrics(model, held, config.row_tokens))
    if demonstrations:
        mean = demonstration_mean(model, template, demonstrations, config.row_tokens)
        model.config.reward_shift = float(getattr(model.config, "reward_shift", 0.0)) + mean
    report = evaluate(model, held, config.row_tokens, seed)
    if further:
        report |= compare_members(model, further, held, config, model_config)
        for path in further if parallel.is_first() else ():
            shutil.copytree(path, folder.path / path.name, dirs_exist_ok=True)
    save_trained(model, tokenizer, folder.path, base)
    simulated = sum(r.simulated for r in rankings)
    report |= {
        "n_train_prompts": len(items),
        "all_ties": ties,
        "simulated": simulated,
        "human": len(rankings) - simulated,
        "normalised_on": len(demonstrations),
        "pairs_per_second": round(pairs / max(1e-9, time.monotonic() - began), 2) if pairs else None,
    }
    notes = (
        (f"{simulated} of {len(rankings)} rankings are simulated by a rule judge, not made by people",)
        if simulated
        else ()
    )
    folder.finish(report, notes)
    shutil.rmtree(nursery(output), ignore_errors=True)
    return report
