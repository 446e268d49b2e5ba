"""`steersman search`: find a stage's settings by trying them, judged by what the stage holds out of its training."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file, config_rewrite, installed
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import STAGES, Makes, add, say
from steersman.cli.processes import launched
from steersman.progress import metric_text
from steersman.rounds import registry, stage_settings
from steersman.rounds.registry import Searched, Stage
from steersman.rounds.stages.report import search_path

if TYPE_CHECKING:
    from steersman.rounds.study import Dimension

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def search(
    call: Makes,
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="A stage that holds something out, such as sft or ppo.")
    ],
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range", metavar="KEY=LOW:HIGH[:log]", help="Search a number between two bounds; may be repeated."
        ),
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option("--choice", metavar="KEY=A,B,...", help="Search among values; may be repeated."),
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trials in all, those of earlier calls included.")
    ] = 20,
    objective: Annotated[str, typer.Option("--objective", help="A held-out metric; default: the stage's first.")] = "",
    pruner: Annotated[str, typer.Option("--pruner", help="How hopeless trials end early: median, hyperband, none.")] = (
        "median"
    ),
    evals: Annotated[
        int, typer.Option("--evals", min=1, help="sft, reward: held-out evaluations per trial at which it may end.")
    ] = 8,
    name: Annotated[str, typer.Option("--name", help="A name, for a second search of the stage in this round.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Write the best settings into steersman.toml.")] = False,
) -> None:
    """Search a stage's settings with Optuna; bad trials end early, and a search that was stopped goes on.

    The judge is the stage's own held-out data; the test split is never read. The first trial takes the settings as
    they are, where they lie within what is searched. Models of trials are not kept.
    """
    study = _study()
    space = call.open().pin()
    entry, searched = searchable(stage)
    if unread := entry.unread(call.settings or ()):
        say(unread)
    objective = objective or next(iter(searched.objectives))
    for option, value, allowed in (("objective", objective, searched.objectives), ("pruner", pruner, study.PRUNERS)):
        if value not in allowed:
            raise ValueError(f"--{option} {value}: expected one of {', '.join(allowed)}")
    if name and not NAME.fullmatch(name):
        raise ValueError(f"--name {name}: expected letters, digits, '-', '_' and '.', beginning with a letter or digit")
    dimensions = tuple(read_dimensions(space.config, entry, ranges or [], choices or []))
    folder = (space.root / search_path(space, f"{entry.section}-{name}" if name else entry.section)).parent
    with study.Search(_watched(space, entry, evals), entry, dimensions, objective, pruner, folder) as found:
        result = found.run(trials)
    if result["best"] is None:
        raise ValueError(
            f"{folder}: none of {len(result['trials'])} trials came to its end; search lower learning rates"
        )
    if apply:
        stage_settings.write(space, entry.section, result["best"]["params"])
    call.emit(*_told(space, entry, result, folder, apply))


def _study() -> ModuleType:
    """The module that runs searches. ValueError under torchrun, and where Optuna is not installed."""
    if launched():
        raise ValueError("search: runs in one process; expected it to be started without torchrun")
    try:
        from steersman.rounds import study
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ValueError(f"search: needs Optuna; install it with {installed.command('search')}") from None
    return study


def _watched(space: Workspace, stage: Stage, evals: int) -> Workspace:
    """The workspace with `evals` held-out evaluations per trial, where the settings have none."""
    section = getattr(space.config, stage.section)
    if getattr(section, "evals", evals) != 0:
        return space
    watched = dataclasses.replace(space.config, **{stage.section: dataclasses.replace(section, evals=evals)})
    return dataclasses.replace(space, config=watched)


def _told(
    space: Workspace, stage: Stage, result: dict[str, Any], folder: Path, applied: bool
) -> tuple[dict[str, Any], str]:
    """The best settings as JSON, and for people."""
    lines = [f"{key} = {config_file.toml_text(value)}" for key, value in result["best"]["params"].items()]
    where = f"written to {space.root / CONFIG_NAME}:" if applied else f"for {CONFIG_NAME} (--apply writes it):"
    settings = [f"{stage.section}.{line}" for line in lines]
    data = {**result, "path": str(folder), "settings": settings, "applied": applied}
    written = config_rewrite.edited("", stage.section, result["best"]["params"]) or ""
    return data, "\n".join([*summed_up(stage, result), where, written.strip()])


def searchable(verb: str) -> tuple[Stage, Searched]:
    """The stage of that verb, and how its settings are judged. ValueError where they cannot be searched."""
    known = {stage.verb: (stage, stage.search) for stage in registry.stages() if stage.search is not None}
    if verb not in known:
        raise ValueError(f"search {verb}: expected one of {', '.join(known)}")
    return known[verb]


def summed_up(stage: Stage, result: dict[str, Any]) -> list[str]:
    """Lines on the best trial beside the present settings, with cautions."""
    best, now, objective = result["best"], result["configured"], result["objective"]
    values = [t["value"] for t in result["trials"] if t["state"] == "complete"]
    ended = sum(t["state"] == "pruned" for t in result["trials"])
    shown = metric_text({objective: best["value"], **best["metrics"]})
    out = [f"trial {best['number']} is the best of {len(values) + ended} ({ended} ended early): {shown}"]
    if now:
        out.append(
            "that is the settings as they are"
            if now["number"] == best["number"]
            else f"the settings as they are: {metric_text({objective: now['value'], **now['metrics']})}"
        )
    if len(values) > 1 and len(set(values)) == 1:
        out.append(f"caution: all trials that came to their end have this {objective}, so it says nothing for the best")
    keys, known = [d["key"] for d in result["space"]], stage.search.cautions if stage.search else {}
    return out + [f"caution: {text}" for start, text in known.items() if any(key.startswith(start) for key in keys)]


def read_dimensions(config: configs.Config, entry: Stage, ranges: list[str], choices: list[str]) -> list[Dimension]:
    """The dimensions that the options name, each value checked like one in the file."""
    from steersman.rounds import study

    assert entry.search is not None, entry.name
    stage = entry.section

    def value(key: str, text: str, option: str) -> Any:
        checked = config_file.from_dict({stage: config_file.below(key, config_file.toml_value(text))}, option, config)
        return configs.to_dict(getattr(checked, stage))[key]

    def split(option: str, text: str, form: str) -> tuple[str, str]:
        section, _, rest = text.partition(".")
        key, equals, values = rest.partition("=")
        if not equals or section.strip() != stage:
            raise ValueError(f"{option} {text}: expected {stage}.{form}")
        return configs.flat_name(getattr(config, stage), key.strip()), values

    out = []
    for text in ranges:
        key, bounds = split("--range", text, "KEY=LOW:HIGH or KEY=LOW:HIGH:log, such as lr=1e-5:1e-3:log")
        low, _, rest = bounds.partition(":")
        high, _, scale = rest.partition(":")
        ends = [value(key, end, "--range") for end in (low, high)]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if not numbers or ends[0] >= ends[1] or scale not in ("", "log") or (scale and ends[0] <= 0):
            raise ValueError(f"--range {text}: expected LOW:HIGH of a number, LOW the smaller one; above 0 with :log")
        out.append(study.Dimension(key, low=ends[0], high=ends[1], log=scale == "log"))
    for text in choices:
        key, values = split("--choice", text, "KEY=A,B,..., such as train_layers=0,10")
        out.append(study.Dimension(key, values=tuple(value(key, part, "--choice") for part in values.split(","))))
    keys = [d.key for d in out]
    if judging := [key for key in keys if key in entry.search.judging]:
        raise ValueError(f"search: {stage}.{judging[0]} changes what trials are judged by; expected other settings")
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"search: expected --range or --choice, each key of [{stage}] at most once; got {keys}")
    return out


def register(app: typer.Typer) -> None:
    examples = [
        "steersman search sft --range sft.optimizer.lr=1e-5:1e-3:log --choice sft.rows.batch_tokens=2048,4096",
        "steersman search ppo --range ppo.kl.coef=0.01:0.2:log --trials 10 --pruner hyperband --apply",
    ]
    add(app, search, panel=STAGES, examples=examples, slow=True)
