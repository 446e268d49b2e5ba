"""The artifacts of a round, and whether the inputs that they were made from are unchanged.

Names in a manifest's `inputs`, and the present value that each hash is compared with:

    sft, samples, ...   the artifact of the same round: `artifact.manifest.identity` of its manifest
    001/ppo             an artifact of that round
    data:NAME           the data set's content hash (`DatasetInfo.sha256`)
    store               the round's rankings in the store
    feedback            feedback from chats, for DPO and KTO of the open round
    anything else       (base model, files outside the workspace) is not looked at
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman import config as configs
from steersman import locks, plugins
from steersman.artifact import unfinished
from steersman.artifact.manifest import FINGERPRINT, POINTS, identity, read_manifest
from steersman.artifact.names import MEMBER, NURSERY, VALIDATOR
from steersman.artifact.unfinished import BESIDE
from steersman.artifact.workspace import Workspace, renamed_keys
from steersman.data import dataset
from steersman.rounds.registry import Stage, artifact_of, get, stages
from steersman.types import Manifest

State = Literal["missing", "partial", "ready", "stale", "damaged"]
GONE = "gone"
NOTHING_SAVED = "nothing saved yet"


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage of a round.

    `changed` names the inputs that differ from the manifest, are gone or are new (stale), `settings` the configuration
    keys that differ, and `resume` the newest file of an unfinished run.
    """

    stage: str
    state: State
    changed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    resume: str = ""
    manifest: Manifest | None = None
    damage: str = ""
    """Damage of the artifact, as far as it shows without reading every file."""
    aside: tuple[str, ...] = ()
    """Folders of damaged artifacts that were put aside."""


def current_identity(space: Workspace, name: str, round_: int) -> str | None:
    """The named input's present hash, GONE where it no longer exists, None for names that are not compared."""
    if name == "store":
        return _store_identity(space, round_)
    if name.startswith("data:"):
        path = space.data / f"{name.removeprefix('data:')}.jsonl"
        return dataset.read_info(path).sha256 if path.is_file() else GONE
    group, _, function = name.partition(" ")
    if group in plugins.GROUPS:
        try:
            return plugins.digest(function, group, space.root)
        except ValueError:
            return GONE
    of = artifact_of(name)
    if of is None:
        return None
    number, stage = of[0] or round_, of[1].name
    try:
        return identity(read_manifest(space.stage_dir(stage, number))) if space.has(stage, number) else GONE
    except ValueError:  # damaged, which its own stage's state reports
        return GONE


def _store_identity(space: Workspace, round_: int) -> str:
    if not space.has_store:
        return GONE
    from steersman.rounds.export import weighed
    from steersman.store import Store

    with Store.open(space.store) as store:
        return weighed(space, store, round_).identity


def changed_settings(space: Workspace, stage: Stage, manifest: Manifest) -> tuple[str, ...]:
    """Configuration keys whose value differs from the one recorded; keys that the manifest lacks are not compared.

    A manifest's config is either sections ({"sft": {...}, "model": {...}}) or the one section of its stage.
    """
    sections = {f.name: configs.to_dict(getattr(space.config, f.name)) for f in dataclasses.fields(space.config)}
    if stage.section:
        sections[stage.section] = configs.to_dict(stage.settings(space.config))
    recorded: Mapping[str, Any] = manifest.config
    if not any(isinstance(recorded.get(name), Mapping) for name in sections):
        recorded = {stage.section: recorded}
    out = []
    for name, values in recorded.items():
        if name in sections and isinstance(values, Mapping):
            now = sections[name]
            out += [
                f"{name}.{key}"
                for key, value in values.items()
                if now.get(key, value) != value and key not in configs.NO_MATTER
            ]
            late = configs.late(getattr(space.config, name))
            differ = [key for key, usual in late.items() if values.get(key, usual) != now.get(key, usual)]
            out += [at for key in differ if (at := f"{name}.{key}") not in out]
            out += [f"{at}.{key}" for key, at in BESIDE.items() if key in values and sections[at][key] != values[key]]
    return tuple(out)


