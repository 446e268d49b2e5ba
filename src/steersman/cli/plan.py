"""`steersman plan`: whether the training stages fit into memory, how long they take, and what to set if they do not."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from steersman import config as configs
from steersman import config_file
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import (
    STAGES,
    USER_ERROR,
    JsonOption,
    SetOption,
    WorkspaceOption,
    add,
    emit,
    open_workspace,
    say,
)
from steersman.cli.serving_plan import serving_memory
from steersman.cli.talk import choose
from steersman.rounds import registry
from steersman.rounds.inputs import resolved
from steersman.rounds.registry import Stage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from steersman.train.budget import Lengths, Option, Plan

SAMPLE = 1000
"""Records whose length is measured."""
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def planned() -> list[Stage]:
    """Stages whose memory and time are predicted."""
    return [stage for stage in registry.stages() if stage.sizes is not None]


class Planned(NamedTuple):
    stage: str
    section: Any
    """The settings it runs with"""
    plan: Plan
    lengths: Lengths


def plan(
    stage: Annotated[
        str,
        typer.Argument(metavar="STAGE", help=f"{', '.join(s.verb for s in planned())}, serve; default: the loop's."),
    ] = "",
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: Annotated[str, typer.Option("--model", help="Without a workspace: the model to plan for.")] = "",
    memory: Annotated[
        str, typer.Option("--memory", help="Plan for this much memory, such as 8G; default: what is free here.")
    ] = "",
) -> None:
    """Predict a training stage's memory and time, and say what to set where it does not fit; or a server's memory.

    Reads config.json and the lengths of the data; no weights are loaded. Without a workspace rows count as full.
    Exit code 2 where nothing that can be set would fit.
    """
    wanted = [s for s in planned() if s.verb == stage or (not stage and s.in_loop)]
    if not wanted and stage != "serve":
        raise ValueError(f"stage '{stage}': expected {', '.join(s.verb for s in planned())}, serve")
    free = _bytes(memory) if memory else None
    space = None if model else open_workspace(workspace, settings)
    config = space.config if space else config_file.with_overrides(configs.Config(), settings or ())
    from steersman.train.budget import MARGIN, Lengths, make_plan, shape_in
    from steersman.train.speed import operations_per_second
    from steersman.weights.folders import DTYPES, pick_device

    base = space.named(config.model.base) if space else config.model.base
    serves = stage == "serve"
    folder = choose(space, "")[0] if serves and space else resolved(model or base)
    if serves:
        emit(as_json, *serving_memory(config, folder, free))
        return
    shape = shape_in(folder, config.model.trust_remote_code)
    plans: list[Planned] = []
    for entry in wanted:
        lengths = _lengths(space, entry, folder) if space else Lengths()
        section = entry.settings(config)
        shared = config.reward.adapters.lora_rank > 0
        optimises = isinstance(section, configs.PpoConfig)
        judged = optimises and config.reward.validator and section.selection.judge == "validator"
        models = {"reward_models": config.reward.members + judged, "shared_base": shared} if optimises else {}
        plans.append(
            Planned(entry.verb, section, make_plan(shape, section, lengths, config.model, free, **models), lengths)
        )
    device = pick_device(config.model.device)
    speed = operations_per_second(DTYPES[config.model.dtype], device)
    told = {"model": str(folder), "device": device.type, "margin": MARGIN, "stages": [_json(p, speed) for p in plans]}
    emit(as_json, told, _text(plans, speed))
    stuck = [p for p in plans if p.plan.chosen is None]
    for p in stuck:
        say(f"{p.stage}: {p.plan.advice}")
    if stuck:
        raise typer.Exit(USER_ERROR)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"--memory {text}: expected a size such as 8G or 512M")
    return int(float(match[1]) * UNITS[match[2].upper()])


def _lengths(space: Workspace, stage: Stage, folder: Path) -> Lengths:
    """Tokens of the stage's data, estimated from a sample where there is much. None there: zeros."""
    from steersman.train.budget import Lengths, lengths_of
    from steersman.weights.folders import load_template

    assert stage.sizes is not None
    records, size = stage.sizes(space, load_template(folder, space.config.model))
    seen = lengths_of([size(record) for record in _sample(records)])
    return Lengths(seen.mean * len(records), seen.longest, len(records))


