"""`steersman round`: what people said becomes the next model, and the gate decides whether that is served.

    gather -> sft -> reward -> policy -> report -> gate

Each part is a stage or a file that is there whole or not at all, so the same call goes on after a kill at any moment;
what was promoted is written before the decision, which ends the round.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from steersman import locks
from steersman.artifact.files import atomic_write, now, read_object, write_json
from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import Workspace, renamed
from steersman.data.dataset import find, load_conversations
from steersman.eval.judges import Judge, judge_of_all
from steersman.progress import note as say
from steersman.rounds import registry
from steersman.rounds.decision import TOO_LONG, Check, Decision, conditions, told_data
from steersman.rounds.feedback_rules import Learned, message_of
from steersman.rounds.gate import VERDICT_FILE, promote
from steersman.rounds.gather import DATASETS, GATHERED, Material, collect, comparisons, labels, write_gathered
from steersman.rounds.inputs import base_model
from steersman.rounds.make import make_all
from steersman.rounds.opened import DECISION, Opened, decided, next_number, open_round, opened, round_folder
from steersman.rounds.other_process import ask
from steersman.rounds.provenance import holders, learned, rounds_of
from steersman.rounds.registry import Stage
from steersman.rounds.stages.report import REWARD
from steersman.store import Store

ENOUGH_RANKED = 20
"""Prompts with a preference from which a reward model can learn and be tested."""
MARKS = 16
"""Bytes, more than enough, that a template writes around a message."""


@dataclass(frozen=True)
class Preview:
    """What a round would learn."""

    round: int
    counts: Mapping[str, Any]
    """As `gather.Material` counts; of an unfinished round what it has gathered."""
    needed: int
    """New records that open a round."""

    def to_json(self) -> dict[str, Any]:
        return {"round": self.round, "needed": self.needed, **self.counts}

    def text(self) -> str:
        return "\n".join([f"round {self.round} would learn {self.counts['new']} new records", *told_data(self.counts)])


def make_round(
    space: Workspace, *, from_base: bool = False, without: Collection[str] = (), gated: bool = True
) -> Decision | None:
    """Make the next round, or go on with an unfinished one; None where nothing new is to be learned.

    Raises ValueError where a round cannot be made: no promoted model, no test prompts, nobody who judges.
    """
    with locks.making(space.root / "rounds" / "round"):
        began = _unfinished(space, from_base, without)
        if began is None:
            began = _begin(space, from_base, without)
        if began is None:
            return None
        at = space.pin()
        if not at.has(GATHERED):
            write_gathered(at, _material(at, began), {})
        candidate = _train(at)
        return _decide(at, began, candidate, gated)


def preview(
    space: Workspace, *, from_base: bool = False, without: Collection[str] = (), light: bool = False
) -> Preview:
    """What a round opened now would learn, or an unfinished one has gathered; nothing is written.

    `light`: a process without torch has another one measure long texts.
    """
    _wanted(space)
    began = _unfinished(space, from_base, without)
    if began is not None and space.has(GATHERED):
        return Preview(space.round, read_manifest(space.stage_dir(GATHERED)).metrics, 0)
    number = space.round if began else next_number(space)
    needed = 0 if began or without else space.config.round.min_new
    began = began or Opened(_origin(space, from_base, without)[0], None, tuple(without), "")
    found = _collected(space, began, number)
    if light and _to_measure(space, found) and "torch" not in sys.modules:
        told = ask(space, "round", "--preview")
        return Preview(told["round"], told, told["needed"])
    return Preview(number, _fitting(space, began, found).counts(), needed)


def _unfinished(space: Workspace, from_base: bool, without: Collection[str]) -> Opened | None:
    """The open round, if it is one of these and undecided. ValueError where it was begun otherwise."""
    began = opened(space)
    if began is None or decided(space, space.round):
        return None
    wanted = _origin(space, from_base, without)[0] if without or from_base else began.start
    asked = tuple(sorted(set(without))) or began.without
    if (began.start, began.without) != (wanted, asked):
        raise ValueError(
            f"{round_folder(space, space.round)}: begun from {_path(began.start)} without "
            f"{', '.join(began.without) or 'nothing'}; finish it first: steersman round"
        )
    return began


def _begin(space: Workspace, from_base: bool, without: Collection[str]) -> Opened | None:
    entry, served = _origin(space, from_base, without)
    promoted = any(one["round"] == space.round for one in space.history())
    made = any(space.has(stage.name) for stage in registry.stages())
    if made and not promoted and opened(space) is None and not space.has("report"):
        raise ValueError(
            f"{space.stage_dir('report')}: round {space.round} has no report yet; finish it: steersman run"
        )
    asked = tuple(sorted(set(without)))
    material = _material(space, Opened(entry, served, asked, ""), next_number(space))
    if material.new < space.config.round.min_new and not asked:
        say(f"round: {material.new} new records; expected at least {space.config.round.min_new}")
        return None
    _check(space, {r.prompt.messages for one in material.used for r in one.comparisons})
    open_round(space, entry, served, asked)
    return opened(space)


def _check(space: Workspace, ranked: Collection[Any]) -> None:
    """ValueError, before anything is computed, for what the end of the round would miss. `ranked`: prompts."""
    if not find(space, "prompts", "test"):
        if answered := find(space, "demonstrations", "test"):
            raise ValueError(
                f"{space.data}: no test prompts; expected some for the gate, such as the questions of your test "
                f"dialogues: steersman data import {answered[0]} --kind prompts --split test --name exam"
            )
        raise ValueError(
            f"{space.data}: no test prompts; expected some for the gate: steersman data import --split test"
        )
    wanted = _wanted(space)
    rewarded = wanted is not None and REWARD in wanted.parents  # the round makes a reward model
    judges = rewarded or _judge(space) is not None or any(space.has(REWARD, round_) for round_ in space.rounds())
    if not judges and len(ranked) < ENOUGH_RANKED:
        raise ValueError(
            "nobody can judge the next model: the test prompts are of no domain with rules (project.domain = "
            f"'{space.config.project.domain}'), no reward model was made, and of {ENOUGH_RANKED} ranked prompts that "
            f"one is learned from there are {len(ranked)}; rank some (steersman sample, then steersman rank or /rank), "
            "or name a function as project.judge"
        )


def _judge(space: Workspace) -> Judge | None:
    """The judge of the test prompts, if there is one."""
    files = find(space, "prompts", "test")
    return judge_of_all((p for path in files for p in load_conversations(path, "prompts")), space.config.project)


def _origin(space: Workspace, from_base: bool, without: Collection[str]) -> tuple[Any, Any]:
    """(the entry that training starts from, the served model's). A model that has learned what is to be left out is
    no start; then the last promoted one that has not, else the base model."""
    history = space.history()
    if not history and not from_base:
        raise ValueError(
            f"{space.root}: no promoted model; expected one to start from: steersman promote, or --from base"
        )
    served = history[-1] if history else None
    if from_base:
        return None, served
    spoilt = [entry["path"] for entry in holders(space, without)] if without else []
    clean = [entry for entry in history if entry["path"] not in spoilt]
    if served and (not clean or clean[-1] != served):
        say(
            f"round: {served['path']} has learned what is left out; starting from {_path(clean[-1] if clean else None)}"
        )
    return clean[-1] if clean else None, served


def _path(entry: Any) -> str:
    return str(entry["path"]) if entry else "base"


def _material(space: Workspace, began: Opened, round_: int = 0) -> Material:
    return _fitting(space, began, _collected(space, began, round_))


def _collected(space: Workspace, began: Opened, round_: int) -> Material:
    """What `_fitting` chooses from."""
    last = {f"{e['round']:03d}/{e['stage']}" for e in space.history()[-space.config.round.versions :]}
    found = collect(space, round_ or space.round, learned(space, began.start), began.without, last)
    _check_without(space, began.without, found)
    return found


def _to_measure(space: Workspace, found: Material) -> bool:
    """Whether something that people wrote may be longer than a row of SFT, where that would be an error."""
    rows = space.config.sft.rows
    written = (c for one in found.used if one.rule != DATASETS for c in one.demonstrations)
    most = max((sum(len(m.text.encode()) + MARKS for m in c.messages) for c in written), default=0)
    return rows.long_dialogues == "error" and most > rows.row_tokens // 2  # a token has a byte or more


def _fitting(space: Workspace, began: Opened, found: Material) -> Material:
    """What is gathered without what people wrote that is longer than a row of SFT: one such answer would end the round.

    Where `sft.long_dialogues` says what to do with longer ones, all is left to that.
    """
    if not _to_measure(space, found):
        return found
    from steersman.weights.folders import load_template

    start = space.root / began.start["path"] if began.start else base_model(space)
    template, longest = load_template(start, space.config.model), space.config.sft.rows.row_tokens
    why = f"longer than sft.row_tokens = {longest}"

    def fits(one: Learned) -> bool:
        written = one.demonstrations if one.rule != DATASETS and not one.why else ()
        return all(len(row.ids) <= longest for c in written for row in template.examples(c))

    records = tuple(one if fits(one) else one.dropped(why) for one in found.records)
    return dataclasses.replace(found, records=records)


def _check_without(space: Workspace, without: Collection[str], found: Material) -> None:
    """ValueError for what is to be left out and was never said: a mistyped id would be learned all the same."""
    unknown = set(without) - {id_ for one in found.records for id_ in (one.id, message_of(one.id))}
    if unknown and space.has_store:
        with Store.open(space.store) as store:  # what was taken back is there too
            unknown -= {id_ for record in store.records(ids=unknown) for id_ in (record, message_of(record))}
    unknown = {id_ for id_ in unknown if not rounds_of(space, id_)}  # what was forgotten
    if unknown:
        raise ValueError(
            f"--without {min(unknown)}: expected a record, an answer or a ranking task; none was ever stored or learned"
        )


def _train(space: Workspace) -> str:
    """Make the stages of the round; returns the name of the one whose model is the candidate."""
    policy, ranked = policy_of(space)
    names = {"sft", *policy.parents, policy.name, "report"}
    if _judge(space) is None and ranked >= ENOUGH_RANKED:
        names.add(REWARD)  # somebody must judge
    make_all(space, simulated=False, only=[stage for stage in registry.stages() if stage.name in names and stage.run])
    return policy.name


def policy_of(space: Workspace) -> tuple[Stage, int]:
    """The stage that improves the model, by `round.policy` and what was gathered; and how many prompts are ranked."""
    folder = space.stage_dir(GATHERED)
    ranked = {r.prompt.messages for r in comparisons(folder)}
    if (wanted := _wanted(space)) is not None:
        return wanted, len(ranked)
    judged = ranked | {r.prompt.messages for r in labels(folder)}
    first = registry.improved()[0]
    if len(ranked) >= ENOUGH_RANKED and find(space, "prompts", "train", first.section):
        return first, len(ranked)
    chosen = "kto" if len(judged) > 1 else "sft"  # KTO compares with answers to other prompts
    say(f"round: {len(ranked)} ranked prompts; expected {ENOUGH_RANKED} and prompts for {first.title}: taking {chosen}")
    return registry.get(chosen), len(ranked)


def _wanted(space: Workspace) -> Stage | None:
    """The stage that `round.policy` names; None for auto."""
    name = space.config.round.policy
    found = next((stage for stage in registry.models() if renamed(name) in (stage.verb, stage.name)), None)
    if found is None and name != "auto":
        known = ", ".join(stage.verb for stage in registry.models())
        raise ValueError(f"round.policy: expected auto or one of {known}, got '{name}'")
    return found


def _decide(space: Workspace, began: Opened, candidate: str, gated: bool) -> Decision:
    """Judge the candidate, promote it where the gate opens, and write what was decided."""
    path = space.stage_dir("report") / VERDICT_FILE
    checks = conditions(read_object(path, "a verdict"), candidate, began.against, space.config.round)
    checks += _unchanged(space, began, candidate)
    opens = all(check.held for check in checks)
    if opens or not gated:
        promote(space, candidate, space.round, anyway=True, force=not gated)
    made = {**read_manifest(space.stage_dir(GATHERED)).metrics, TOO_LONG: _too_long(space)}
    served = str(began.served["path"]) if began.served else ""
    decision = Decision(
        *(space.round, candidate, began.against, opens or not gated, gated, checks, made),
        *(_path(began.start), served, now()),
    )
    folder = round_folder(space, space.round)
    with atomic_write(folder / "decision.txt") as file:
        file.write(decision.text() + "\n")
    write_json(folder / DECISION, decision.to_json())
    return decision


def _too_long(space: Workspace) -> dict[str, int]:
    """What stages of the round left out of what was gathered, being longer than the context: verb -> records."""
    learning = [stage for stage in registry.stages() if stage.curves and space.has(stage.name)]
    counts = {stage.verb: read_manifest(space.stage_dir(stage.name)).metrics.get("skipped_long") for stage in learning}
    return {verb: n for verb, n in counts.items() if n}


def _unchanged(space: Workspace, began: Opened, candidate: str) -> tuple[Check, ...]:
    """Whether the model that the candidate was compared with is still served, or the candidate is already."""
    now_served = next(reversed(space.history()), None)
    mine = (space.round, candidate)
    same = now_served == began.served or (now_served is not None and (now_served["round"], now_served["stage"]) == mine)
    path = _path(now_served)
    return (
        ()
        if same
        else (Check("served", path, False, f"{path} was promoted meanwhile; compare with it: steersman round"),)
    )


def read_decision(space: Workspace, round_: int) -> dict[str, Any]:
    """A round's decision. ValueError where there is none."""
    path = round_folder(space, round_) / DECISION
    if not path.is_file():
        raise ValueError(f"{path}: no decision; expected a round that steersman round finished")
    return read_object(path, "a decision")
