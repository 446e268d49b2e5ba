"""The gate: which model is current, guarded by the round's verdict, and rollback to the previous model.

The command line and the server share these functions: `refusal` (the reason that forbids a promotion), `doubt` (a
reason to ask the user first), and `promote`, which calls both.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.artifact import unfinished
from steersman.artifact.files import file_sha256
from steersman.artifact.manifest import identity, read_manifest
from steersman.artifact.workspace import CURRENT, Workspace, renamed, renamed_keys
from steersman.progress import note as say
from steersman.rounds import registry
from steersman.rounds.opened import SERVED, opened
from steersman.types import Manifest

VERDICT_FILE = "verdict.json"
OPPOSITE = {"better": "worse", "worse": "better", "no evidence": "no evidence"}
ENOUGH = 50
"""Test prompts below which a promotion asks first: only large differences show on so few."""


class Refused(ValueError):
    """Nothing was promoted; `option` is the command-line option that overrides the refusal."""

    def __init__(self, why: str, option: str) -> None:
        super().__init__(f"not promoted: {why}. Promote it all the same with --{option}")
        self.option = option


@dataclass(frozen=True)
class Promotion:
    """Result of a request for promotion."""

    entry: dict[str, Any]
    changed: bool
    """False where the model was the current one already"""
    forced_against: str | None
    deleted: int = 0
    """Records that people deleted, and that the model has learned."""

    def to_json(self) -> dict[str, Any]:
        told = {"promoted": self.entry, "changed": self.changed, "deleted_records": self.deleted}
        return told | ({"forced_against": self.forced_against} if self.changed else {})


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
    return [{**p, "a": renamed(p["a"]), "b": renamed(p["b"])} for p in pairs]


def word_for(pairs: list[dict[str, Any]], a: str, b: str) -> str | None:
    """The verdict's word for a against b; the worst of several; None where the two were not compared."""
    words = [p["word"] for p in pairs if (p["a"], p["b"]) == (a, b)]
    words += [OPPOSITE[p["word"]] for p in pairs if (p["b"], p["a"]) == (a, b)]
    return next((word for word in ("worse", "no evidence", "better") if word in words), None)


def baseline(space: Workspace, stage: str, round_: int) -> str:
    """The model that the stage's must not be worse than; in a round of `steersman round` the one served before."""
    began = opened(space, round_)
    return began.against if began else registry.get(stage).baseline


def refusal(space: Workspace, stage: str, round_: int) -> str | None:
    """Why `stage` of the round should not be promoted, or None.

    The verdict must match the hash in the report's manifest and compare this exact model with its present baseline.
    """
    against, folder = baseline(space, stage, round_), space.stage_dir("report", round_)
    if not space.has("report", round_):
        return f"{folder}: no report; expected an evaluation of this round: steersman eval"
    manifest = read_manifest(folder)
    if not (folder / VERDICT_FILE).is_file():
        return f"{folder / VERDICT_FILE}: no such file; expected a verdict: steersman eval"
    if manifest.files.get(VERDICT_FILE) != file_sha256(folder / VERDICT_FILE):
        return f"{folder / VERDICT_FILE}: altered since the evaluation; make the report again: steersman eval"
    for model in (stage, against):
        if model not in ("base", SERVED) and not _is_of(manifest, space, model, round_):
            return f"{folder}: the report is not of this {model} model; expected one that is: steersman eval"
    word = word_for(read_pairs(folder / VERDICT_FILE), stage, against)
    if word is None:
        return f"{folder / VERDICT_FILE}: expected a comparison of {stage} with {_called(against)}, found none"
    return f"{folder / VERDICT_FILE}: {stage} is worse than {_called(against)}" if word == "worse" else None


def _called(stage: str) -> str:
    return "the served model" if stage == SERVED else stage


def found_worse(space: Workspace, stage: str, round_: int) -> bool:
    """Whether the round's verdict says that `stage` is worse than its baseline; not where none can be read."""
    path = space.stage_dir("report", round_) / VERDICT_FILE
    with contextlib.suppress(OSError, ValueError):  # promoting says what is wrong with it
        return word_for(read_pairs(path), stage, baseline(space, stage, round_)) == "worse"
    return False


