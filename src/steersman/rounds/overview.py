"""Status of a round: its artifacts and their inputs, which of them are stale, and the next command."""

from __future__ import annotations

from collections import Counter
from typing import Any

from steersman.artifact.workspace import Workspace, renamed_keys
from steersman.data import dataset
from steersman.rounds import gate, registry
from steersman.rounds.lineage import StageState, round_states
from steersman.rounds.opened import decided, opened

PROMOTE = "steersman promote"


def ranking_counts(space: Workspace, round_: int) -> dict[str, Any]:
    """{tasks, ranked, by_labeler, simulated} of the round, people by name; zeros where nothing was stored."""
    if not space.has_store:
        return {"tasks": 0, "ranked": 0, "by_labeler": {}, "simulated": 0}
    from steersman.store import Store

    with Store.open(space.store) as store:
        found, names = store.ranking_progress(round_), store.accounts.names()
    return {**found, "by_labeler": {names.get(who, who): n for who, n in found["by_labeler"].items()}}


def feedback_counts(space: Workspace) -> dict[str, int]:
    """{like, dislike, edit, flag}: counts of what people said of answers in chats."""
    counts = dict.fromkeys(("like", "dislike", "edit", "flag"), 0)
    if space.has_store:
        from steersman.store import Store

        with Store.open(space.store) as store:
            counts |= Counter(said.kind for said in store.feedback(counts))
    return counts


def promotions(space: Workspace) -> tuple[list[dict[str, Any]], str]:
    """(promotions, oldest first; what is wrong with current.json: then none are known)."""
    try:
        return space.history(), ""
    except ValueError as error:
        return [], str(error)


def next_command(space: Workspace, states: list[StageState], has_data: bool, round_: int) -> str:
    """The next command of the loop."""
    if opened(space, round_):
        if not decided(space, round_):
            return "steersman round"
        asked = registry.get("samples")  # for people to rank, of the model that is served now
        missing = asked.wanted(space) and not space.has(asked.name, round_)
        return f"steersman {asked.verb}" if missing else "steersman serve"
    if not has_data:
        return "steersman data import shop" if space.config.project.domain == "shop" else "steersman data import FILE"
    ready = [
        stage for stage in registry.improved() if any(s.stage == stage.name and s.state == "ready" for s in states)
    ]
    for state in states:
        stage = registry.get(state.stage)
        if state.state == "ready" or (ready and state.state == "missing" and registry.for_improved_only(stage)):
            continue  # one improved model replaces another, together with the artifacts that only the other needs
        command = stage.todo(space, round_) if stage.todo else f"steersman {stage.verb}"
        if command is not None:
            return command
    history, _ = promotions(space)
    if not history or int(history[-1]["round"]) < round_:
        name = ready[0].name
        if gate.found_worse(space, name, round_):  # promoting it would be refused
            against = gate.baseline(space, name, round_)
            return "steersman serve" if history or not space.has(against, round_) else f"{PROMOTE} --stage {against}"
        return PROMOTE if name == registry.improved()[0].name else f"{PROMOTE} --stage {name}"
    return "steersman serve"


def collect(space: Workspace, round_: int) -> dict[str, Any]:
    """Everything that status shows, as JSON; of the data sets those that others were not made of. `damage`: what is
    wrong with current.json, so that nobody knows what is served."""
    infos = dataset.datasets(space)
    gone = dataset.superseded(infos)
    states = round_states(space, round_)
    history, damage = promotions(space)
    found = opened(space, round_)
    begun = str(found.start["path"]) if found and found.start else "base"
    return {
        "workspace": str(space.root),
        "round": round_,
        "rounds": space.rounds(),
        "stages": [_stage_json(state, begun) for state in states],
        "current": history[-1] if history else None,
        "damage": damage,
        "datasets": [
            {key: getattr(i, key) for key in ("name", "kind", "split", "purpose", "count", "simulated")}
            for i in infos
            if i.name not in gone
        ],
        "rankings": ranking_counts(space, round_),
        "feedback": feedback_counts(space),
        "next": next_command(space, states, bool(infos), round_),
    }


def _stage_json(state: StageState, begun: str) -> dict[str, Any]:
    """`begun`: the model that the round started from, which stages take as their base."""
    made = state.manifest
    return {
        "stage": state.stage,
        "state": state.state,
        "changed_inputs": list(state.changed),
        "changed_settings": list(state.settings),
        "resume": state.resume,
        "damage": state.damage,
        "put_aside": list(state.aside),
        "inputs": {begun if k == "base" else k: v for k, v in renamed_keys(made.inputs).items()} if made else {},
        "created": made.created if made else None,
        "metrics": dict(made.metrics) if made else {},
        "notes": list(made.notes) if made else [],
    }
