"""The verbs of the stages, made from the registry; `steersman run` and `report`.

Inside a workspace a stage takes its inputs from the round; without one the options name files and models instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file, plugins
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
from steersman.cli.page_language import LanguageOption, checked_language
from steersman.cli.processes import ProcessesOption, spread
from steersman.rounds import registry
from steersman.rounds.given_files import Files
from steersman.rounds.inputs import Given, Option
from steersman.rounds.make import Alone, Place, Round, make, make_all
from steersman.rounds.registry import Stage

EncodingOption = Annotated[
    str, typer.Option("--encoding", help="Without a workspace: of the files; auto, or any that Python knows.")
]
OUTPUT = Option("--output", "Without a workspace: the folder to make.", "text", needed=True)
FIRST = ("model", "data")
"""Options listed before the one of the output folder."""
TYPES: Mapping[str, tuple[Any, Any]] = {
    "files": (list[Path] | None, None),
    "text": (str, ""),
    "texts": (list[str] | None, None),
}
"""Kind of an option's value -> its type and default."""


def options_of(stage: Stage) -> list[Option]:
    """The options of the stage's inputs and its output, in the order of its help."""
    own = [source.option for source in stage.sources if source.option]
    first = sorted((o for o in own if o.key in FIRST), key=lambda o: FIRST.index(o.key))
    return [*first, OUTPUT, *(o for o in own if o.key not in FIRST)]


def alone(stage: Stage, settings: Sequence[str] | None, encoding: str, given: Mapping[str, Any]) -> Alone | None:
    """The place of a stage without a workspace; None inside one. ValueError if only some required options are given."""
    needed = {o.key: any(given.get(key) for key in (o.key, *o.instead)) for o in options_of(stage) if o.needed}
    if not any(needed.values()):
        return None
    if missing := [f"--{name}" for name, there in needed.items() if not there]:
        raise ValueError(
            f"without a workspace a stage needs {', '.join('--' + n for n in needed)}; missing: {', '.join(missing)}"
        )
    config = config_file.with_overrides(configs.Config(), settings or ())
    plugins.admit_named(plugins.named(config).values(), Path.cwd())
    place = Alone(config, Given(Files(config, encoding), given), Path(given[OUTPUT.key]))
    place.check()
    return place


def verb_of(stage: Stage) -> Callable[..., None]:
    """The stage's verb: a function with the options of its inputs, as typer reads them from its signature."""
    own = {option.key.replace("-", "_"): option for option in options_of(stage)}

    def verb(**values: Any) -> None:
        if stage.processes:
            spread(values["processes"])
        settings, given = values["settings"], {option.key: values[name] for name, option in own.items()}
        place: Place | None = alone(stage, settings, values["encoding"], given)
        place = place or Round(open_workspace(values["workspace"], settings).pin())
        if unread := stage.unread(settings or ()):
            say(unread)
        outcome = make(stage, place)
        emit(values["as_json"], outcome.to_json(), outcome.text())

    parameters = [_parameter("workspace", WorkspaceOption, None), _parameter("settings", SetOption, None)]
    parameters.append(_parameter("as_json", JsonOption, False))
    for name, option in own.items():
        kind, default = TYPES[option.holds]
        kind = (Path | None) if option is OUTPUT else kind
        default = None if option is OUTPUT else default
        parameters.append(_parameter(name, Annotated[kind, typer.Option(option.flag, help=option.help)], default))
        if option is OUTPUT:
            parameters.append(_parameter("encoding", EncodingOption, "auto"))
    if stage.processes:
        parameters.append(_parameter("processes", ProcessesOption, 1))
    parameters += [_parameter("fresh", FreshOption, False), _parameter("wait", WaitOption, False)]
    verb.__doc__, verb.__name__ = stage.summary, stage.verb
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    verb.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return verb


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def report(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = "",
    round_: Annotated[int, typer.Option("--round", min=0, help="Of this round; 0 means the latest.")] = 0,
) -> None:
    """Show the round's verdict again and where its report lies; draws the report anew if it is gone."""
    from steersman.rounds.stages.report import again

    space = open_workspace(workspace, settings).pin()
    if round_:
        space.check_round(round_)
        space = replace(space, pinned=round_)
    outcome = again(space, checked_language(language))
    emit(as_json, outcome.to_json(), outcome.text())


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
    spread(processes)
    outcome = make_all(open_workspace(workspace, settings).pin(), simulated)
    emit(as_json, outcome.to_json(), outcome.text())


def register(app: typer.Typer) -> None:
    named = [stage.verb if stage.run else f"({stage.verb})" for stage in registry.loop()]
    run.__doc__ = f"Do all that is missing, in order: {', '.join(named)}."
    for stage in registry.stages():
        if stage.run is not None and stage.in_loop:
            _add(app, stage)
    add(app, report, panel=STAGES, examples=["steersman report", "steersman report --language zh --json"])
    add(app, run, panel=STAGES, examples=["steersman run --simulated", "steersman run -w my-assistant"], slow=True)
    for stage in registry.stages():
        if stage.run is not None and not stage.in_loop:
            _add(app, stage)


def _add(app: typer.Typer, stage: Stage) -> None:
    add(app, verb_of(stage), panel=STAGES, examples=stage.examples, name=stage.verb, slow=True)
