"""`steersman eval-reward`: how often a reward model agrees with people's rankings in a file.

A verb of its own: `steersman eval --reward` names the reward model that judges answers, and `eval` compares models that
answer. Here nothing answers; what is measured is the judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file
from steersman.artifact.workspace import Workspace
from steersman.cli.data import parse_columns
from steersman.cli.framework import MODELS, Works, add, open_workspace, say
from steersman.cli.import_options import (
    EncodingOption,
    FormatOption,
    MapOption,
    MostOption,
    OrderedOption,
    SheetOption,
    SkipBadOption,
    SpeakersOption,
)
from steersman.data.reading import Reading
from steersman.rounds.inputs import need, resolved
from steersman.rounds.stages.report import REWARD

LONG = ("skip", "cut", "error")


def eval_reward(
    call: Works,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Pairs (prompt, chosen, rejected) or rankings, as data import reads."),
    ],
    model: Annotated[
        str, typer.Option("--model", help="A reward model's folder, or a name; default: the round's reward model.")
    ] = "",
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a page with the calibration's picture.")
    ] = None,
    long: Annotated[str, typer.Option("--long", help="Records longer than the context: skip, cut or error.")] = "skip",
    format: FormatOption = "",
    columns: MapOption = None,
    sheet: SheetOption = "",
    ordered: OrderedOption = "",
    speakers: SpeakersOption = "",
    encoding: EncodingOption = "auto",
    skip_bad: SkipBadOption = False,
    max_records: MostOption = 0,
) -> None:
    """Score labelled pairs or rankings with a reward model: accuracy beside length, calibration, by subset or source.

    Files are read in every form that data import reads. No workspace is needed where --model names the reward model.
    """
    if long not in LONG:
        raise ValueError(f"--long {long}: expected one of {', '.join(LONG)}")
    config, folder = _model(model, call.workspace, call.settings or [])
    from steersman.data import labelled

    limits = {n: getattr(config.data, n) for n in ("max_line_mb", "max_unpacked_mb")}
    reading = Reading(encoding=encoding, speakers=speakers, sheet=sheet, tell=say, **limits)
    options = {"format": format or None, "skip_bad": skip_bad, "max_records": max_records, "ordered": ordered}
    found = labelled.load(files, reading, mapping=parse_columns(columns), **options)
    say(f"eval-reward: {len(found.rankings)} rankings")
    from steersman.train.agreement import agreement

    of = agreement(folder, found.rankings, found.labels, config.model, long=long, seed=config.project.seed)
    result: dict[str, Any] = {
        "model": str(folder),
        "files": list(map(str, files)),
        "rankings": len(found.rankings),
        **of.report,
        "by": of.by,
        "left_out": {**found.left_out, **of.left_out},
        "notes": {**found.changed, **of.notes},
        "ungrouped": of.ungrouped,
        "report": str(report) if report else None,
    }
    from steersman.eval import agreement_page

    language = "zh" if config.project.language == "zh" else "en"
    if report:
        agreement_page.draw(report, result, language)
    call.emit(result, agreement_page.text(result, language))


def _model(model: str, workspace: Path | None, settings: list[str]) -> tuple[configs.Config, Path]:
    """The settings and the reward model's folder. ValueError where neither --model nor a workspace names one."""
    try:
        root = Workspace.find(workspace)
    except ValueError as error:
        if workspace is not None or not model:
            raise error if workspace is not None else ValueError(f"{error}, or name a reward model: --model") from None
        return config_file.with_overrides(configs.Config(), settings), resolved(model)
    space = open_workspace(root, settings).pin()
    return space.config, resolved(model) if model else need(space, REWARD)


def register(app: typer.Typer) -> None:
    examples = [
        "steersman eval-reward pairs.jsonl",
        "steersman eval-reward rewardbench.parquet --model out/reward --report reward.html",
        "steersman eval-reward oasst.jsonl.xz --ordered best-first --json",
    ]
    add(app, eval_reward, panel=MODELS, examples=examples, slow=True)
