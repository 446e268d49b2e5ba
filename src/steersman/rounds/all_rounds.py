"""Every round of a workspace in a few facts each: how it began, what its report says, what the gate decided.

Read from files alone (verdict.json, decision.json, manifests), so that a page can show it while stages run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman import config as configs
from steersman.artifact.files import read_object
from steersman.artifact.manifest import read_manifest
from steersman.artifact.names import REPORT
from steersman.artifact.workspace import Workspace, renamed
from steersman.eval import wording
from steersman.eval.verdict import Caution
from steersman.rounds import registry
from steersman.rounds.gate import VERDICT_FILE
from steersman.rounds.lineage import round_states
from steersman.rounds.loop import read_decision
from steersman.rounds.opened import decided, opened

Pair = Mapping[str, Any]
"""A comparison, as in verdict.json."""


def all_rounds(space: Workspace) -> list[dict[str, Any]]:
    """The rounds, the newest first. What cannot be read of one is said in its `damage`."""
    history = space.history()
    return [_round(space, number, history) for number in reversed(space.rounds())]


def one_round(space: Workspace, number: int) -> dict[str, Any]:
    """A round with its stages, the settings of each, and the whole decision. ValueError where there is none."""
    space.check_round(number)
    states = round_states(space, number)
    return {
        **_round(space, number, space.history()),
        "stages": [_stage(space, number, state) for state in states],
        "conditions": read_decision(space, number) if decided(space, number) else None,
        "cautions": [_caution(one) for one in _verdict(space, number).get("cautions", ())],
    }


def _round(space: Workspace, number: int, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"round": number, "damage": "", "began": None, "start": None, "decision": None}
    found |= {"verdict": None, "served": "", "models": [], "report": False}
    try:
        began = opened(space, number)
        found["began"] = began.time if began else None
        found["start"] = (began.start["path"] if began.start else "base") if began else None
        found["models"] = [stage.name for stage in registry.models() if space.has(stage.name, number)]
        found["promoted"] = [entry["stage"] for entry in history if entry["round"] == number]
        last = history[-1] if history else None
        found["served"] = last["stage"] if last and last["round"] == number else ""
        found["report"] = (space.stage_dir("report", number) / REPORT).is_file()
        decision = read_decision(space, number) if decided(space, number) else None
        if decision:
            keys = ("promoted", "gate", "candidate", "against", "time", "reasons")
            found["decision"] = {key: decision[key] for key in keys} | {"new": decision["data"].get("new")}
        pair = _headline(_verdict(space, number).get("pairs", ()), decision)
        found["verdict"] = _told(pair) if pair else None
    except (ValueError, KeyError, TypeError) as error:
        found["damage"] = str(error) if isinstance(error, ValueError) else f"round {number}: {error!r} is missing"
    return found


def _verdict(space: Workspace, number: int) -> dict[str, Any]:
    path = space.stage_dir("report", number) / VERDICT_FILE
    return read_object(path, "a verdict") if path.is_file() else {}


def _headline(pairs: Sequence[Pair], decision: Mapping[str, Any] | None) -> Pair | None:
    """The comparison that was decided on, else that of an improved model with what it must beat, else the last."""
    wanted = (decision["candidate"], decision["against"]) if decision else None
    for pair in pairs:
        a, b = renamed(pair["a"]), renamed(pair["b"])
        maker = registry.maker_of(a)
        if (a, b) == wanted or (wanted is None and maker.improved and b == maker.against[0]):
            return pair
    return pairs[-1] if pairs else None


def _told(pair: Pair) -> dict[str, Any]:
    keys = ("a", "b", "a_label", "b_label", "word", "n", "wins", "ties", "losses", "difference", "sentence")
    return {key: pair.get(key) for key in keys} | {"worse": worse_parts(pair)}


def worse_parts(pair: Pair) -> list[str]:
    """Axes and intents of a comparison whose whole interval lies below 0."""
    intervals = {
        **(pair.get("axes") or {}),
        **{row["intent"]: row["difference"] for row in pair.get("by_intent") or ()},
    }
    return [name for name, of in intervals.items() if of["high"] is not None and of["high"] < 0]


def _caution(one: Mapping[str, Any]) -> dict[str, str]:
    """A caution of a verdict in every language; in English alone where another version wrote it."""
    try:
        caution = Caution(one["code"], one["values"])
        return {language: wording.caution(caution, language) for language in wording.LANGUAGES}
    except (KeyError, TypeError):
        return {"en": str(one.get("text", ""))}


def _stage(space: Workspace, number: int, state: Any) -> dict[str, Any]:
    """A stage's state and settings: those that its artifact was made with, else those that it would take now."""
    stage = registry.get(state.stage)
    made = read_manifest(space.stage_dir(stage.name, number)) if state.manifest else None
    settings = dict(made.config) if made else configs.to_dict(stage.settings(space.config)) if stage.section else {}
    told = stage.tell(made.metrics) if made else ""
    return {
        "stage": stage.name,
        "verb": stage.verb,
        "title": stage.title,
        "makes": stage.run is not None,
        "section": stage.section,
        "people": stage.by_judge is not None,
        "state": state.state,
        "resume": state.resume,
        "damage": state.damage,
        "changed": [*state.changed, *state.settings],
        "created": made.created if made else None,
        "notes": unsaid(made.notes, told) if made else [],
        "told": told,
        "settings": _flat(settings),
    }


def unsaid(notes: Sequence[str], told: str) -> list[str]:
    """The notes that `told` does not hold, whatever counts they begin with."""
    return [note for note in notes if re.sub(r"\A\d+(?: of \d+)?\s", "", note) not in told]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as rows.batch_tokens = 64."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return out
