"""Supervised fine-tuning: the loss is on the assistant's words, dialogues are packed into rows.

demonstrations -> render (ids and mask) -> shuffled batches of a token budget -> packed rows
-> mean -log p over the batch's target tokens -> AdamW under a cosine schedule
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steersman import stopping
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig, SftConfig, to_dict
from steersman.distributed import parallel
from steersman.families.outputs import response_logprobs, shard, use_checkpointing
from steersman.progress import activity, note, picture, progress
from steersman.text.lesson import examine, shown
from steersman.text.template import DAY, Template
from steersman.train.budget import check_memory, lengths_of
from steersman.train.cautions import cautions
from steersman.train.log import MetricsLog
from steersman.train.update import Updater, cosine, evenly_spaced, keep_freed_memory
from steersman.types import Conversation
from steersman.weights.folders import (
    check_folder,
    load_causal,
    load_tokenizer,
    pick_device,
    save_model,
    use_packed_rows,
)
from steersman.weights.lora import merged, quantized, set_trainable, settle


def to_trees(
    template: Template, demonstrations: Sequence[Conversation], row_tokens: int, long_dialogues: str
) -> tuple[list[Tree], int]:
    """Rendered dialogues that fit into rows, and how many were skipped. Raises ValueError naming one that does not.

    A dialogue is several trees where its template renders earlier turns otherwise once more follow.
    """
    trees, skipped, untaught = [], 0, 0
    for conversation in demonstrations:
        if conversation.messages[-1].role != "assistant":
            raise ValueError(f"demonstration '{conversation.id}': ends with the user; expected an answer to learn from")
        rows = template.examples(conversation)
        untaught += not rows
        longest = max((len(row.ids) for row in rows), default=0)
        if longest > row_tokens and long_dialogues == "error":
            raise ValueError(
                f"demonstration '{conversation.id}': {longest} tokens; expected at most sft.row_tokens = "
                f"{row_tokens}; raise it, or set sft.long_dialogues to skip or keep_end"
            )
        if longest > row_tokens and long_dialogues == "skip":
            skipped += 1
            continue
        # nothing comes before a row's first token, so it cannot be a target
        cut = ((row.ids[-row_tokens:], row.learn[-row_tokens:]) for row in rows)
        trees += [Tree(ids, learn=(False, *learn[1:])) for ids, learn in cut]
    if not any(any(tree.learn) for tree in trees):
        raise ValueError(
            f"no demonstration to learn from among {len(demonstrations)}: {skipped} are longer than "
            f"sft.row_tokens = {row_tokens} (sft.long_dialogues = {long_dialogues}), {untaught} have no turn that is "
            "learned"
        )
    return trees, skipped


def tell(base: Path, template: Template, record: Conversation) -> None:
    """Say what will be learned and where the model will stop, and show the first record."""
    lesson = examine(base, template, record)
    for level, what, found, advice in lesson.found:
        note(f"sft: {'caution: ' if level != 'ok' else ''}{what}: {found}{f'; {advice}' if advice else ''}")
    picture(shown(template, lesson))


def plan_batches(trees: Sequence[Tree], config: SftConfig, seed: int) -> list[list[int]]:
    """Indices per optimizer step: each epoch shuffled anew, cut where the token budget is full."""
    batches: list[list[int]] = []
    for epoch in range(config.epochs):
        order = list(range(len(trees)))
        random.Random(f"{seed}/sft/{epoch}").shuffle(order)
        batch: list[int] = []
        tokens = 0
        for i in order:
            if batch and tokens + trees[i].size > config.rows.batch_tokens:
                batches.append(batch)
                batch, tokens = [], 0
            batch.append(i)
            tokens += trees[i].size
        batches.append(batch)
    return batches


def rows_of(trees: Sequence[Tree], row_tokens: int) -> list[Row]:
    return [build_row([trees[i] for i in group]) for group in fill_rows([t.size for t in trees], row_tokens)]


@torch.no_grad()
def mean_loss(model: Any, rows: Sequence[Row]) -> float:
    """Nats per target token over packed rows."""
    total, count = 0.0, sum(len(row.targets) for row in rows)
    mine = parallel.share(rows)
    with activity("held-out loss", len(mine), "row") as shown:
        for done, (row, weight) in enumerate(mine, 1):
            parallel.halt()
            logprobs, _ = response_logprobs(model, to_device(row, model.device), entropy=False)
            total -= weight * float(logprobs.double().sum())
            shown.update(done)
    return sum(parallel.add(total)) / max(1, count)


def split_validation(
    demonstrations: Sequence[Conversation], fraction: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """(training, held out): a seeded share of the demonstrations, at least one where there are two or more."""
    held = max(1, round(len(demonstrations) * fraction)) if fraction > 0 and len(demonstrations) > 1 else 0
    order = list(range(len(demonstrations)))
    random.Random(f"{seed}/sft/held").shuffle(order)
    chosen = set(order[:held])
    train = [c for i, c in enumerate(demonstrations) if i not in chosen]
    return train, [demonstrations[i] for i in sorted(chosen)]


def run(
    *,
    base: Path,
    demonstrations: Sequence[Conversation],
    validation: Sequence[Conversation],
    output: Path,
    config: SftConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Fine-tune `base` into the folder `output`; returns the metrics of its manifest. Resumes by itself."""
    keep_freed_memory()
    if not validation:
        demonstrations, validation = split_validation(demonstrations, config.eval_fraction, seed)
    check_folder(base)
    tokenizer = load_tokenizer(base, model_config.template)
    template = Template(tokenizer, model_config.thinking, today=False)
    trees, skipped = to_trees(template, demonstrations, config.rows.row_tokens, config.rows.long_dialogues)
    said = template.notes.copy()
    if parallel.is_first():
        tell(base, template, demonstrations[0])
    held, _ = to_trees(template, validation, config.rows.row_tokens, "keep_end") if validation else ([], 0)
    held_rows = rows_of(held, config.rows.row_tokens)
    batches = plan_batches(trees, config, seed)

    check_memory(base, config, lengths_of([t.size for t in trees]), model_config)
    device = pick_device(model_config.device)
    options = (model_config.dtype, model_config.trust_remote_code)
    model = use_packed_rows(load_causal(base, *options, **quantized(model_config, config.adapters.lora_rank))).to(
        device
    )
    set_trainable(model, config, seed)
    if config.rows.checkpointing:
        use_checkpointing(model)
    shard(model)
    folder = StageFolder(
        output,
        "sft",
        {**to_dict(config), "seed": seed, **model_config.recorded},
        inputs,
        config.resume.save_seconds,
        config.resume.keep_checkpoints,
    )
    updater = Updater(
        model, lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay, grad_clip=config.optimizer.grad_clip
    )

    step = 0
    if (point := folder.load()) is not None:
        updater.restore(point[0])
        step, loss_before = int(point[1]["step"]), point[1]["loss_before"]
    else:
        loss_before = mean_loss(model, held_rows) if held else None
    warmup = round(config.optimizer.warmup_fraction * len(batches))
    evaluated = evenly_spaced(len(batches), config.evals) if held else set()
    tokens, began = 0, time.monotonic()
    with folder.resumable(lambda: (updater.state(), {"step": step, "loss_before": loss_before})):
        with progress("sft", len(batches), start=step) as bar, MetricsLog(folder.path, "step", step + 1) as log:
            while step < len(batches):
                batch = [trees[i] for i in batches[step]]
                rows = rows_of(batch, config.rows.row_tokens)
                targets = sum(len(row.targets) for row in rows)
                total = 0.0
                for row, weight in parallel.share(rows):
                    parallel.halt()
                    logprobs, _ = response_logprobs(model, to_device(row, device), entropy=False)
                    loss = -weight * logprobs.sum() / targets
                    loss.backward()  # type: ignore[no-untyped-call]
                    updater.gather()
                    total += float(loss.detach())
                (total,) = parallel.add(total)
                share = cosine(step, len(batches), warmup, config.optimizer.final_lr_fraction)
                norm = updater.step(share)
                tokens += sum(t.size for t in batch)
                metrics = {
                    "loss": total,
                    "lr": config.optimizer.lr * share,
                    "grad_norm": norm,
                    "tokens": sum(t.size for t in batch),
                }
                speed = tokens / (time.monotonic() - began)
                step += 1
                if step in evaluated:
                    with stopping.held():  # a point of this step must have its line
                        metrics["eval_loss"] = mean_loss(model, held_rows)
                log.write(step, metrics, {"tokens_per_second": speed})
                bar.update(step, loss=total, tok_s=round(speed))
                if step < len(batches) and folder.save_is_due:
                    folder.save(updater.state(), {"step": step, "loss_before": loss_before})
            settle(model, folder.path, base)
            loss_after = mean_loss(model, held_rows) if held else None
            if loss_before is not None and loss_after is not None:
                log.write(len(batches) + 1, {"eval_loss": loss_after, "eval_loss_before": loss_before})
        save_model(merged(model), tokenizer, folder.path)
        result: dict[str, Any] = {
            "eval_loss_before": None if loss_before is None else round(loss_before, 4),
            "eval_loss": None if loss_after is None else round(loss_after, 4),
            "demonstrations": len(demonstrations) - skipped,
            **({} if len(trees) == len(demonstrations) - skipped else {"rows": len(trees)}),
            "skipped_long": skipped,
            **({"date": f"{DAY:%Y-%m-%d}"} if template.dated else {}),
            "held_out": len(held),
            "steps": len(batches),
            "tokens_per_second": round(tokens / max(1e-9, time.monotonic() - began)) if tokens else None,
        }
        notes = [f"{text} ({n} times)" for text, n in said.items()]
        result["cautions"] = notes + cautions(len(batches), folder.path, before=loss_before, after=loss_after)
        folder.finish(result)
    return result