def _sample(records: Sequence[Any]) -> list[Any]:
    return random.Random(0).sample(list(records), min(SAMPLE, len(records)))


def _seconds(option: Option, section: Any, lengths: Lengths, speed: float) -> float | None:
    """About how long the stage takes at `speed` operations per second; None where there is no data yet."""
    from steersman.train.speed import tokens

    return option.operations * tokens(section, lengths.total, lengths.mean) / speed if lengths.total else None


def _rows_per_step(p: Planned, option: Option) -> str:
    section = p.section
    row = option.changes.get("row_tokens", section.rows.row_tokens)
    if isinstance(section, configs.SftConfig):
        return f"{section.rows.batch_tokens} tokens a step in {-(-section.rows.batch_tokens // row)} rows of {row}"
    if not isinstance(section, configs.PpoConfig):
        return f"{section.rows.batch_prompts} prompts a step in rows of {row}"
    prompts = -(-section.rollouts.prompts_per_iteration // section.minibatches)
    return f"{prompts} prompts a step in rows of {row}"


def _json(p: Planned, speed: float) -> dict[str, Any]:
    def one(option: Option) -> dict[str, Any]:
        return {
            "set": {f"{p.plan.stage}.{key}": value for key, value in option.changes.items()},
            "peak_bytes": option.peak,
            "parts": option.parts,
            "tokens_per_second": speed / option.operations,
            "seconds": _seconds(option, p.section, p.lengths, speed),
            "fits": p.plan.fits(option),
            "trains_less": option.trains_less,
        }

    chosen = p.plan.chosen
    return {
        "stage": p.stage,
        "free_bytes": p.plan.free,
        "data": dataclasses.asdict(p.lengths),
        "chosen": one(chosen) if chosen else None,
        "options": [one(option) for option in p.plan.options],
    }


def _text(plans: list[Planned], speed: float) -> RenderableType:
    from rich.console import Group

    return Group(*(part for p in plans for part in _stage_text(p, speed)))


def _stage_text(planned: Planned, speed: float) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from steersman.train.budget import MARGIN, as_options, shown
    from steersman.train.speed import UNCERTAINTY

    stage, p = planned.stage, planned.plan
    asked, chosen = p.options[0], p.chosen
    parts = Table("part", "GiB", box=None, padding=(0, 2, 0, 0))
    for name, size in (chosen or asked).parts.items():
        if size >= 2**20:
            parts.add_row(name, f"{size / 2**30:.2f}")
    parts.add_row("peak", f"{(chosen or asked).peak / 2**30:.2f}")
    options = Table("setting", "peak, GiB", "fits", "about", box=None, padding=(0, 2, 0, 0))
    for option in p.options:
        if option is not chosen and len(option.changes) > 1:  # combinations are of interest where they are chosen
            continue
        seconds = _seconds(option, planned.section, planned.lengths, speed)
        name = as_options(p.stage, option) or "as configured"
        name += (" (trains less)" if option.trains_less else "") + (" *" if option is chosen else "")
        time = f"{speed / option.operations:.0f} tokens/s" if seconds is None else _duration(seconds)
        options.add_row(Text(name), f"{option.peak / 2**30:.2f}", "yes" if p.fits(option) else "no", time)
    heading = f"{stage}: {_rows_per_step(planned, chosen or asked)}; {shown(p.free)} are free\n"
    last = "fits as configured" if chosen is asked else "does not fit as configured"
    last += f"; {p.advice}" if chosen not in (asked, None) else ""
    note = f"(a setting fits if {MARGIN:g} times its peak is free; times are right within a factor of {UNCERTAINTY:g})"
    return [Text(heading), parts, Text(""), options, Text(f"\n{stage} {last}\n{note}\n")]


def _duration(seconds: float) -> str:
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def register(app: typer.Typer) -> None:
    examples = [
        "steersman plan",
        "steersman plan ppo --memory 8G",
        "steersman plan serve -s serve.kv_cache=int8",
        "steersman plan sft --model smollm2-135m -s sft.rows.row_tokens=2048 --json",
    ]
    add(app, plan, panel=STAGES, examples=examples, slow=True)
