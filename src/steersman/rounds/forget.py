"""Unlearning: what a person said is deleted from the store and from every file that was made of it.

What remains is the ids, so that `steersman lineage` still names the rounds that learned it and the models that know it.
A model itself cannot forget: `steersman round --without ID` makes the next one, from the last that had not learned it.

Why so: decision 69 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman import locks
from steersman.artifact.files import write_json
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest, tree_hashes, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.rounds.export import RANKINGS_FILE, of_edits, open_store, write_lines
from steersman.rounds.feedback_rules import message_of, record_of
from steersman.rounds.gather import COUNTS, DEMONSTRATIONS, GATHERED, INDEX, LABELS, RANKINGS, read_lines
from steersman.rounds.opened import round_folder
from steersman.rounds.provenance import GONE, Source, add_own, holders, learned_in, read_from

DELETED = "deleted before it was learned"
ERASED = "records that people deleted are no longer in it"


@dataclass(frozen=True)
class Forgotten:
    """What was deleted, and who had learned it."""

    records: tuple[str, ...]
    rows: int
    """Rows deleted from the store."""
    files: tuple[str, ...]
    """Files without these records now."""
    rounds: tuple[int, ...]
    """Rounds that learned some of them."""
    models: tuple[str, ...]
    """Promoted models that have learned some of them."""
    unseen: tuple[str, ...] = ()
    """Files that are not looked into: backups, exports, what was put aside."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{len(self.records)} records deleted, {self.rows} rows of the store"]
        lines += [f"no longer in {name}" for name in self.files]
        lines.append(
            f"learned by rounds {', '.join(map(str, self.rounds))}" if self.rounds else "no round learned them"
        )
        lines += [f"known to {name}" for name in self.models]
        lines += [f"not looked into, may still hold them: {', '.join(self.unseen)}"] if self.unseen else []
        return "\n".join(lines)


def find_records(space: Workspace, ids: Collection[str], by: str | None) -> list[str]:
    """Records in the store, those that no longer count included. ValueError where one of the ids, or the person, has
    none."""
    with open_store(space) as store:
        found = store.records(by=by, ids=ids)
    lacking = set(ids) - {id_ for record in found for id_ in (record, message_of(record))}
    if not found or lacking:
        who = f"of {by}" if by is not None else f"called {', '.join(sorted(lacking))}"
        raise ValueError(f"{space.store_shown}: no feedback or rankings {who}; expected some")
    return found


def forget(space: Workspace, records: Collection[str]) -> Forgotten:
    """Delete the records everywhere, the store last, so that after a kill the same call finds them again."""
    learned = learned_in(space, records)
    models = tuple(dict.fromkeys(entry["path"] for entry in holders(space, records)))
    files = erase(space, records)
    with open_store(space) as store:
        rows = store.erase(records)
    return Forgotten(tuple(records), rows, tuple(files), learned, models, unseen(space))


def unseen(space: Workspace) -> tuple[str, ...]:
    """Files and folders that may hold what people said and that nothing is taken out of; promoted models of which
    nobody can tell what they have learned."""
    aside = ("data/*.damaged-*", "rounds/*/*.damaged-*", "*.schema-*")  # the last: a store before its migration
    places = ("backups/*", "exports/*.jsonl", "exports/*.zip", *aside)
    found = [path for place in places for path in space.root.glob(place)]
    found += (folder for folder in space.root.glob("promoted/*") if folder.is_dir() and not _readable(folder))
    return tuple(str(path.relative_to(space.root)) for path in sorted(found))


