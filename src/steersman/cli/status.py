"""`steersman status`: what exists, from which inputs, what is stale, and what to do next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.framework import PROJECT, Works, add
from steersman.rounds.overview import collect

if TYPE_CHECKING:
    from rich.console import RenderableType

METRICS_SHOWN = 4


def metrics_line(metrics: Mapping[str, Any]) -> str:
    """The first few numbers of a manifest, short."""
    numbers = [(k, v) for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)]
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers[:METRICS_SHOWN])


def _state_text(stage: Mapping[str, Any], workspace: str) -> str:
    """`workspace` is left out of paths: it stands above the table, whose columns are narrow."""
    text = str(stage["state"])
    if stage["changed_inputs"]:
        said = (x if x.endswith((" is gone", " is new")) else f"{x} changed" for x in stage["changed_inputs"])
        text += f": {', '.join(said)}"
    if stage["changed_settings"]:
        text += f" (other settings: {', '.join(stage['changed_settings'][:3])})"
    text += f": {stage['damage'].replace(f'{workspace}{os.sep}', '')}" if stage["damage"] else ""
    text += f"; resume point {stage['resume']}" if stage["resume"] else ""
    return text + (f"; damaged and put aside: {', '.join(stage['put_aside'])}" if stage["put_aside"] else "")


def render(data: Mapping[str, Any]) -> RenderableType:
    """The status as text for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "state", "made from", "made", "metrics", box=None, padding=(0, 2, 0, 0))
    colours = {"ready": "green", "stale": "yellow", "partial": "cyan", "missing": "dim", "damaged": "red"}
    for stage in data["stages"]:
        metrics = metrics_line(stage["metrics"]) + "".join(f"; {note}" for note in stage["notes"])
        cells = (", ".join(stage["inputs"]), stage["created"] or "", metrics)
        table.add_row(
            stage["stage"], Text(_state_text(stage, data["workspace"]), colours[stage["state"]]), *map(Text, cells)
        )
    counts = data["rankings"]
    people = ", ".join(f"{name} {n}" for name, n in counts["by_labeler"].items())
    lines = [
        f"current model: {_current_text(data)}",
        f"rankings: of {counts['tasks']} prompts, people ranked {counts['ranked']}"
        + (f" ({people})" if people else "")
        + f", the rule judge {counts['simulated']} (simulated)"
        if counts["tasks"]
        else "rankings: this round has given out no prompts to rank",
        "feedback: " + ", ".join(f"{kind} {n}" for kind, n in data["feedback"].items()),
        "data: " + (_dataset_text(data["datasets"]) or "none"),
        f"next: {data['next']}",
    ]
    return Group(Text(f"{data['workspace']}, round {data['round']}"), table, *(Text(line) for line in lines))


def _current_text(data: Mapping[str, Any]) -> str:
    if data["damage"]:
        return f"not known; {data['damage']}"
    current = data["current"]
    return f"{current['path']} (promoted {current['time']})" if current else "none promoted yet"


def _dataset_text(infos: list[dict[str, Any]]) -> str:
    """'train demonstrations 13000; train prompts for ppo 31000 (simulated)': sums over sets of one use."""
    sums: Counter[str] = Counter()
    for info in infos:
        purpose = "" if info["purpose"] == "any" else f" for {info['purpose']}"
        sums[f"{info['split']} {info['kind']}{purpose}{' (simulated)' if info['simulated'] else ''}"] += info["count"]
    return "; ".join(f"{use} {count}" for use, count in sums.items())


def status(
    call: Works, round_: Annotated[int, typer.Option("--round", min=0, help="Show this round; 0 means the latest.")] = 0
) -> None:
    """Show what exists, what it was made from, what is stale, and the next command.

    Stale means that an input has changed or data has been added since (for DPO and KTO: what people said in chats);
    'other settings' that the configuration has.
    """
    space = call.open()
    if round_:
        space.check_round(round_)
    data = collect(space, round_ or space.round)
    call.emit(data, data["next"] if call.as_json else render(data))


def register(app: typer.Typer) -> None:
    add(app, status, panel=PROJECT, examples=["steersman status", "steersman status --round 1 --json"])
