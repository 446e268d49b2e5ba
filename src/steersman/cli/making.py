"""One artifact of a workspace: whether it is there and whole, and making it while nobody else does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from steersman import locks
from steersman.artifact import unfinished
from steersman.artifact.manifest import identity, read_manifest, sweep, verify
from steersman.artifact.workspace import ARTIFACTS, Workspace
from steersman.cli.framework import say
from steersman.config import NO_MATTER, to_dict
from steersman.progress import plain
from steersman.types import Manifest

Metrics = Mapping[str, Any]


def make(
    space: Workspace, stage: str, settings: Any, inputs: Mapping[str, str], run: Callable[[], Any]
) -> tuple[Metrics, bool]:
    """Run a stage unless its artifact is there from the same inputs and settings: (metrics, made now)."""
    from steersman.train.trackers import chosen

    chosen.set(space.config.project)
    recorded = {**to_dict(settings), "seed": space.config.project.seed, **space.config.model.recorded}
    folder = space.stage_dir(stage)
    sources = {name: place for name in inputs if (place := _place(space, name))}
    with locks.making(folder), locks.using(*sources.values()):
        for name, place in sources.items():
            if identity(read_manifest(place)) != inputs[name]:
                raise ValueError(f"{place}: was made anew just now; run the same command again")
        if (found := _made(folder, settings, recorded, inputs)) is not None:
            return found.metrics, False
        with _asking(folder.with_name(f"{folder.name}.partial"), stage, recorded, inputs):
            run()
        return read_manifest(folder).metrics, True


def _place(space: Workspace, name: str) -> Path | None:
    """The folder of an input that is an artifact."""
    round_, slash, stage = name.rpartition("/")
    known = stage in ARTIFACTS and (round_.isdigit() or not slash)
    return space.stage_dir(stage, int(round_) if slash else None) if known else None


def _made(folder: Path, settings: Any, recorded: Mapping[str, Any], inputs: Mapping[str, str]) -> Manifest | None:
    """The artifact's manifest, if it is there, whole, and from these settings and inputs.

    What is there and is no artifact, or no longer a whole one, is put aside.
    """
    if not unfinished.lies_there(folder):
        return None
    try:
        manifest = read_manifest(folder)
        # a setting that did not exist when the artifact was made had its default's effect
        known = {**to_dict(type(settings)()), **manifest.config}
        same = {k: v for k, v in known.items() if k not in NO_MATTER} == {
            k: v for k, v in recorded.items() if k not in NO_MATTER
        }
        if same and manifest.inputs == dict(inputs):
            verify(folder)
            sweep(folder)
            return manifest
    except ValueError as error:
        say(f"{error}. Put aside as {unfinished.put_aside(folder)}; making it again")
        return None
    say(f"{folder.name}: made from other inputs or settings; making it again")
    return None


@contextlib.contextmanager
def _asking(partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[None]:
    """Before anything is loaded: work of other settings is refused, or at a terminal asked about."""
    differs = unfinished.differences(partial, stage, config, inputs) if unfinished.has_work(partial) else []
    if not differs or unfinished.fresh.get() or not sys.stdin.isatty() or not sys.stderr.isatty() or plain.get():
        if not unfinished.fresh.get():
            unfinished.clear_for(partial, stage, config, inputs)
        yield
        return
    say(f"{partial} holds an unfinished run with other settings or inputs: {'; '.join(differs)}")
    if not typer.confirm("Throw it away and begin anew?", err=True):
        raise ValueError(f"{partial}: kept; set what differs back to go on with it")
    token = unfinished.fresh.set(True)
    try:
        yield
    finally:
        unfinished.fresh.reset(token)