def _readable(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except (ValueError, OSError):
        return False
    return True


def erase(space: Workspace, records: Collection[str]) -> list[str]:
    """Take the records out of data sets and artifacts; returns the changed files, relative to the workspace.

    locks.Busy where a stage is reading one of them.
    """
    gone, changed = set(records), []
    for number in space.rounds():
        _keep_ids(space, number, gone)  # before the files and the store lose them
        folder = space.stage_dir(GATHERED, number)
        changed += _rewritten(folder, gone, (DEMONSTRATIONS, RANKINGS, LABELS, INDEX), read_from(space, number))
        changed += _rewritten(space.stage_dir("rankings", number), gone, (RANKINGS_FILE,))
    sets = dataset.datasets(space)
    for info in sets:
        if of_edits(info, sets):
            changed += _without(space, info, gone)
    return [str(path.relative_to(space.root)) for path in changed]


def _keep_ids(space: Workspace, number: int, gone: Collection[str]) -> None:
    """Note the records in the manifests of what was made of them without `gather`'s index: by name or hash alone."""
    for path in round_folder(space, number).glob(f"*/{MANIFEST_NAME}"):
        manifest = read_manifest(path.parent)
        if manifest.stage == GATHERED:
            continue
        source = Source(number)
        add_own(space, source, path.parent, manifest)
        if any(one["id"] in gone and not one.get("deleted") for one in source.records):
            kept = {one["id"]: one["rule"] for one in source.records if one["id"] in gone or one.get("deleted")}
            metrics = {**manifest.metrics, GONE: dict(sorted(kept.items()))}
            write_json(path, dataclasses.asdict(dataclasses.replace(manifest, metrics=metrics)))


def _without(space: Workspace, info: dataset.DatasetInfo, gone: Collection[str]) -> list[Path]:
    """The data set without the records. What was made of it still takes its place, by the hash that it had."""
    found = list(dataset.stream_records(info.path))
    kept = [one for one in found if isinstance(one, str) or not _of_one(one.id, gone)]
    if len(kept) == len(found):
        return []
    if kept:
        how = {**info.config, dataset.WAS: [*info.config.get(dataset.WAS, ()), info.sha256]}
        dataset.write_dataset(
            *(space.data, info.name, info.kind, info.split, kept, info.source, how),
            replace=True,
            purpose=info.purpose,
            source_sha256=info.source_sha256,
            skipped=info.skipped,
            changed=info.changed,
            simulated=info.simulated,
        )
        dataset.remove_reports(info)
    else:
        dataset.remove_dataset(info)
    return [info.path]


def _rewritten(folder: Path, gone: Collection[str], names: Collection[str], learned: bool = True) -> list[Path]:
    """The artifact's files without the records, and a manifest that fits them; in the index they lose their person.

    `learned`: whether anything was made of it; else its counts are of what is left.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return []
    changed: dict[Path, list[dict[str, Any]]] = {}
    lost: dict[str, list[str]] = {}
    for path in (folder / name for name in names if (folder / name).is_file()):
        rows = read_lines(path)
        if path.name == INDEX:
            kept = _nameless(rows, gone, learned)
        else:
            lost[path.name] = [id_ for row in rows if _of_one(id_ := str(row.get("id", "")), gone)]
            kept = [row for row in rows if not _of_one(str(row.get("id", "")), gone)]
        if kept != rows:
            changed[path] = kept
    old = read_manifest(folder)
    if changed or tree_hashes(folder) != old.files:  # the latter after a kill before the manifest was written
        with locks.making(folder):
            for path, kept in changed.items():
                write_lines(path, (json.dumps(row, ensure_ascii=False) for row in kept))
            notes = tuple(dict.fromkeys((*old.notes, ERASED)))
            counts = old.metrics
            if not learned and (folder / INDEX) in changed:
                counts = _recounted(old.metrics, changed[folder / INDEX], gone, lost)
                write_json(folder / COUNTS, counts)
            write_manifest(folder, old.stage, old.config, old.inputs, counts, notes)
    return list(changed)


def _of_one(made: str, gone: Collection[str]) -> bool:
    """Whether a line of training data is one of these records, or was made of one."""
    return made in gone or record_of(made) in gone


def _nameless(rows: list[dict[str, Any]], gone: Collection[str], learned: bool) -> list[dict[str, Any]]:
    """The index without the person; of what nothing was made of yet nothing is learned either."""
    unused = {} if learned else {"used": False, "why": DELETED, "made": []}
    return [
        {**row, "by": "", "deleted": True, **(unused if row.get("used") else {})} if row["id"] in gone else row
        for row in rows
    ]


def _recounted(
    counts: Mapping[str, Any], index: Sequence[Mapping[str, Any]], gone: Collection[str], lost: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The counts of `gather` without the records that are gone, whose lines in the files are `lost`."""
    out: dict[str, Any] = json.loads(json.dumps({"rules": {}, "made": {}, "new": 0, **counts}))
    rows = {row["id"]: row for row in index if row["id"] in gone}
    for row in (row for row in rows.values() if row.get("why") == DELETED and row["rule"] in out["rules"]):
        rule = out["rules"][row["rule"]]
        rule["used"] -= 1
        rule["dropped"][DELETED] = rule["dropped"].get(DELETED, 0) + 1
        out["new"] -= bool(row.get("new"))
    for name, what in ((DEMONSTRATIONS, "demonstrations"), (RANKINGS, "comparisons"), (LABELS, "labels")):
        for id_ in lost.get(name, ()) if what in out["made"] else ():
            row = rows.get(id_) or rows.get(record_of(id_)) or {}
            out["made"][what]["new" if row.get("new") else "old"] -= 1
    return out