def _resume_point(partial: Path) -> str:
    """An unfinished run's resume point in words: the saved step, or the newest file."""
    files: dict[Path, float] = {}
    with contextlib.suppress(FileNotFoundError):  # the stage may be at work: points go, and at its end the folder
        for p in partial.rglob("*"):
            curves = any(at.startswith(".") for at in p.relative_to(partial).parts[:-1])  # what trackers keep
            if p.name != FINGERPRINT and p.suffix not in (".tmp", ".sha256") and not curves and p.is_file():
                with contextlib.suppress(FileNotFoundError):
                    files[p] = p.stat().st_mtime
    if not files:
        return NOTHING_SAVED
    points = [p for p in sorted(partial.glob(POINTS)) if p in files]
    newest = points[-1] if points else max(files, key=files.__getitem__)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(files[newest]))
    place = _saved_step(newest) if points else ""
    return f"{place or newest.relative_to(partial)}, saved {when}"


def _members_made(folder: Path) -> str:
    """Progress of an ensemble's further members and of the validator, trained before the first; '' without any."""
    nursery = folder.with_name(f"{folder.name}{NURSERY}")
    members = sorted(nursery.glob(f"{MEMBER}*"), key=lambda path: int(path.stem.removeprefix(MEMBER)))
    members += nursery.glob(f"{VALIDATOR}*")
    if not members:
        return ""
    newest = members[-1]
    return f"{newest.stem}, " + (_resume_point(newest) if newest.suffix == ".partial" else "done")


def _saved_step(path: Path) -> str:
    """'step 40' out of a resume point's header, read without torch; '' where the header says no step.

    A safetensors file begins with the length of its JSON header in 8 bytes, little-endian.
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 1 << 20)))
        state = json.loads(header["__metadata__"]["state"])
        return next((f"{key} {state[key]}" for key in ("step", "iteration") if key in state), "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def stage_state(space: Workspace, stage: Stage, round_: int) -> StageState:
    """Whether the stage's artifact exists, is unfinished, or was made from inputs that have changed since."""
    folder = space.stage_dir(stage.name, round_)
    partial = folder.with_name(f"{folder.name}.partial")
    resume = _resume_point(partial) if partial.is_dir() else _members_made(folder)
    if resume == NOTHING_SAVED and not locks.maker(folder):
        resume = ""  # a run that ended before it did anything, such as one that was refused, is no unfinished run
    aside = tuple(p.name for p in unfinished.set_aside(folder))
    if not space.has(stage.name, round_):
        damage = f"{folder}: no manifest there" if unfinished.lies_there(folder) else ""
        state: State = "damaged" if damage else "partial" if resume else "missing"
        return StageState(stage.name, state, resume=resume, damage=damage, aside=aside)
    try:
        manifest = read_manifest(folder)
        if gone := next((name for name in manifest.files if not (folder / name).is_file()), None):
            raise ValueError(f"{folder / gone}: missing, but its manifest lists it")
    except ValueError as error:
        return StageState(stage.name, "damaged", resume=resume, damage=str(error), aside=aside)
    changed, inputs = [], renamed_keys(manifest.inputs)
    for name, recorded in inputs.items():
        found = current_identity(space, name, round_)
        if found is not None and found != recorded:
            changed.append(f"{name} is gone" if found == GONE else name)
    if round_ == space.round:  # what was imported or said since a round was closed is for the next one
        changed += [text for source in stage.sources for text in source.changes(space, inputs)]
    settings = changed_settings(space, stage, manifest)
    state = "stale" if changed else "ready"
    return StageState(stage.name, state, tuple(changed), settings, resume, manifest, aside=aside)


def changed_since(space: Workspace, name: str) -> str:
    """The inputs and settings that changed since the artifact was made; '' for no change or no artifact."""
    state = stage_state(space, get(name), space.round)
    return ", ".join((*state.changed, *state.settings))


def round_states(space: Workspace, round_: int) -> list[StageState]:
    """Every stage of the round, in the order of the loop; stages outside the loop only if they have files."""
    states = [(stage, stage_state(space, stage, round_)) for stage in stages()]
    return [state for stage, state in states if stage.in_loop or state.state != "missing"]
