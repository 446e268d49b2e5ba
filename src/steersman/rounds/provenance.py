"""Where a model's words come from: the rounds behind it, their data sets, and the records of people's feedback.

A round of `steersman round` keeps an index of its records (`gather`); of a round opened by hand the manifests name data
sets and rankings. Records are named by id, people by the id that the store has of them, and words are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.artifact.files import read_object
from steersman.artifact.manifest import MANIFEST_NAME, identity, read_manifest
from steersman.artifact.workspace import NAME, Workspace, renamed, renamed_keys
from steersman.data import dataset
from steersman.data.reading import silent
from steersman.rounds.export import EDITS, RANKINGS_FILE, feedback_for
from steersman.rounds.feedback_rules import DEMONSTRATION, EDIT, LABEL, RANKING, SAID_BY_EDIT, message_of
from steersman.rounds.gather import GATHERED, INDEX, read_lines
from steersman.rounds.opened import DECISION, opened, round_folder
from steersman.rounds.registry import artifact_of
from steersman.store import NotFound, Store
from steersman.types import Manifest

GONE = "erased"
"""In the metrics of what was made by hand: ids of records that people deleted since, with their rules (of a round's
rankings once the ids alone)."""
Entry = Mapping[str, Any]
"""An entry of `Workspace.history`."""


@dataclass
class Source:
    """What the models of one round learned from."""

    round: int
    datasets: dict[str, str] = field(default_factory=dict)
    """'data:NAME' -> content hash"""
    records: list[dict[str, Any]] = field(default_factory=list)
    """Records of the store: {id, rule, by, used, ...}"""
    unknown: list[str] = field(default_factory=list)
    """What cannot be named any more, and why."""

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "data": self.datasets,
            "records": [{key: one[key] for key in ("id", "rule", "by")} for one in self.records],
            "unknown": self.unknown,
        }


def behind(space: Workspace, entry: Entry | None) -> list[Source]:
    """The rounds that a promoted model comes from, the last first."""
    out: list[Source] = []
    while entry is not None and all(source.round != entry["round"] for source in out):
        out.append(_of_model(space, entry))
        began = opened(space, entry["round"])
        entry = began.start if began else None
    return out


def learned(space: Workspace, entry: Entry | None) -> set[str]:
    """Ids of the records, and 'data:NAME's, that a promoted model has learned; none of the base model."""
    found: set[str] = set()
    for source in behind(space, entry):
        found |= source.datasets.keys() | {one["id"] for one in source.records}
    return found


def _of_model(space: Workspace, entry: Entry) -> Source:
    source = Source(entry["round"])
    folder = space.root / entry["path"]
    if not (folder / MANIFEST_NAME).is_file():
        source.unknown.append(f"{entry['path']} is gone")
        return source
    try:
        read_manifest(folder)
    except ValueError as error:
        source.unknown.append(f"{entry['path']} cannot be read: {error}")
        return source
    _follow(space, source, folder, source.round, set())
    return source


def of_round(space: Workspace, round_: int) -> Source:
    """What any artifact of the round was made from, promoted or not."""
    source = Source(round_)
    seen: set[Path] = set()
    for folder in sorted(path.parent for path in round_folder(space, round_).glob(f"*/{MANIFEST_NAME}")):
        _follow(space, source, folder, round_, seen)
    return source


def _follow(space: Workspace, source: Source, folder: Path, round_: int, seen: set[Path]) -> None:
    """Add what the artifact of the round was made from, and what its inputs were."""
    if folder in seen:
        return
    seen.add(folder)
    manifest = read_manifest(folder)
    add_own(space, source, folder, manifest)
    for name, recorded in renamed_keys(manifest.inputs).items():
        if (of := artifact_of(name)) is not None:
            at = of[0] or round_
            below = space.stage_dir(of[1].name, at)
            if not (below / MANIFEST_NAME).is_file():
                source.unknown.append(f"{of[1].name} of round {at} is gone")
                continue
            if identity(read_manifest(below)) != recorded:
                source.unknown.append(f"{of[1].name} of round {at} was made anew since")
            _follow(space, source, below, at, seen)


def add_own(space: Workspace, source: Source, folder: Path, manifest: Manifest) -> None:
    """Add the data sets and records that an artifact read itself, and those of them that people deleted since."""
    if manifest.stage == GATHERED:
        source.records += [one for one in read_lines(folder / INDEX) if one["used"]]
    if manifest.stage == "rankings" and (folder / RANKINGS_FILE).is_file():
        rows = read_lines(folder / RANKINGS_FILE)
        _add(source, ({"id": r["id"], "rule": RANKING, "by": r.get("labeler", "")} for r in rows))
    gone: Mapping[str, str] | list[str] = manifest.metrics.get(GONE, {})
    gone = gone if isinstance(gone, Mapping) else dict.fromkeys(gone, RANKING)
    _add(source, ({"id": id_, "rule": rule, "by": "", "deleted": True} for id_, rule in gone.items()))
    for name, recorded in renamed_keys(manifest.inputs).items():
        if name.startswith("data:"):
            source.datasets[name] = recorded
            _add_edits(space, source, name)
        elif name == "feedback":
            _add_said_before(space, source, manifest)


def _add(source: Source, records: Iterable[dict[str, Any]]) -> None:
    """Add the records that are not yet there, by another artifact of the round."""
    known = {one["id"] for one in source.records}
    source.records += [one for one in records if one["id"] not in known]


def _add_edits(space: Workspace, source: Source, name: str) -> None:
    """What is behind a data set that `steersman next` wrote, whose demonstrations are called edit-RECORD (an edited
    answer) or desk-RECORD (a written dialogue)."""
    path = space.data / f"{name.removeprefix('data:')}.jsonl"
    if not path.is_file() or dataset.read_info(path).source != EDITS:
        return
    for conversation in dataset.load_conversations(path):
        kind, _, record = conversation.id.partition("-")
        _add(source, [{"id": record, "rule": DEMONSTRATION if kind == "desk" else EDIT, "by": ""}])


def _add_said_before(space: Workspace, source: Source, manifest: Manifest) -> None:
    """DPO and KTO of a round opened by hand took all feedback that there was, and recorded a hash of it."""
    source.unknown.append("feedback: the manifest holds a hash; named is what the store has from before it")
    if space.has_store:
        said = (one for one in feedback_for(space, manifest.stage != "dpo", silent) if one.created < manifest.created)
        _add(source, ({"id": r.id, "rule": EDIT if r.pairs() else LABEL, "by": r.labeler} for r in said))


# a record, an answer


def rounds_of(space: Workspace, record: str) -> list[dict[str, Any]]:
    """The rounds that learned a record (or any record about an answer or ranking task), whether it is still stored."""
    found = []
    for number in space.rounds():
        mine = [row for row in _rows(space, number) if record in (row["id"], message_of(row["id"]))]
        if mine:
            began = opened(space, number)
            learned_in = [row for row in mine if row.get("used", True)]
            found.append(
                {
                    "round": number,
                    "learned": bool(learned_in),
                    "records": mine,
                    "promoted": _promoted(space, number, record),
                    "start": began.start["path"] if began and began.start else None,
                }
            )
    return found


def unlearned(space: Workspace, records: Collection[str]) -> list[str]:
    """Those of the records that no round has learned, nor the edit that says the same."""
    known: set[str] = set()
    for number in space.rounds() if records else ():
        rows = _rows(space, number)
        edited = {message_of(row["id"]) for row in rows if row["rule"] == EDIT and row.get("used", True)}
        said = (row for row in rows if row.get("why") == SAID_BY_EDIT and message_of(row["id"]) in edited)
        known |= {row["id"] for row in (*(row for row in rows if row.get("used", True)), *said)}
    return [id_ for id_ in records if id_ not in known]


def learned_in(space: Workspace, records: Collection[str]) -> tuple[int, ...]:
    """The rounds that learned one of the records, or one about an answer or ranking task of that id."""
    wanted = set(records)

    def has(number: int) -> bool:
        return any(wanted & {row["id"], message_of(row["id"])} for row in _rows(space, number) if row.get("used", True))

    return tuple(number for number in (space.rounds() if wanted else ()) if has(number))


def _rows(space: Workspace, number: int) -> list[dict[str, Any]]:
    """What a round knows of records: of each whether it was learned, where that is noted."""
    index = space.stage_dir(GATHERED, number) / INDEX
    return read_lines(index) if index.is_file() else of_round(space, number).records


def holders(space: Workspace, records: Collection[str]) -> list[Entry]:
    """Promoted models that have learned one of the records, by themselves or through the model they started from; what
    was rolled back lies there too, and comes last."""
    wanted = set(records)

    def has(entry: Entry) -> bool:
        return any(wanted & {id_, message_of(id_)} for id_ in learned(space, entry))

    history = space.history()
    paths = {entry["path"] for entry in history}
    return [entry for entry in (*history, *(one for one in _kept(space) if one["path"] not in paths)) if has(entry)]


def _kept(space: Workspace) -> list[Entry]:
    """Every model that was promoted once and lies there, the last made last; without identity and time."""

    def made(folder: Path) -> str:
        try:
            return read_manifest(folder).created
        except ValueError:
            return ""

    there = (path.parent for path in (space.root / "promoted").glob(f"*/{MANIFEST_NAME}"))
    found = [(made(folder), folder, name) for folder in there if (name := COPY.fullmatch(folder.name))]
    return [
        {"round": int(name["round"]), "stage": renamed(name["stage"]), "path": str(folder.relative_to(space.root))}
        for _, folder, name in sorted(found, key=lambda one: one[0])
    ]


COPY = re.compile(r"(?P<round>\d+)-(?P<stage>.+)-[0-9a-f]{8}")
"""Pattern of a promoted model's folder."""


