"""The reward model: learned from the rankings, starting from the SFT model."""

from __future__ import annotations

from typing import Any

from steersman.rounds.inputs import Dialogues, Model, Option, Rankings
from steersman.rounds.lengths import of_rankings
from steersman.rounds.registry import Searched, Stage, Task
from steersman.rounds.telling import accuracy
from steersman.rounds.verb_options import DATA, MODEL

ZERO = Option("--demonstrations", "Without a workspace: files that set the zero of the scale.")
FEW = 200
"""Number of demonstrations that set the zero of the scale."""


def run(task: Task) -> Any:
    from steersman.distributed import parallel
    from steersman.train import reward

    values = task.values
    return parallel.everywhere(
        reward.run,
        base=values["sft"],
        rankings=values["rankings"],
        demonstrations=values["demonstrations"][:FEW],
        **task.common,
    )


STAGE = Stage(
    name="reward",
    verb="reward",
    section="reward",
    title="reward model",
    summary="Learn a reward model from the rankings.",
    examples=("steersman reward", "steersman reward --model out/sft --data FILE --output out/reward"),
    parents=("sft", "rankings"),
    sources=(
        Model("sft", MODEL),
        Rankings("rankings", DATA),
        Dialogues("demonstrations", ZERO, "demonstrations", "validation", otherwise="train"),
    ),
    run=run,
    tell=accuracy,
    in_loop=True,
    processes=True,
    search=Searched(
        {"eval_accuracy": "maximize", "eval_loss": "minimize"},
        judging=("holdout_fraction",),
        fixed={"validator": False},  # a trial is about the first model; the validator would cost as much again
    ),
    sizes=of_rankings,
    reported=("epochs", "lr", "batch_prompts", "train_layers", "lora_rank"),
    curves=True,
    reads=("rank",),
)
