"""`steersman jobs start | list | watch | cancel`: stages in processes of their own, which outlive the terminal."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from steersman.cli.framework import STAGES as PANEL
from steersman.cli.framework import (
    USER_ERROR,
    JsonOption,
    Reads,
    SetOption,
    WorkspaceOption,
    add,
    emit,
    open_workspace,
    say,
)
from steersman.progress import metric_text
from steersman.rounds import jobs
from steersman.rounds.jobs import Job

POLL_SECONDS = 0.5
NumberArgument = Annotated[int, typer.Argument(metavar="JOB", min=1, help="The job's number.")]
FreshFlag = Annotated[bool, typer.Option("--fresh", help="Throw away what an unfinished run has done.")]


def start(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="A stage's verb, such as ppo; run: all that is missing.")
    ],
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    fresh: FreshFlag = False,
) -> None:
    """Start a stage in the background; it goes on when this terminal is closed."""
    job = jobs.start(open_workspace(workspace, settings), stage, fresh, settings or ())
    emit(as_json, job.to_json(), f"{_line(job)}\nwatch it: steersman jobs watch {job.record.number}")


def list_jobs(call: Reads) -> None:
    """List the workspace's jobs and what became of them."""
    found = jobs.jobs(call.open())
    text = "\n".join(map(_line, found)) or "no jobs yet: steersman jobs start STAGE"
    call.emit({"jobs": [job.to_json() for job in found]}, text)


def watch(call: Reads, number: NumberArgument) -> None:
    """Follow a job until it ends; Ctrl-C ends the watching, not the job."""
    space = call.open()
    said = ""
    while (job := jobs.job(space, number)).alive:
        if (line := job.progress["line"]) != said:
            say(line)
            said = line
        time.sleep(POLL_SECONDS)
    call.emit(job.to_json(), _line(job))
    if job.state != "done":
        sys.stdout.flush()
        raise typer.Exit(USER_ERROR)


def cancel(call: Reads, number: NumberArgument) -> None:
    """Ask a job to stop; it saves what it can go on from first."""
    job = jobs.cancel(call.open(), number)
    call.emit(job.to_json(), _line(job))


def _line(job: Job) -> str:
    """'3  ppo  round 1  running  iteration 4/10  reward 0.3  ETA 2m'."""
    record = job.record
    parts = [str(record.number), record.stage, f"round {record.round}", job.state]
    if job.alive:
        parts.append(job.progress["line"])
    elif job.state == "done":
        parts.append(metric_text(dict(list(job.metrics.items())[:4])))
    else:
        parts += [str(job.outcome.get("error", "")), f"resume point {job.resume}" if job.resume else ""]
    return "  ".join(part for part in parts if part)


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Stages in the background: start, list, watch and cancel them.")
    app.add_typer(group, name="jobs", rich_help_panel=PANEL)
    add(group, start, panel=PANEL, examples=["steersman jobs start ppo", "steersman jobs start run --json"])
    add(group, list_jobs, name="list", panel=PANEL, examples=["steersman jobs list"])
    add(group, watch, panel=PANEL, examples=["steersman jobs watch 3"])
    add(group, cancel, panel=PANEL, examples=["steersman jobs cancel 3"])
