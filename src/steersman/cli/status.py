"""`steersman status`: what exists, from which inputs, what is stale, and what to do next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.workspace import POLICIES, Workspace
from steersman.cli.framework import PROJECT, JsonOption, SetOption, WorkspaceOption, add, emit, open_workspace
from steersman.cli.lineage import StageState, round_states
from steersman.data import dataset

if TYPE_CHECKING:
    from rich.console import RenderableType

COMMANDS = {
    "sft": "sft",
    "samples": "sample",
    "rankings": "rank",
    "reward": "reward",
    **{stage: label.lower() for stage, label in POLICIES.items()},
    "report": "eval",
}
"""Stage -> the verb that makes it."""
METRICS_SHOWN = 4


def ranking_counts(space: Workspace, round_: int) -> dict[str, Any]:
    """{tasks, ranked, by_labeler, simulated} of the round; zeros where nothing was stored."""
    if not space.store_path.is_file():
        return {"tasks": 0, "ranked": 0, "by_labeler": {}, "simulated": 0}
    from steersman.store import Store

    with Store.open(space.store_path) as store:
        return store.ranking_progress(round_)


def feedback_counts(space: Workspace) -> dict[str, int]:
    """{like, dislike, edit}: what people said in chats and DPO and KTO learn from."""
    counts = dict.fromkeys(("like", "dislike", "edit"), 0)
    if space.store_path.is_file():
        from steersman.store import Store

        with Store.open(space.store_path) as store:
            counts |= Counter(said.kind for said in store.feedback(counts))
    return counts


def next_command(space: Workspace, states: list[StageState], has_data: bool, round_: int) -> str:
    """The one command that brings the loop on."""
    if not has_data:
        return "steersman data import shop" if space.config.project.domain == "shop" else "steersman data import FILE"
    improved = [s.stage for s in states if s.stage in POLICIES and s.state == "ready"]
    for state in states:
        if improved and state.stage in ("reward", "policy") and state.state == "missing":
            continue  # DPO and KTO need no reward model, and any of the improved models may take PPO's place
        if state.state == "ready" or (state.stage == "rankings" and dataset.find(space, "rankings", "train")):
            continue
        if state.stage == "rankings" and ranking_counts(space, round_)["ranked"]:
            return "steersman data export rankings"
        return f"steersman {COMMANDS[state.stage]}"
    history = space.history()
    if not history or int(history[-1]["round"]) < round_:
        return "steersman promote" if "policy" in improved else f"steersman promote --stage {improved[0]}"
    return "steersman serve"


def collect(space: Workspace, round_: int) -> dict[str, Any]:
    """Everything that status says, as JSON."""
    infos = dataset.datasets(space)
    states = round_states(space, round_)
    history = space.history()
    return {
        "workspace": str(space.root),
        "round": round_,
        "rounds": space.rounds(),
        "stages": [_stage_json(state) for state in states],
        "current": history[-1] if history else None,
        "datasets": [
            {key: getattr(i, key) for key in ("name", "kind", "split", "purpose", "count", "simulated")} for i in infos
        ],
        "rankings": ranking_counts(space, round_),
        "feedback": feedback_counts(space),
        "next": next_command(space, states, bool(infos), round_),
    }


def _stage_json(state: StageState) -> dict[str, Any]:
    made = state.manifest
    return {
        "stage": state.stage,
        "state": state.state,
        "changed_inputs": list(state.changed),
        "changed_settings": list(state.settings),
        "resume": state.resume,
        "damage": state.damage,
        "put_aside": list(state.aside),
        "inputs": dict(made.inputs) if made else {},
        "created": made.created if made else None,
        "metrics": dict(made.metrics) if made else {},
        "notes": list(made.notes) if made else [],
    }


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
    """The same for people."""
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
    current, counts = data["current"], data["rankings"]
    people = ", ".join(f"{name} {n}" for name, n in counts["by_labeler"].items())
    lines = [
        f"current model: {current['path']} (promoted {current['time']})"
        if current
        else "current model: none promoted yet",
        f"rankings: of {counts['tasks']} prompts, people ranked {counts['ranked']}"
        + (f" ({people})" if people else "")
        + f", the rule judge {counts['simulated']} (simulated)",
        "feedback: " + ", ".join(f"{kind} {n}" for kind, n in data["feedback"].items()),
        "data: " + (_dataset_text(data["datasets"]) or "none"),
        f"next: {data['next']}",
    ]
    return Group(Text(f"{data['workspace']}, round {data['round']}"), table, *(Text(line) for line in lines))


def _dataset_text(infos: list[dict[str, Any]]) -> str:
    """'train demonstrations 13000; train prompts for ppo 31000 (simulated)': sums over sets of one use."""
    sums: Counter[str] = Counter()
    for info in infos:
        purpose = "" if info["purpose"] == "any" else f" for {info['purpose']}"
        sums[f"{info['split']} {info['kind']}{purpose}{' (simulated)' if info['simulated'] else ''}"] += info["count"]
    return "; ".join(f"{use} {count}" for use, count in sums.items())


def status(
    round_: Annotated[int, typer.Option("--round", min=0, help="Show this round; 0 means the latest.")] = 0,
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what exists, what it was made from, what is stale, and the next command.

    Stale means that an input has changed or data has been added since (for DPO and KTO: what people said in chats);
    'other settings' that the configuration has.
    """
    space = open_workspace(workspace, settings)
    data = collect(space, round_ or space.round)
    emit(as_json, data, data["next"] if as_json else render(data))


def register(app: typer.Typer) -> None:
    add(app, status, panel=PROJECT, examples=["steersman status", "steersman status --round 1 --json"])
