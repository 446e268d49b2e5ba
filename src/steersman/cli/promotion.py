"""`steersman promote | rollback | next`: which model is served, guarded by the verdict, and the next round."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.artifact import unfinished
from steersman.artifact.files import file_sha256
from steersman.artifact.manifest import identity, read_manifest
from steersman.artifact.workspace import CURRENT, POLICIES, Workspace
from steersman.cli.framework import MODELS, JsonOption, WorkspaceOption, add, emit, open_workspace, say
from steersman.data.dataset import find, load_conversations
from steersman.types import Manifest

VERDICT_FILE = "verdict.json"
BASELINE = {"sft": "base"} | dict.fromkeys(POLICIES, "sft")
"""What a stage's model must not be worse than."""
OPPOSITE = {"better": "worse", "worse": "better", "no evidence": "no evidence"}


ENOUGH = 50
"""Test prompts below which a promotion asks first: only large differences show on so few."""


def read_pairs(path: Path) -> list[dict[str, Any]]:
    """`pairs` of a verdict. Raises ValueError where the file is not one."""
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
        good = isinstance(pairs, list) and all(p["word"] in OPPOSITE and {"a", "b"} <= set(p) for p in pairs)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: expected a verdict with 'pairs' of a, b and word; make the report again: steersman eval"
        )
    return list(pairs)


def word_for(pairs: list[dict[str, Any]], a: str, b: str) -> str | None:
    """What the verdict says of a against b; the worst where it says several; None where it compared them not."""
    words = [p["word"] for p in pairs if (p["a"], p["b"]) == (a, b)]
    words += [OPPOSITE[p["word"]] for p in pairs if (p["b"], p["a"]) == (a, b)]
    return next((word for word in ("worse", "no evidence", "better") if word in words), None)


def refusal(space: Workspace, stage: str, round_: int) -> str | None:
    """Why `stage` of the round should not be promoted, or None.

    The verdict must be the one that the report's manifest lists, of this very model against its baseline as it is.
    """
    folder = space.stage_dir("report", round_)
    if not space.has("report", round_):
        return f"{folder}: no report; expected an evaluation of this round: steersman eval"
    manifest = read_manifest(folder)
    if not (folder / VERDICT_FILE).is_file():
        return f"{folder / VERDICT_FILE}: no such file; expected a verdict: steersman eval"
    if manifest.files.get(VERDICT_FILE) != file_sha256(folder / VERDICT_FILE):
        return f"{folder / VERDICT_FILE}: altered since the evaluation; make the report again: steersman eval"
    for model in (stage, BASELINE[stage]):
        if model != "base" and not _is_of(manifest, space, model, round_):
            return f"{folder}: the report is not of this {model} model; expected one that is: steersman eval"
    word = word_for(read_pairs(folder / VERDICT_FILE), stage, BASELINE[stage])
    if word is None:
        return f"{folder / VERDICT_FILE}: expected a comparison of {stage} with {BASELINE[stage]}, found none"
    return f"{folder / VERDICT_FILE}: {stage} is worse than {BASELINE[stage]}" if word == "worse" else None


def doubt(space: Workspace, stage: str, round_: int) -> str | None:
    """Why `stage`, which nothing forbids to promote, should be promoted by choice only; None where it is better."""
    path = space.stage_dir("report", round_) / VERDICT_FILE
    pairs = read_pairs(path)
    if word_for(pairs, stage, BASELINE[stage]) == "no evidence":
        return f"{path}: there is no evidence that {stage} is better than {BASELINE[stage]}"
    n = min((p.get("n", ENOUGH) for p in pairs if {p["a"], p["b"]} == {stage, BASELINE[stage]}), default=ENOUGH)
    return f"{path}: {stage} was compared on {n} prompts only; expected at least {ENOUGH}" if n < ENOUGH else None


def _made(space: Workspace, stage: str, round_: int) -> None:
    """ValueError naming what can be promoted where `stage` of the round is not there."""
    if space.has(stage, round_):
        return
    there = [f"steersman promote --stage {name}" for name in BASELINE if space.has(name, round_)]
    can = " or ".join(there) or "nothing yet (steersman run makes some)"
    raise ValueError(f"round {round_} has no model of {POLICIES.get(stage, stage)}; what can be promoted: {can}")


