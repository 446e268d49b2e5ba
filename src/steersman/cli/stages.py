"""`steersman sft | sample | reward | ppo | eval | report | run`: the loop, inside a workspace or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import config as configs
from steersman.artifact.workspace import POLICIES, Workspace
from steersman.cli import loop
from steersman.cli.framework import (
    STAGES,
    FreshOption,
    JsonOption,
    SetOption,
    WaitOption,
    WorkspaceOption,
    add,
    emit,
    open_workspace,
    say,
)
from steersman.cli.making import Metrics
from steersman.cli.processes import ProcessesOption, spread
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


def sft(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Fine-tune the base model on demonstrations, with the loss on the assistant's words only."""
    spread(processes)
    if given := alone(settings, model=model, data=data, output=output):
        from steersman.distributed import parallel
        from steersman.train import sft as stage

        config, folder = given
        files = Files(config, encoding)
        base = resolved(model)
        metrics: Metrics = parallel.everywhere(
            stage.run,
            base=base,
            demonstrations=files.dialogues(data, "demonstrations"),
            validation=[],
            output=folder,
            config=config.sft,
            model_config=config.model,
            seed=config.project.seed,
            inputs=hashes(data, base=base),
        )
        metrics, made = files.record(folder, metrics), True
    else:
        space = open_workspace(workspace, settings).pin()
        folder = space.stage_dir("sft")
        metrics, made = loop.do_sft(space)
    tell(as_json, "sft", folder, metrics, made, sft_text(metrics))


def sft_text(metrics: Metrics) -> str:
    loss = "no held-out demonstrations, so no held-out loss"
    if metrics["held_out"]:
        loss = f"held-out loss {metrics['eval_loss_before']:.3f} -> {metrics['eval_loss']:.3f} nats per token"
    text = f"{loss}, {metrics['demonstrations']} demonstrations, {metrics['steps']} steps"
    return "\n".join([text, *cautions_of(metrics)])


def cautions_of(metrics: Metrics) -> list[str]:
    """Lines on what a reader must know beside a stage's numbers."""
    return [f"caution: {text}" for text in metrics.get("cautions", ())]


