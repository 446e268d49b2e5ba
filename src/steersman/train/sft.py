"""Supervised fine-tuning: the loss is on the assistant's words, dialogues are packed into rows.

demonstrations -> render (ids and mask) -> shuffled batches of a token budget -> packed rows
-> mean -log p over the batch's target tokens -> AdamW under a cosine schedule
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman import stopping
from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig, SftConfig
from steersman.distributed import parallel
from steersman.families.outputs import response_logprobs
from steersman.progress import activity, note, picture
from steersman.text.length import without_middle
from steersman.text.lesson import examine, shown
from steersman.text.template import DAY, Rendered, Template
from steersman.text.unknown import unknown_said
from steersman.train.cautions import cautions
from steersman.train.order import evenly_spaced, plan_batches, shuffled
from steersman.train.session import Origin, Steps, opened, trainable
from steersman.train.update import Updater
from steersman.types import Conversation
from steersman.weights.folders import check_folder, load_causal, load_tokenizer
from steersman.weights.lora import settle

LONGER = "dialogues longer than a row (sft.row_tokens) left out"
LEFT_OUT = "exchanges left out of dialogues longer than a row, but for the first and the newest"


def to_trees(
    template: Template, demonstrations: Sequence[Conversation], row_tokens: int, long_dialogues: str
) -> tuple[list[Tree], int]:
    """(rendered dialogues that fit into rows, number skipped). Raises ValueError naming a dialogue that is too long.

    A dialogue becomes several trees where its template renders earlier turns differently once more turns follow.
    """
    trees, skipped, untaught = [], 0, 0
    for conversation in demonstrations:
        if conversation.messages[-1].role != "assistant":
            raise ValueError(f"demonstration '{conversation.id}': ends with the user; expected an answer to learn from")
        rows = template.examples(conversation)
        untaught += not rows
        longest = _longest(rows)
        if longest > row_tokens and long_dialogues == "error":
            raise ValueError(
                f"demonstration '{conversation.id}': {longest} tokens; expected at most sft.row_tokens = "
                f"{row_tokens}; raise it, or set sft.long_dialogues to skip, keep_end or keep_turns"
            )
        if longest > row_tokens and long_dialogues == "keep_turns":
            shorter = without_middle(conversation, lambda c: _longest(template.examples(c)) <= row_tokens)
            rows = () if shorter is None else template.examples(shorter)
            longest = _longest(rows) if rows else longest
            template.notes[LEFT_OUT] = template.notes.get(LEFT_OUT, 0) + bool(rows)
        if longest > row_tokens and long_dialogues in ("skip", "keep_turns"):
            skipped += 1
            template.notes[LONGER] = skipped
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


def _longest(rows: Sequence[Rendered]) -> int:
    return max((len(row.ids) for row in rows), default=0)


def tell(base: Path, template: Template, record: Conversation) -> None:
    """Print which tokens will be learned, where the model will stop, and the first record."""
    lesson = examine(base, template, record)
    for level, what, found, advice in lesson.found:
        note(f"sft: {'caution: ' if level != 'ok' else ''}{what}: {found}{f'; {advice}' if advice else ''}")
    picture(shown(template, lesson))


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
    chosen = set(shuffled(len(demonstrations), f"{seed}/sft/held")[:held])
    train = [c for i, c in enumerate(demonstrations) if i not in chosen]
    return train, [demonstrations[i] for i in sorted(chosen)]


def batches_of(trees: Sequence[Tree], config: SftConfig, seed: int) -> list[list[int]]:
    """Numbers of the trees of each optimizer step: as many as its tokens allow."""
    return plan_batches([tree.size for tree in trees], config.rows.batch_tokens, config.epochs, f"{seed}/sft")


@dataclass(frozen=True)
class Lessons:
    """Demonstrations as tokens: the trees of each optimizer step, and the held-out ones."""

    trees: list[Tree]
    batches: list[list[int]]
    """Numbers of the trees of each optimizer step."""
    held: list[Tree]
    skipped: int
    """Dialogues that were too long."""
    said: list[str]
    """What the template changed or dropped."""

    @property
    def sizes(self) -> list[int]:
        return [tree.size for tree in self.trees]

    def rows(self, step: int, row_tokens: int) -> list[Row]:
        return rows_of([self.trees[i] for i in self.batches[step]], row_tokens)

    def tokens(self, step: int) -> int:
        return sum(self.trees[i].size for i in self.batches[step])


def prepare(
    template: Template,
    demonstrations: Sequence[Conversation],
    validation: Sequence[Conversation],
    origin: Origin[SftConfig],
) -> Lessons:
    """Render and order what is learned. Raises ValueError where there is nothing to learn from."""
    config = origin.config
    trees, skipped = to_trees(template, demonstrations, config.rows.row_tokens, config.rows.long_dialogues)
    batches = batches_of(trees, config, origin.seed)
    said = template.notes.copy()  # without the counts of the held-out dialogues
    count = len(validation)
    looked = sorted(shuffled(count, f"{origin.seed}/sft/looked")[: config.eval_dialogues])
    validation = [validation[i] for i in looked]
    held, _ = to_trees(template, validation, config.rows.row_tokens, "keep_end") if validation else ([], 0)
    notes = [f"{text} ({n} times)" for text, n in said.items()]
    if lacking := unknown_said(template.tokenizer, (tree.trunk for tree in trees)):
        note(f"sft: caution: {lacking}")
        notes.append(lacking)
    if len(looked) < count:
        notes.append(f"held-out loss of {len(looked)} of {count} dialogues (sft.eval_dialogues)")
    return Lessons(trees, batches, held, skipped, notes)


def learn(model: Any, updater: Updater, rows: Sequence[Row]) -> float:
    """Gather the gradients of one step's rows; returns its loss in nats per target token."""
    total, targets = 0.0, sum(len(row.targets) for row in rows)
    for row, weight in parallel.share(rows):
        parallel.halt()
        logprobs, _ = response_logprobs(model, to_device(row, model.device), entropy=False)
        loss = -weight * logprobs.sum() / targets
        loss.backward()  # type: ignore[no-untyped-call]
        updater.gather()
        total += float(loss.detach())
    return sum(parallel.add(total))


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
    origin = Origin("sft", output, config, model_config, seed, inputs)
    if not validation:
        demonstrations, validation = split_validation(demonstrations, config.eval_fraction, seed)
    check_folder(base)
    tokenizer = load_tokenizer(base, model_config.template)
    template = Template(tokenizer, model_config.thinking, today=False)
    lessons = prepare(template, demonstrations, validation, origin)
    if parallel.is_first():
        tell(base, template, demonstrations[0])
    held = rows_of(lessons.held, config.rows.row_tokens)
    total = len(lessons.batches)
    evaluated = evenly_spaced(total, config.evals) if held else set()

    with opened(origin, base, lessons.sizes, lambda: trainable(load_causal, base, origin, seed)) as session:
        model, steps = session.model, Steps(session, total, stop_after=config.stop_after)
        if "loss_before" not in steps.kept:
            steps.kept["loss_before"] = mean_loss(model, held) if held else None
        for step in steps:
            loss = learn(model, steps.updater, lessons.rows(step, config.rows.row_tokens))
            norm, rate = steps.update()
            tokens = lessons.tokens(step)
            metrics = {"loss": loss, "lr": rate, "grad_norm": norm, "tokens": tokens}
            if steps.done in evaluated:
                with stopping.held():  # a point of this step must have its line
                    metrics["eval_loss"] = mean_loss(model, held)
            speed = session.speed(tokens)
            session.write(steps.done, metrics, {"tokens_per_second": speed}, loss=loss, tok_s=round(speed))
        settle(model, session.path, base)
        before, after = steps.kept["loss_before"], mean_loss(model, held) if held else None
        if before is not None and after is not None:
            session.write(steps.done + 1, {"eval_loss": after, "eval_loss_before": before})
        session.save(model, tokenizer)
        learned = len(demonstrations) - lessons.skipped
        return session.finish(
            {
                "eval_loss_before": None if before is None else round(before, 4),
                "eval_loss": None if after is None else round(after, 4),
                "demonstrations": learned,
                **({} if len(lessons.trees) == learned else {"rows": len(lessons.trees)}),
                "skipped_long": lessons.skipped,
                **({"date": f"{DAY:%Y-%m-%d}"} if template.dated else {}),
                "held_out": len(lessons.held),
                "steps": steps.done,
                **({"planned_steps": total} if steps.done < total else {}),
                "tokens_per_second": session.mean_speed(),
                "cautions": [*lessons.said, *cautions(steps.done, session.path, before=before, after=after)],
            }
        )