def deleted(space: Workspace, entry: Entry) -> int:
    """How many records that people deleted since a promoted model has learned."""
    return len({one["id"] for source in behind(space, entry) for one in source.records if one.get("deleted")})


def read_from(space: Workspace, round_: int) -> bool:
    """Whether any stage of the round has been made of what the round gathered."""
    places = round_folder(space, round_).glob(f"*/{MANIFEST_NAME}")
    return any(GATHERED in renamed_keys(read_manifest(path.parent).inputs) for path in places)


def _promoted(space: Workspace, round_: int, record: str) -> bool:
    """Whether what the round decided on was promoted; of a round by hand, whether a model that learned it was."""
    path = round_folder(space, round_) / DECISION
    if path.is_file():
        return bool(read_object(path, "a decision").get("promoted"))
    current = {entry["path"] for entry in space.history()}
    return any(entry["round"] == round_ and entry["path"] in current for entry in holders(space, [record]))


def about(space: Workspace, id_: str) -> dict[str, Any]:
    """What there is to say of an answer, a feedback record or a ranking: models, data, records, rounds.

    ValueError where nothing of that id was ever stored or learned.
    """
    out: dict[str, Any] = {"id": id_, "learned_by": rounds_of(space, id_)}
    out["models"] = [entry["path"] for entry in holders(space, [id_])]
    answer = id_
    if space.has_store:
        with Store.open(space.store) as store:
            for answer in (id_, message_of(id_)):
                try:
                    found = store.message(answer)
                except NotFound:
                    continue
                if found.blind:
                    raise ValueError(
                        f"{id_}: which model wrote it is told once somebody has chosen between the answers"
                    )
                return out | {"answer": answer, **_made_by(space, found.policy_version)}
            if _is_task(store, id_):
                return out | {"stored": True}
    if not out["learned_by"]:
        raise ValueError(
            f"{id_}: expected the id of an answer, a feedback record or a ranking; none of that id is stored or was "
            "learned (what no round has learned leaves no trace when it is deleted)"
        )
    return out | {"stored": False}