def _sure(question: str, as_json: bool) -> bool:
    return not as_json and sys.stdin.isatty() and typer.confirm(f"{question}. Promote it anyway?", err=True)


def _history(space: Workspace) -> list[dict[str, Any]]:
    """Of promotions; one that cannot be read is put aside, and a new one begins."""
    try:
        return space.history()
    except ValueError as error:
        say(f"{error}. Put aside as {unfinished.put_aside(space.root / CURRENT)}; a new list of promotions begins")
        return []


def _is_of(report: Manifest, space: Workspace, stage: str, round_: int) -> bool:
    made = read_manifest(space.stage_dir(stage, round_)) if space.has(stage, round_) else None
    return made is not None and report.inputs.get(stage) == identity(made)


def promote(
    round_: Annotated[int, typer.Option("--round", min=0, help="Promote this round's model; 0 means the latest.")] = 0,
    stage: Annotated[str, typer.Option("--stage", help="sft, policy (PPO's), grpo, rloo, dpo or kto.")] = "policy",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Promote without asking where there is no evidence, or few test prompts.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the verdict says.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a round's model the current one, unless its report says that it is worse; asks where it is not better.

    The model before it is kept: steersman rollback brings it back.
    """
    space = open_workspace(workspace)
    if stage not in BASELINE:
        raise ValueError(f"--stage {stage}: expected one of {', '.join(BASELINE)}")
    number = round_ or space.round
    _made(space, stage, number)
    manifest = read_manifest(space.stage_dir(stage, number))
    history = _history(space)
    reason = refusal(space, stage, number)
    if reason and not force:
        raise ValueError(f"not promoted: {reason}. Promote it all the same with --force")
    if reason is None and not (anyway or force) and (reason := doubt(space, stage, number)):
        if not _sure(reason, as_json):
            raise ValueError(f"not promoted: {reason}. Promote it all the same with --anyway")
        anyway = True
    known = history[-1] if history else None
    if known and known["identity"] == identity(manifest):
        emit(as_json, {"promoted": known, "changed": False}, f"{known['path']} is the current model already")
        return
    entry = space.promote(stage, number)
    forced = f"; forced against: {reason}" if reason else ""
    data = {"promoted": entry, "changed": True, "forced_against": reason}
    emit(as_json, data, f"{entry['path']} is now the current model{forced}")


def rollback(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Make the model that was promoted before the current one current again."""
    entry = open_workspace(workspace).rollback()
    emit(as_json, {"current": entry}, f"{entry['path']} (promoted {entry['time']}) is the current model again")


def next_round(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Open the next round, with what people said since.

    Answers that people edited become demonstrations (data set edits-NNN), those of earlier rounds as they stand now;
    rankings of earlier rounds are learned from
    again. Then: steersman run.
    """
    from steersman.cli.exporting import EDITS, edited, refresh_edits
    from steersman.data.dataset import write_dataset

    space = open_workspace(workspace)
    if not space.has("report"):
        raise ValueError(
            f"{space.stage_dir('report')}: round {space.round} has no report yet; finish it: steersman run"
        )
    every = edited(space)
    refresh_edits(space, {c.id: c for c in every})
    known = {c.id for path in find(space, "demonstrations", "train") for c in load_conversations(path)}
    edits = [c for c in every if c.id not in known]
    name = f"edits-{space.round + 1:03d}"
    if edits:
        write_dataset(space.data, name, "demonstrations", "train", edits, EDITS, {})
    number = space.next_round()
    text = f"round {number} is open" + (
        f"; {len(edits)} edited answers are demonstrations now ({name})" if edits else ""
    )
    emit(as_json, {"round": number, "edits": len(edits)}, f"{text}\nnext: steersman run")


def register(app: typer.Typer) -> None:
    examples = [
        "steersman promote",
        "steersman promote --round 2 --stage sft",
        "steersman promote --stage dpo",
        "steersman promote --anyway",
        "steersman promote --force",
    ]
    add(app, promote, panel=MODELS, examples=examples)
    add(app, rollback, panel=MODELS, examples=["steersman rollback"])
    add(app, next_round, panel=MODELS, examples=["steersman next", "steersman next --json"], name="next")
