"""What a promotion or a rollback would change, said beforehand: the model, the verdict on it, who is affected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from steersman.artifact.manifest import identity, read_manifest
from steersman.artifact.workspace import Workspace, renamed
from steersman.rounds import canary, gate, registry
from steersman.rounds.all_rounds import all_rounds
from steersman.store import Store

WEEK = 7


def of_promotion(space: Workspace, store: Store, stage: str, round_: int) -> dict[str, Any]:
    """ValueError where the round has no model of that stage."""
    stage = renamed(stage)
    gate.check(space, stage, round_)
    mark = identity(read_manifest(space.stage_dir(stage, round_)))
    refusal = gate.refusal(space, stage, round_)
    doubt = None if refusal else gate.doubt(space, stage, round_)
    found = next(one for one in all_rounds(space) if one["round"] == round_)
    verdict = found["verdict"]
    to = {"round": round_, "stage": stage, "title": registry.get(stage).title}
    history = space.history()
    return {
        **_change(space, store, to),
        "changed": not history or history[-1]["identity"] != mark,
        "verdict": verdict if verdict and verdict["a"] == stage else None,
        "refusal": refusal and refusal.replace(f"{space.root}{os.sep}", ""),
        "doubt": doubt and doubt.replace(f"{space.root}{os.sep}", ""),
        "needs": "force" if refusal else "anyway" if doubt else "",
    }


def of_rollback(space: Workspace, store: Store) -> dict[str, Any]:
    """ValueError where nothing was promoted before the current model."""
    history = space.history()
    if len(history) < 2:
        raise ValueError(f"{space.root}: no model was promoted before the current one; there is nothing to go back to")
    return _change(space, store, _entry(history[-2])) | {"changed": True}


def _change(space: Workspace, store: Store, to: Mapping[str, Any]) -> dict[str, Any]:
    history = space.history()
    chats, recent = store.chats_counted(WEEK)
    running = canary.present(space)
    return {
        "now": _entry(history[-1]) if history else None,
        "next": dict(to),
        "chats": chats,
        "chats_week": recent,
        "canary": running.version if running else None,
    }


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = str(entry["stage"])
    title = registry.get(name).title if registry.is_stage(name) else name
    return {"round": entry["round"], "stage": name, "title": title, "time": entry.get("time")}