def _is_task(store: Store, id_: str) -> bool:
    for task in (id_, message_of(id_)):
        if store.desk.has(task):
            return True
        try:
            store.task(task)
        except NotFound:
            continue
        return True
    return False


def _made_by(space: Workspace, version: str) -> dict[str, Any]:
    """The model that gave an answer, by its policy version ('003/ppo'), and what is behind it."""
    said: dict[str, Any] = {"stored": True, "version": version}
    if (entry := _entry_of(space, version)) is None:
        return said | {"model": None, "sources": []}
    return said | {"model": entry["path"], "sources": [s.to_json() for s in behind(space, entry)]}


def _entry_of(space: Workspace, version: str) -> Entry | None:
    """The model of a policy version: promoted, else promoted once and rolled back, else one that a canary asked."""
    number, _, stage = version.partition("/")
    if not number.isdigit() or not NAME.fullmatch(stage):
        return None
    round_, stage = int(number), renamed(stage)
    if promoted := [e for e in space.history() if (e["round"], e["stage"]) == (round_, stage)]:
        return promoted[-1]
    if kept := [e for e in _kept(space) if (e["round"], e["stage"]) == (round_, stage)]:
        return kept[-1]
    if not space.has(stage, round_):
        return None
    return {"round": round_, "stage": stage, "path": str(space.stage_dir(stage, round_).relative_to(space.root))}
