"""SFT: the base model fine-tuned on demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steersman.artifact.workspace import Workspace
from steersman.eval.maker import Maker
from steersman.rounds.inputs import Dialogues, Model
from steersman.rounds.registry import Metrics, Searched, Stage, Task
from steersman.rounds.telling import cautions
from steersman.rounds.verb_options import DATA, MODEL

if TYPE_CHECKING:
    from steersman.text.template import Template
    from steersman.types import Conversation

TRAINING = Dialogues("demonstrations", DATA, "demonstrations", "train", demanded="demonstrations")


def run(task: Task) -> Any:
    from steersman.distributed import parallel
    from steersman.train import sft

    return parallel.everywhere(sft.run, **task.values, **task.common)


def tell(metrics: Metrics) -> str:
    loss = "no held-out demonstrations, so no held-out loss"
    if metrics["held_out"]:
        loss = f"held-out loss {metrics['eval_loss_before']:.3f} -> {metrics['eval_loss']:.3f} nats per token"
    text = f"{loss}, {metrics['demonstrations']} demonstrations, {metrics['steps']} steps"
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
    sources=(TRAINING, Dialogues("validation", None, "demonstrations", "validation"), Model("base", MODEL)),
    run=run,
    tell=tell,
    in_loop=True,
    processes=True,
    maker=Maker("SFT", "", ("base",)),
    search=Searched({"eval_loss": "minimize"}, judging=("eval_fraction", "row_tokens")),
    sizes=sizes,
    reported=("epochs", "lr", "batch_tokens", "train_layers", "lora_rank"),
    curves=True,
)
