"""The training page's API: the stages with metrics, and their metrics while they are written.

Reads files of the workspace and nothing else: training goes on in another process, and torch stays out of this one.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query

from steersman.artifact.names import METRICS
from steersman.artifact.workspace import renamed
from steersman.server.context import Ctx
from steersman.server.errors import ApiError

router = APIRouter(prefix="/api/training")
AXES = ("step", "iteration")
"""Fields that number a stage's lines of metrics."""
MOST_SAMPLES, SAMPLE_CHARACTERS = 40, 4000
"""Iterations whose answers are shown, and characters of each."""
LIVE_SECONDS = 120
"""An unfinished run that wrote within this many seconds counts as running."""


def runs(workspace: Path) -> dict[str, Path]:
    """Name of each run -> its metrics, in the order of names: stages of the rounds, then trials of searches."""
    found = [*workspace.glob(f"rounds/*/*/{METRICS}"), *workspace.glob(f"search/*/trials/*/{METRICS}")]
    named = {path.parent.relative_to(workspace).as_posix(): path for path in found}
    return {name: named[name] for name in sorted(named)}


@router.get("/runs")
def list_runs(ctx: Ctx) -> list[dict[str, Any]]:
    """Each run: name, stage, state (done, running, stopped) and when it last wrote, in seconds since 1970."""
    out = []
    for name, path in runs(ctx.workspace).items() if ctx.workspace else ():
        try:
            updated = path.stat().st_mtime
        except FileNotFoundError:  # finished or removed just now
            continue
        running = time.time() - updated < LIVE_SECONDS
        state = "done" if not name.endswith(".partial") else "running" if running else "stopped"
        out.append({"name": name, "stage": stage_of(name), "state": state, "updated": updated})
    return out


def stage_of(run: str) -> str:
    """The stage's present name: 'sft' for rounds/001/sft.partial and search/001-sft-NAME/trials/007."""
    place, first, second = run.split("/")[:3]
    stage = second.removesuffix(".partial") if place == "rounds" else [*first.split("-"), ""][1]
    return renamed(stage)


@router.get("/metrics")
def metrics(ctx: Ctx, run: Annotated[str, Query()], after: Annotated[int, Query(ge=0)] = 0) -> dict[str, Any]:
    """The run's numbers from line `after` on: {axis, rows, lines}; `lines` is the next call's `after`.

    A resumed run drops its last lines; `lines` below `after` tells the page to begin again.
    """
    path = runs(ctx.workspace).get(run) if ctx.workspace else None
    try:
        text = path.read_text(encoding="utf-8") if path else None
    except FileNotFoundError:
        text = None
    if text is None:
        raise ApiError(404, f"run: no metrics of {run!r}", param="run")
    lines = text.split("\n")[:-1]  # an incomplete last line is left for the next call
    rows = [numbers(line) for line in lines[after:]]
    axis = next((a for a in AXES if rows and a in rows[0]), AXES[0])
    return {"axis": axis, "rows": rows, "lines": len(lines)}


@router.get("/samples")
def samples(ctx: Ctx, run: Annotated[str, Query()]) -> dict[str, Any]:
    """Answers that the run wrote while it trained, the newest first: {axis, rows: [{at, samples: [{prompt, answer}]}]}.

    Stages that sample from the model as it learns (PPO, GRPO, RLOO) write some with every iteration.
    """
    path = runs(ctx.workspace).get(run) if ctx.workspace else None
    rows: list[dict[str, Any]] = []
    axis = AXES[0]
    for line in reversed(_lines(path)):
        if '"samples"' not in line or len(rows) >= MOST_SAMPLES:
            continue
        try:
            row = json.loads(line)
            axis = next(a for a in AXES if a in row)
            said = [{key: str(one[key])[:SAMPLE_CHARACTERS] for key in ("prompt", "answer")} for one in row["samples"]]
        except (ValueError, KeyError, TypeError, StopIteration):
            continue
        rows.append({"at": row[axis], "samples": said})
    return {"axis": axis, "rows": rows}


def _lines(path: Path | None) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path else []
    except FileNotFoundError:
        return []


def numbers(line: str) -> dict[str, float]:
    """The numbers of a line that can be drawn; {} for a damaged line."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    kept = {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {k: v for k, v in kept.items() if math.isfinite(v)}
