"""Samples: several answers of a model to each of the prompts that people rank answers of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steersman.artifact.manifest import identity, verify
from steersman.artifact.workspace import Workspace
from steersman.config import Config, SampleConfig
from steersman.rounds import registry
from steersman.rounds.inputs import Dialogues, Found, Model
from steersman.rounds.opened import SERVED, opened
from steersman.rounds.registry import Metrics, Stage, Task
from steersman.rounds.telling import cautions
from steersman.rounds.verb_options import DATA, MODEL

PROMPTS = Dialogues("prompts", DATA, "prompts", "train", purpose="rank", demanded="prompts to rank answers of")


def answering(config: Config) -> str:
    """The model whose answers are ranked. ValueError where `sample.model` is none."""
    known = ["base", *(stage.name for stage in registry.models())]
    name = config.sample.model
    if name != "base" and not (registry.is_stage(name) and registry.get(name).maker):
        raise ValueError(f"sample.model: expected one of {', '.join(known)}, got '{name}'")
    return name


@dataclass(frozen=True)
class Answering(Model):
    """The model whose answers are ranked; in a round of `steersman round` the served one, unless another is named."""

    def of_round(self, space: Workspace) -> Found:
        if opened(space) is None or space.config.sample.model != SampleConfig().model:
            return super().of_round(space)
        entry = next(reversed(space.history()), None)
        if entry is None:
            return super().of_round(space)
        folder = space.root / entry["path"]
        return Found({SERVED: identity(verify(folder))}, lambda: folder, f"{entry['round']:03d}/{entry['stage']}")


def run(task: Task) -> Any:
    from steersman.train import sample

    prompts = task.values["prompts"][: task.config.sample.prompts or None]
    return sample.run(model=task.values["model"], version=task.version, prompts=prompts, **task.common)


def tell(metrics: Metrics) -> str:
    return "\n".join([f"{metrics['answers']} answers to each of {metrics['prompts']} prompts", *cautions(metrics)])


def wanted(space: Workspace) -> bool:
    """Whether the round has prompts to answer for ranking; with imported rankings only it needs none."""
    from steersman.data.dataset import find

    return bool(PROMPTS.paths(space)) and not find(space, "rankings", "train")


def todo(space: Workspace, _round: int) -> str | None:
    """The verb to run; None where imported rankings suffice."""
    from steersman.data.dataset import find

    return None if find(space, "rankings", "train") else "steersman sample"


def fill(space: Workspace) -> None:
    """Make the round's samples ranking tasks in the store."""
    from steersman.rounds.judging import fill_store
    from steersman.store import Store

    with Store.open(space.store) as store:
        fill_store(space, store, space.round)


STAGE = Stage(
    name="samples",
    verb="sample",
    section="sample",
    title="samples",
    summary="Let the fine-tuned model answer each ranking prompt K times.",
    examples=(
        "steersman sample",
        "steersman sample --model out/sft --data FILE --output out/samples -s sample.answers=8",
    ),
    parents=("sft",),
    sources=(PROMPTS, Answering("model", MODEL, answering)),
    run=run,
    tell=tell,
    in_loop=True,
    wanted=wanted,
    todo=todo,
    after=fill,
)
