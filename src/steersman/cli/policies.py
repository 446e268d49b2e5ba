"""`steersman dpo | kto | grpo | rloo`: other ways from the SFT model to a policy than PPO, to be compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steersman import config as configs
from steersman.cli import loop, stages
from steersman.cli.framework import (
    STAGES,
    FreshOption,
    JsonOption,
    SetOption,
    WaitOption,
    WorkspaceOption,
    add,
    open_workspace,
)
from steersman.cli.making import Metrics
from steersman.cli.processes import ProcessesOption, spread
from steersman.cli.stages import HeldOutOption, PtxOption, RewardModelOption
from steersman.cli.standalone import (
    DataOption,
    EncodingOption,
    Files,
    ModelOption,
    OutputOption,
    alone,
    hashes,
    resolved,
    tell,
)
from steersman.data.kinds import JUDGED

FeedbackOption = Annotated[
    list[Path] | None,
    typer.Option("--feedback", help="Without a workspace: answers that were liked or not: exports, or public forms."),
]


def dpo(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    feedback: FeedbackOption = None,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Improve the model on the rankings directly, without a reward model (DPO).

    Learns from every pair of answers that people ranked, and from answers that they edited.
    """
    spread(processes)
    _learn("dpo", workspace, settings, as_json, model, data, output, feedback, encoding)


def kto(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    feedback: FeedbackOption = None,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Improve the model on what people liked and disliked (KTO).

    Liked and well graded answers are desirable, disliked and poor ones undesirable; of ranked answers those are
    desirable that beat more of the others than they lose to.
    """
    spread(processes)
    _learn("kto", workspace, settings, as_json, model, data, output, feedback, encoding)


def _learn(
    stage: str,
    workspace: Path | None,
    settings: list[str] | None,
    as_json: bool,
    model: str,
    data: list[Path] | None,
    output: Path | None,
    feedback: list[Path] | None,
    encoding: str,
) -> None:
    if given := alone(settings, model=model, data=[*(data or ()), *(feedback or ())], output=output):
        from steersman.distributed import parallel
        from steersman.train import preference

        config, folder = given
        base = resolved(model)
        files = Files(config, encoding)
        rankings = files.judged(data, JUDGED) if stage == "kto" else files.rankings(data)
        rankings += files.judged(feedback, "feedback")
        metrics: Metrics = parallel.everywhere(
            preference.run,
            base=base,
            rankings=rankings,
            output=folder,
            config=configs.of_stage(config, stage),
            model_config=config.model,
            seed=config.project.seed,
            inputs=hashes([*(data or ()), *(feedback or ())], sft=base),
        )
        metrics, made = files.record(folder, metrics), True
    else:
        space = open_workspace(workspace, settings).pin()
        folder = space.stage_dir(stage)
        metrics, made = loop.do_preference(space, stage)
    tell(as_json, stage, folder, metrics, made, preference_text(metrics))


def preference_text(metrics: Metrics) -> str:
    if metrics["accuracy"] is None:
        learned = f"learned from {metrics['n_train_prompts']} prompts; no ranked pairs to hold out"
        return "\n".join([learned, *stages.cautions_of(metrics)])
    return (
        f"{stages.reward_text(metrics)}\n"
        f"implicit reward of held-out winners {metrics['chosen']:+.3f}, of losers {metrics['rejected']:+.3f}"
    )


def grpo(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    reward_model: RewardModelOption = "",
    held_out: HeldOutOption = None,
    demonstrations: PtxOption = None,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """PPO without a critic: several answers per prompt, scores normalised among them (GRPO)."""
    spread(processes)
    stages.optimise(
        "grpo", workspace, settings, as_json, model, data, output, reward_model, held_out, demonstrations, encoding
    )


def rloo(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    reward_model: RewardModelOption = "",
    held_out: HeldOutOption = None,
    demonstrations: PtxOption = None,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """PPO without a critic: each answer's score against the mean of its prompt's others (RLOO)."""
    spread(processes)
    stages.optimise(
        "rloo", workspace, settings, as_json, model, data, output, reward_model, held_out, demonstrations, encoding
    )


def register(app: typer.Typer) -> None:
    for verb in (dpo, kto):
        name = verb.__name__
        alone = f"steersman {name} --model out/sft --data FILE --output out/{name}"
        add(
            app,
            verb,
            panel=STAGES,
            examples=[f"steersman {name}", f"steersman {name} -s {name}.beta=0.3", alone],
            slow=True,
        )
    for critic_free in (grpo, rloo):
        name = critic_free.__name__
        alone = f"--model out/sft --reward out/reward --data FILE --output out/{name} --held-out FILE"
        more = f"steersman {name} -s {name}.answers_per_prompt=8"
        add(
            app, critic_free, panel=STAGES, examples=[f"steersman {name}", more, f"steersman {name} {alone}"], slow=True
        )
