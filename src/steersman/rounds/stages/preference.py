"""DPO and KTO: the SFT model improved directly on people's preferences, without a reward model."""

from __future__ import annotations

from typing import Any

from steersman.eval.maker import Maker
from steersman.rounds.inputs import Feedback, Model, Rankings
from steersman.rounds.lengths import of_feedback
from steersman.rounds.registry import Metrics, Stage, Task
from steersman.rounds.telling import accuracy, cautions
from steersman.rounds.verb_options import DATA, FEEDBACK, MODEL


def run(task: Task) -> Any:
    from steersman.distributed import parallel
    from steersman.train import preference

    values = task.values
    said = [*values["rankings"], *values["feedback"]]
    return parallel.everywhere(preference.run, base=values["sft"], rankings=said, **task.common)


def tell(metrics: Metrics) -> str:
    if metrics["accuracy"] is None:
        learned = f"learned from {metrics['n_train_prompts']} prompts; no ranked pairs to hold out"
        return "\n".join([learned, *cautions(metrics)])
    return (
        f"{accuracy(metrics)}\n"
        f"implicit reward of held-out winners {metrics['chosen']:+.3f}, of losers {metrics['rejected']:+.3f}"
    )


def entry(name: str, title: str, summary: str, labelled: bool) -> Stage:
    """`labelled`: whether the stage learns from single liked or disliked answers as well as from pairs."""
    feedback = Feedback("feedback", FEEDBACK, labelled)
    data = DATA.unless(FEEDBACK)
    return Stage(
        name=name,
        verb=name,
        section=name,
        title=title,
        summary=summary,
        examples=(
            f"steersman {name}",
            f"steersman {name} -s {name}.beta=0.3",
            f"steersman {name} --model out/sft --data FILE --output out/{name}",
        ),
        parents=("sft", "rankings"),
        sources=(Model("sft", MODEL), Rankings("rankings", data, feedback.exists, labelled), feedback),
        run=run,
        tell=tell,
        processes=True,
        maker=Maker(title, "rankings"),
        sizes=of_feedback(labelled),
        reported=("epochs", "lr", "beta", "train_layers", "lora_rank"),
        curves=True,
        reads=("rank",),
    )


DPO = entry(
    "dpo",
    "DPO",
    "Improve the model on the rankings directly, without a reward model (DPO).\n\n"
    "Learns from every pair of answers that people ranked, and from answers that they edited.",
    labelled=False,
)
KTO = entry(
    "kto",
    "KTO",
    "Improve the model on what people liked and disliked (KTO).\n\n"
    "Liked and well graded answers are desirable, disliked and poor ones undesirable; of ranked answers those are "
    "desirable that beat more of the others than they lose to.",
    labelled=True,
)
