"""SFT: the base model fine-tuned on demonstrations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steersman.artifact.manifest import MANIFEST_NAME, finish, read_manifest, write_manifest
from steersman.artifact.names import METRICS
from steersman.artifact.workspace import Workspace, link
from steersman.eval.maker import Maker
from steersman.rounds.inputs import Beginning, Dialogues, Found, gathered
from steersman.rounds.registry import Metrics, Searched, Stage, Task
from steersman.rounds.telling import cautions
from steersman.rounds.verb_options import DATA, MODEL

if TYPE_CHECKING:
    from steersman.text.template import Template
    from steersman.types import Conversation

NOT_KEPT = (MANIFEST_NAME, METRICS)


@dataclass(frozen=True)
class Shown(Dialogues):
    """Demonstrations; none in a round of `steersman round` in which nobody wrote a new one."""

    def of_round(self, space: Workspace) -> Found:
        found, folder = super().of_round(space), gathered(space)
        made = read_manifest(folder).metrics["made"][self.name] if folder else None
        return Found(found.hashes, list) if made and not made["new"] else found


TRAINING = Shown("demonstrations", DATA, "demonstrations", "train", demanded="demonstrations")


def run(task: Task) -> Any:
    from steersman.distributed import parallel
    from steersman.train import sft

    if not task.values["demonstrations"]:
        return keep(task)
    return parallel.everywhere(sft.run, **task.values, **task.common)


def keep(task: Task) -> None:
    """In a round in which nobody wrote an answer, the model that it starts from stays as it is."""
    if not (task.values["base"] / MANIFEST_NAME).is_file():
        raise ValueError("no demonstrations, and a base model is no assistant yet; expected some: data import FILE")
    partial = task.output.with_name(f"{task.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(task.values["base"], partial, copy_function=link, ignore=shutil.ignore_patterns(".*", *NOT_KEPT))
    metrics = {"kept": "base", "demonstrations": 0}
    write_manifest(partial, task.stage.name, task.stage.recorded(task.config), task.inputs, metrics)
    finish(partial, task.output)


def tell(metrics: Metrics) -> str:
    if metrics.get("kept"):
        return "no demonstrations: the model that the round starts from stays as it is"
    loss = "no held-out demonstrations, so no held-out loss"
    if metrics["held_out"]:
        loss = f"held-out loss {metrics['eval_loss_before']:.3f} -> {metrics['eval_loss']:.3f} nats per token"
    text = f"{loss}, {metrics['demonstrations']} demonstrations, {metrics['steps']} steps"
    if planned := metrics.get("planned_steps"):
        text += f"\nended after {metrics['steps']} of {planned} planned steps (sft.stop_after)"
    return "\n".join([text, *cautions(metrics)])


def sizes(space: Workspace, template: Template) -> tuple[list[Conversation], Callable[[Conversation], int]]:
    from steersman.data.dataset import load_conversations

    records = [
        c
        for path in TRAINING.paths(space)
        for c in load_conversations(path, TRAINING.kind, space.config.data.max_line_mb)
    ]
    return records, lambda c: len(max((r.ids for r in template.examples(c)), key=len, default=()))


STAGE = Stage(
    name="sft",
    verb="sft",
    section="sft",
    title="SFT",
    summary="Fine-tune the base model on demonstrations, with the loss on the assistant's words only.",
    examples=(
        "steersman sft",
        "steersman sft -s sft.epochs=1",
        "steersman sft --model smollm2-135m --data FILE --output out/sft",
    ),
    parents=(),
    sources=(TRAINING, Dialogues("validation", None, "demonstrations", "validation"), Beginning("base", MODEL)),
    run=run,
    tell=tell,
    in_loop=True,
    processes=True,
    maker=Maker("SFT", "", ("base", "served")),
    search=Searched({"eval_loss": "minimize"}, judging=("eval_fraction", "row_tokens")),
    sizes=sizes,
    reported=("epochs", "lr", "batch_tokens", "train_layers", "lora_rank"),
    curves=True,
)
