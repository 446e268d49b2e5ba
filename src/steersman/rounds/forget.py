"""Unlearning: what a person said is deleted from the store and from every file that was made of it.

What remains is the ids, so that `steersman lineage` still names the rounds that learned it and the models that know it.
A model itself cannot forget: `steersman round --without ID` makes the next one, from the last that had not learned it.

Why so: decision 69 in docs/LOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman import locks
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest, tree_hashes, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.rounds.export import RANKINGS_FILE, of_edits, open_store, write_lines
from steersman.rounds.gather import DEMONSTRATIONS, GATHERED, INDEX, LABELS, RANKINGS, read_lines
from steersman.rounds.provenance import holders, learned_in

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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{len(self.records)} records deleted, {self.rows} rows of the store"]
        lines += [f"no longer in {name}" for name in self.files]
        lines.append(
            f"learned by rounds {', '.join(map(str, self.rounds))}" if self.rounds else "no round learned them"
        )
        lines += [f"known to {name}" for name in self.models]
        return "\n".join(lines)


def find_records(space: Workspace, ids: Collection[str], by: str | None) -> list[str]:
    """Records in the store, those that no longer count included. ValueError where there are none."""
    with open_store(space) as store:
        found = store.records(by=by, ids=ids)
    if not found:
        who = f"of {by}" if by is not None else f"called {', '.join(ids)}"
        raise ValueError(f"{space.store_shown}: no feedback or rankings {who}; expected some")
    return found


def forget(space: Workspace, records: Collection[str]) -> Forgotten:
    """Delete the records everywhere, the store last, so that after a kill the same call finds them again."""
    learned = learned_in(space, records)
    models = tuple(dict.fromkeys(entry["path"] for entry in holders(space, records)))
    files = erase(space, records)
    with open_store(space) as store:
        rows = store.erase(records)
    return Forgotten(tuple(records), rows, tuple(files), learned, models)


def erase(space: Workspace, records: Collection[str]) -> list[str]:
    """Take the records out of data sets and artifacts; returns the changed files, relative to the workspace.

    locks.Busy where a stage is reading one of them.
    """
    gone, changed = set(records), []
    for number in space.rounds():
        folder = space.stage_dir(GATHERED, number)
        changed += _rewritten(folder, gone, (DEMONSTRATIONS, RANKINGS, LABELS, INDEX))
        changed += _rewritten(space.stage_dir("rankings", number), gone, (RANKINGS_FILE,))
    sets = dataset.datasets(space)
    for info in sets:
        if of_edits(info, sets):
            changed += _without(space, info, {f"edit-{id_}" for id_ in gone})
    return [str(path.relative_to(space.root)) for path in changed]


def _without(space: Workspace, info: dataset.DatasetInfo, ids: Collection[str]) -> list[Path]:
    found = dataset.load_conversations(info.path)
    kept = [c for c in found if c.id not in ids]
    if len(kept) == len(found):
        return []
    if kept:
        how = dict(info.config)
        dataset.write_dataset(space.data, info.name, info.kind, info.split, kept, info.source, how, replace=True)
    else:
        dataset.remove_dataset(info)
    return [info.path]


def _rewritten(folder: Path, gone: Collection[str], names: Collection[str]) -> list[Path]:
    """The artifact's files without the records, and a manifest that fits them; in the index they lose their person."""
    if not (folder / MANIFEST_NAME).is_file():
        return []
    changed = {}
    for path in (folder / name for name in names if (folder / name).is_file()):
        rows = read_lines(path)
        kept = _nameless(rows, gone) if path.name == INDEX else [r for r in rows if _record(r) not in gone]
        if kept != rows:
            changed[path] = kept
    old = read_manifest(folder)
    if changed or tree_hashes(folder) != old.files:  # the latter after a kill before the manifest was written
        with locks.making(folder):
            for path, kept in changed.items():
                write_lines(path, (json.dumps(row, ensure_ascii=False) for row in kept))
            notes = tuple(dict.fromkeys((*old.notes, ERASED)))
            write_manifest(folder, old.stage, old.config, old.inputs, old.metrics, notes)
    return list(changed)


def _record(row: dict[str, Any]) -> str:
    """The record that a line of training data was made of."""
    return str(row.get("id", "")).removeprefix("edit-")


def _nameless(rows: list[dict[str, Any]], gone: Collection[str]) -> list[dict[str, Any]]:
    return [{**row, "by": ""} if row["id"] in gone else row for row in rows]