def sample(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Let the fine-tuned model answer each ranking prompt K times."""
    if given := alone(settings, model=model, data=data, output=output):
        from steersman.train import sample as stage

        config, folder = given
        files = Files(config, encoding)
        start = resolved(model)
        metrics: Metrics = stage.run(
            model=start,
            version=start.name,
            prompts=files.dialogues(data, "prompts")[: config.sample.prompts or None],
            output=folder,
            config=config.sample,
            model_config=config.model,
            seed=config.project.seed,
            inputs=hashes(data, model=start),
        )
        metrics, made = files.record(folder, metrics), True
    else:
        space = open_workspace(workspace, settings).pin()
        folder = space.stage_dir("samples")
        metrics, made = loop.do_sample(space)
    text = "\n".join([f"{metrics['answers']} answers to each of {metrics['prompts']} prompts", *cautions_of(metrics)])
    tell(as_json, "sample", folder, metrics, made, text)


def reward(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelOption = "",
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    demonstrations: Annotated[
        list[Path] | None,
        typer.Option("--demonstrations", help="Without a workspace: files that set the zero of the scale."),
    ] = None,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Learn a reward model from the rankings."""
    spread(processes)
    if given := alone(settings, model=model, data=data, output=output):
        from steersman.distributed import parallel
        from steersman.train import reward as stage

        config, folder = given
        files = Files(config, encoding)
        base = resolved(model)
        metrics: Metrics = parallel.everywhere(
            stage.run,
            base=base,
            rankings=files.rankings(data),
            demonstrations=files.dialogues(demonstrations, "demonstrations")[:200],
            output=folder,
            config=config.reward,
            model_config=config.model,
            seed=config.project.seed,
            inputs=hashes([*(data or ()), *(demonstrations or ())], sft=base),
        )
        metrics, made = files.record(folder, metrics), True
    else:
        space = open_workspace(workspace, settings).pin()
        folder = space.stage_dir("reward")
        metrics, made = loop.do_reward(space)
    tell(as_json, "reward", folder, metrics, made, reward_text(metrics))


def reward_text(metrics: Metrics) -> str:
    def percent(i: Metrics) -> str:
        if i["low"] is None or i["high"] is None:  # a single prompt says nothing of the spread between prompts
            return f"{100 * i['value']:.1f} % [too few prompts for an interval]"
        return f"{100 * i['value']:.1f} % [{100 * i['low']:.1f}, {100 * i['high']:.1f}]"

    def held_out(report: Metrics) -> str:
        return (
            f"held-out accuracy {percent(report['accuracy'])} over {report['n_pairs']} pairs of {report['n_prompts']} "
            f"prompts; 'the longer answer wins' {percent(report['length_baseline'])}"
        )

    lines = [held_out(metrics)]
    lines += [
        f"{name} (weight {of['weight']:g}): {held_out(of)}; the heads' weighted sum {percent(of['sum'])}"
        for name, of in metrics.get("objectives", {}).items()
    ]
    if "accuracies" in metrics:
        each = ", ".join(f"{100 * a:.1f}" for a in metrics["accuracies"])
        lines.append(f"members {each} %, the mean of their scores {100 * metrics['ensemble_accuracy']:.1f} %")
    if metrics.get("simulated"):
        lines.append(f"note: {metrics['simulated']} rankings are simulated by a rule judge, not made by people")
    lead = metrics["lead_over_length"]["low"]
    if lead is None or lead <= 0:
        lines.append("caution: not shown to be better than length alone; more or cleaner rankings are needed")
    return "\n".join([*lines, *cautions_of(metrics)])


RewardModelOption = Annotated[str, typer.Option("--reward", help="Without a workspace: folder of the reward model.")]
HeldOutOption = Annotated[
    list[Path] | None, typer.Option("--held-out", help="Without a workspace: prompts that choose the checkpoint.")
]
PtxOption = Annotated[
    list[Path] | None, typer.Option("--demonstrations", help="Without a workspace: for ppo.ptx_coef.")
]


def ppo(
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
    """Improve the model against the reward model, under a KL price to the fine-tuned model."""
    spread(processes)
    optimise(
        "policy", workspace, settings, as_json, model, data, output, reward_model, held_out, demonstrations, encoding
    )


def optimise(
    stage_name: str,
    workspace: Path | None,
    settings: list[str] | None,
    as_json: bool,
    model: str,
    data: list[Path] | None,
    output: Path | None,
    reward_model: str,
    held_out: list[Path] | None,
    demonstrations: list[Path] | None,
    encoding: str,
) -> None:
    """PPO, or the same loop without a critic where `stage_name` is grpo or rloo."""
    needed = {"model": model, "data": data, "output": output, "reward": reward_model, "held-out": held_out}
    if given := alone(settings, **needed):
        from steersman.distributed import parallel
        from steersman.train import ppo as stage

        config, folder = given
        files = Files(config, encoding)
        start, scorer = resolved(model), resolved(reward_model)
        metrics: Metrics = parallel.everywhere(
            stage.run,
            material=stage.Material(
                start,
                scorer,
                files.dialogues(data, "prompts"),
                files.dialogues(held_out, "prompts"),
                files.dialogues(demonstrations, "demonstrations"),
            ),
            output=folder,
            config=configs.of_stage(config, stage_name),
            model_config=config.model,
            seed=config.project.seed,
            inputs=hashes([*(data or ()), *(held_out or ())], sft=start, reward=scorer),
            stage=stage_name,
        )
        metrics, made = files.record(folder, metrics), True
    else:
        space = open_workspace(workspace, settings).pin()
        folder = space.stage_dir(stage_name)
        metrics, made = loop.do_ppo(space, stage_name)
    tell(as_json, POLICIES[stage_name].lower(), folder, metrics, made, ppo_text(metrics))


def ppo_text(metrics: Metrics) -> str:
    best = metrics["best"]
    lines = [
        f"kept iteration {best['iteration']} of {metrics['iterations']}: held-out reward {best['eval_reward']:.2f}"
        f" at {best['eval_kl']:.1f} nats per answer"
    ]
    if start := metrics.get("start"):
        off = (
            ("ratio_error", "the first ratio off 1 by"),
            ("kl_error", "KL off 0 by"),
            ("engine_error", "engine off by"),
        )
        lines.append("at the start: " + ", ".join(f"{text} {start[name]:.2g}" for name, text in off if name in start))
    lines += [f"warning: {text}" for text in metrics.get("warnings", {}).values()]
    return "\n".join([*lines, *([metrics["stopped"]] if metrics["stopped"] else []), *cautions_of(metrics)])


def evaluate(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Without a workspace: NAME=FOLDER, weakest first; base, sft and policy are known names."
        ),
    ] = None,
    data: DataOption = None,
    output: OutputOption = None,
    encoding: EncodingOption = "auto",
    reward_model: Annotated[str, typer.Option("--reward", help="Without a workspace: a reward model, optional.")] = "",
    trained_on: Annotated[
        list[Path] | None,
        typer.Option("--trained-on", help="Without a workspace: files that the models learned from."),
    ] = None,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Compare base, SFT and PPO on held-out prompts and say whether it helped."""
    if given := alone(settings, model=model, data=data, output=output):
        from steersman.cli.evidence import cautions_alone
        from steersman.eval import run as evaluation

        config, folder = given
        files = Files(config, encoding)
        named = dict(_named(text) for text in model or ())
        if len(named) < len(model or ()):
            raise ValueError(f"--model {' --model '.join(model or ())}: expected each name once")
        models = {name: (name, resolved(path)) for name, path in named.items()}
        scorer = resolved(reward_model) if reward_model else None
        prompts = files.dialogues(data, "prompts")
        evaluation.run(
            models=models,
            prompts=prompts,
            output=folder,
            reward=scorer,
            config=config,
            inputs=hashes(data, **{name: path for name, (_, path) in models.items()}),
            about=evaluation.About(dict(named), cautions=cautions_alone(prompts, trained_on or ())),
        )
        files.record(folder, {})
        made = True
    else:
        space = open_workspace(workspace, settings).pin()
        config, folder = space.config, space.stage_dir("report")
        _, made = loop.do_eval(space)
    show_verdict(as_json, folder, config, made)


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"--model {text}: expected NAME=FOLDER, such as sft=out/sft")
    return name, path


def show_verdict(as_json: bool, folder: Path, config: configs.Config, made: bool) -> None:
    """The verdict as text, and where the report lies."""
    from steersman.eval import run as evaluation
    from steersman.eval.verdict import plain

    result, *_ = evaluation.read(folder, config)
    language = "zh" if config.project.language == "zh" else "en"
    text = f"{plain(result, language)}\nreport: {folder / evaluation.REPORT}"
    emit(as_json, {"stage": "eval", "path": str(folder), "made": made, "verdict": result.to_json()}, text)


def report(workspace: WorkspaceOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Show the round's verdict again and where its report lies; draws the report anew if it is gone."""
    space = open_workspace(workspace, settings).pin()
    folder = space.stage_dir("report")
    if not space.has("report"):
        raise ValueError(f"{folder}: no report of this round yet; make it with: steersman eval")
    from steersman.eval import run as evaluation

    if not (folder / evaluation.REPORT).is_file():
        evaluation.draw(folder, space.config)
    show_verdict(as_json, folder, space.config, made=False)


def run(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Where nobody has ranked, let the domain's rule judge do it.")
    ] = False,
    processes: ProcessesOption = 1,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Do all that is missing, in order: sft, sample, (rank), reward, ppo, eval."""
    spread(processes)
    space = open_workspace(workspace, settings).pin()
    run_all(space, simulated)
    show_verdict(as_json, space.stage_dir("report"), space.config, made=True)


def run_all(space: Workspace, simulated: bool) -> None:
    """Every stage of the round that is missing or stale. Stops with advice where people must rank first."""
    metrics, _ = loop.do_sft(space)
    say(f"sft: {sft_text(metrics)}")
    if loop.has_sampling(space):
        loop.do_sample(space)
        if simulated:
            loop.rank_simulated(space)
    metrics, _ = loop.do_reward(space)
    say(f"reward: {reward_text(metrics)}")
    metrics, _ = loop.do_ppo(space)
    say(f"ppo: {ppo_text(metrics)}")
    loop.do_eval(space)


def register(app: typer.Typer) -> None:
    def put(verb: Any, *examples: str, name: str | None = None) -> None:
        add(app, verb, panel=STAGES, examples=examples, name=name, slow=verb is not report)

    alone = "--data FILE --output out"
    put(sft, "steersman sft", "steersman sft -s sft.epochs=1", f"steersman sft --model smollm2-135m {alone}/sft")
    put(sample, "steersman sample", f"steersman sample --model out/sft {alone}/samples -s sample.answers=8")
    put(reward, "steersman reward", f"steersman reward --model out/sft {alone}/reward")
    put(
        ppo,
        "steersman ppo",
        "steersman ppo -s ppo.kl.coef=0.1",
        f"steersman ppo --model out/sft --reward out/reward {alone}/policy --held-out FILE",
    )
    put(
        evaluate,
        "steersman eval",
        f"steersman eval --model sft=out/sft --model policy=out/policy {alone}/report",
        name="eval",
    )
    put(report, "steersman report", "steersman report --json")
    put(run, "steersman run --simulated", "steersman run -w my-assistant")