def doubt(space: Workspace, stage: str, round_: int) -> str | None:
    """Why `stage`, whose promotion is allowed, should be confirmed by the user; None where the model is better."""
    against, path = baseline(space, stage, round_), space.stage_dir("report", round_) / VERDICT_FILE
    if read_manifest(folder := space.stage_dir(stage, round_)).metrics.get("kept") == against:
        return f"{folder}: it was not better than {_called(against)} on held-out prompts and is that model"
    pairs = read_pairs(path)
    if word_for(pairs, stage, against) == "no evidence":
        return f"{path}: there is no evidence that {stage} is better than {_called(against)}"
    served = _served_of(space, round_)
    if served and word_for(pairs, stage, served) == "worse":
        return f"{path}: {stage} is worse than {served}, which is served now"
    n = min((p.get("n", ENOUGH) for p in pairs if {p["a"], p["b"]} == {stage, against}), default=ENOUGH)
    return f"{path}: {stage} was compared on {n} prompts only; expected at least {ENOUGH}" if n < ENOUGH else None


def check(space: Workspace, stage: str, round_: int) -> None:
    """ValueError where the round has no model of `stage`, naming what can be promoted."""
    if not registry.is_stage(stage) or registry.get(stage).maker is None:
        raise ValueError(f"--stage {stage}: expected one of {', '.join(s.name for s in registry.models())}")
    if space.has(stage, round_):
        return
    space.check_round(round_)
    there = [f"steersman promote --stage {s.name}" for s in registry.models() if space.has(s.name, round_)]
    can = " or ".join(there) or "nothing yet (steersman run makes some)"
    raise ValueError(f"round {round_} has no model of {registry.get(stage).title}; what can be promoted: {can}")


def _history(space: Workspace) -> list[dict[str, Any]]:
    """Promotions so far; a damaged history file is put aside and a new one begun."""
    try:
        return space.history()
    except ValueError as error:
        say(f"{error}. Put aside as {unfinished.put_aside(space.root / CURRENT)}; a new list of promotions begins")
        return []


def _served_of(space: Workspace, round_: int) -> str:
    """The stage whose model, as the round has it now, is served; '' where another model is."""
    last = (space.history() or [{"round": None, "stage": ""}])[-1]
    stage = renamed(last["stage"])
    if last["round"] != round_ or not space.has(stage, round_):
        return ""
    return stage if identity(read_manifest(space.stage_dir(stage, round_))) == last["identity"] else ""


def _is_of(report: Manifest, space: Workspace, stage: str, round_: int) -> bool:
    made = read_manifest(space.stage_dir(stage, round_)) if space.has(stage, round_) else None
    return made is not None and renamed_keys(report.inputs).get(stage) == identity(made)


def promote(
    space: Workspace,
    stage: str,
    round_: int,
    *,
    anyway: bool = False,
    force: bool = False,
    sure: Callable[[str], bool] = lambda _doubt: False,
) -> Promotion:
    """Make the round's model the current one, unless its report says that it is worse, or does not say it is better.

    `sure` is called with a doubt and confirms it; `anyway` confirms beforehand, `force` ignores the verdict. Raises
    Refused where nothing is promoted, ValueError where there is no such model.
    """
    from steersman.rounds import provenance  # it reads the store, which help need not load

    stage = renamed(stage)
    check(space, stage, round_)
    manifest = read_manifest(space.stage_dir(stage, round_))
    history = _history(space)
    reason = refusal(space, stage, round_)
    if reason and not force:
        raise Refused(reason, "force")
    if reason is None and not (anyway or force) and (reason := doubt(space, stage, round_)) and not sure(reason):
        raise Refused(reason, "anyway")
    changed = not history or history[-1]["identity"] != identity(manifest)
    entry = space.promote(stage, round_)  # where nothing changes, it makes a damaged copy whole
    return Promotion(entry, changed, reason if changed else None, provenance.deleted(space, entry))


def promote_best(space: Workspace) -> None:
    """In an unattended loop, promote the improved model where it is better, else the SFT model unless it is worse."""
    for stage in (registry.improved()[0], registry.models()[0]):
        try:
            promote(space, stage.name, space.round, anyway=not stage.improved)
        except Refused as error:
            say(str(error))
        else:
            return
