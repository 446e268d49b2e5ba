"""`steersman trial`: the loop over several seeds, and what the seeds say together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.artifact.files import write_json
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import STAGES, Makes, add
from steersman.cli.processes import launched
from steersman.rounds import registry

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
MOST = 1000


def trial(
    call: Makes,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="1-10", help="Seeds: a range, or several as 1-5,8,13.")
    ] = "1-5",
    name: Annotated[str, typer.Option("--name", help="A name, for a second trial in this round.")] = "",
    against: Annotated[
        str, typer.Option("--against", metavar="NAME", help="Compare with that trial of the round, seed by seed.")
    ] = "",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Where nobody has ranked, let the rule judge rank each seed's answers.")
    ] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the models of finished seeds too; default: what is small.")
    ] = False,
) -> None:
    """Run the loop over several seeds, and say what holds whatever the seed: gain, spread, interval.

    Data and settings are those of the workspace's round, which is only read; everything lies in its trials/. People's
    rankings are used for all seeds; where the rule judge ranks, it ranks each seed's own answers. Stopped, the same
    command goes on; more seeds may be added to a trial later.
    """
    if launched():
        raise ValueError("trial: runs in one process; expected it to be started without torchrun")
    wanted = read_seeds(seeds)
    space = call.open().pin()
    folder, other = (_folder(space, option, of) for option, of in (("--name", name), ("--against", against)))
    if against and not other.is_dir():
        raise ValueError(f"--against {against}: {other} is not there; expected the name of a trial of this round")
    from steersman.rounds.repeated import Trial

    found = Trial(space, folder, simulated, keep_models)
    call.emit(*_told(found, found.run(wanted), other if against else None, against))


def read_seeds(text: str) -> list[int]:
    """The seeds that '1-5,8' names, each once. ValueError for anything else."""
    out: dict[int, None] = {}
    for part in text.split(","):
        if not (read := re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)):
            raise ValueError(f"--seeds {text}: expected numbers and ranges such as 1-10 or 1,2,5-7")
        first, last = int(read[1]), int(read[2] or read[1])
        if last < first or last - first >= MOST:
            raise ValueError(f"--seeds {text}: expected ranges that go up, of at most {MOST} seeds")
        out |= dict.fromkeys(range(first, last + 1))
    return list(out)


def _folder(space: Workspace, option: str, name: str) -> Path:
    if name and not NAME.fullmatch(name):
        raise ValueError(
            f"{option} {name}: expected letters, digits, '-', '_' and '.', beginning with a letter or digit"
        )
    return space.root / "trials" / (f"{space.round:03d}-{name}" if name else f"{space.round:03d}")


def _told(found: Any, of: Any, other: Path | None, name: str) -> tuple[dict[str, Any], str]:
    """The report, written into the trial's folder: as JSON, and for people."""
    from steersman.eval import over_seeds, over_seeds_page, over_seeds_words
    from steersman.rounds.repeated import REPORT, read_outcomes

    language = "zh" if found.space.config.project.language == "zh" else "en"
    versus = over_seeds.against(of.outcomes, read_outcomes(other), name) if other else None
    data = of.to_json() | {"sentence": f"{over_seeds_words.claim(of, 'en')} {over_seeds_words.evidence(of, 'en')}"}
    data |= {"against": versus.to_json() if versus else None, "path": str(found.folder)}
    write_json(found.folder / REPORT, data)
    page, title = found.folder / "report.html", f"{found.space.config.project.name}: {found.folder.name}"
    over_seeds_page.draw(page, of, title, language, _facts(found), versus)
    return data, "\n".join([*over_seeds_words.lines(of, language, versus), f"report: {page}"])


def _facts(found: Any) -> dict[str, str]:
    """The settings of the loop's stages that are not the defaults, for the page."""
    usual = {stage.section: stage.defaults() for stage in registry.loop()}
    return {"round": str(found.space.round), "rankings": found.rankings} | {
        f"{section}.{key}": str(value)
        for section, values in found.asked().items()
        for key, value in (values.items() if section in usual else ())
        if key in usual[section] and value != usual[section][key]
    }


def register(app: typer.Typer) -> None:
    examples = [
        "steersman trial --seeds 1-10",
        "steersman trial --seeds 1-5 --simulated --json",
        "steersman trial --seeds 1-10 --name gentle -s ppo.kl.coef=0.2",
        "steersman trial --seeds 1-10 --name gentle -s ppo.kl.coef=0.2 --against plain",
    ]
    add(app, trial, panel=STAGES, examples=examples, slow=True)
