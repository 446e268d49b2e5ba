"""Making one artifact: the same way in a workspace's round and from files alone.

A `Place` knows where inputs come from, where the artifact goes and how to lock it against other processes; `make` does
the rest. An artifact that exists, from the same inputs and settings, is not made again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from steersman import config as configs
from steersman import locks
from steersman.artifact import unfinished
from steersman.artifact.manifest import MANIFEST_NAME, identity, read_manifest, sweep, verify
from steersman.artifact.workspace import Workspace, renamed_keys
from steersman.progress import note as say
from steersman.progress import plain
from steersman.rounds.inputs import Found, Given, Source
from steersman.rounds.registry import Metrics, Outcome, Stage, Task, artifact_of, loop
from steersman.types import Manifest


class Place(Protocol):
    """The place in which a stage is made."""

    @property
    def config(self) -> configs.Config: ...

    def output(self, stage: Stage) -> Path: ...

    def find(self, source: Source) -> Found: ...

    def holding(self, output: Path, inputs: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
        """A lock: inside, no other process makes `output` or changes its inputs. ValueError where another holds it."""
        ...

    def finished(self, stage: Stage, output: Path, metrics: Metrics) -> Metrics:
        """Called when the artifact is finished; returns the metrics to show."""
        ...


@dataclass(frozen=True)
class Round:
    """The place of a stage in a workspace's round."""

    space: Workspace

    @property
    def config(self) -> configs.Config:
        return self.space.config

    def output(self, stage: Stage) -> Path:
        return self.space.stage_dir(stage.name)

    def find(self, source: Source) -> Found:
        return source.of_round(self.space)

    @contextlib.contextmanager
    def holding(self, output: Path, inputs: Mapping[str, str]) -> Iterator[None]:
        known = {name: of for name in inputs if (of := artifact_of(name))}
        places = {name: self.space.stage_dir(stage.name, round_) for name, (round_, stage) in known.items()}
        with locks.making(output), locks.using(*places.values()):
            for name, place in places.items():
                if identity(read_manifest(place)) != inputs[name]:
                    raise ValueError(f"{place}: was made anew just now; run the same command again")
            yield

    def finished(self, stage: Stage, output: Path, metrics: Metrics) -> Metrics:
        if stage.after is not None:
            stage.after(self.space)
        return metrics


@dataclass(frozen=True)
class Alone:
    """The place of a stage without a workspace: options name files, models and an empty output folder."""

    config: configs.Config
    given: Given
    folder: Path

    def output(self, stage: Stage) -> Path:
        return self.folder

    def find(self, source: Source) -> Found:
        return source.of_files(self.given)

    @contextlib.contextmanager
    def holding(self, output: Path, inputs: Mapping[str, str]) -> Iterator[None]:
        with locks.making(output):
            yield

    def finished(self, stage: Stage, output: Path, metrics: Metrics) -> Metrics:
        return self.given.files.record(output, metrics)

    def check(self) -> None:
        """ValueError where something lies in the folder already: finishing would replace it."""
        if (self.folder / MANIFEST_NAME).is_file():
            raise ValueError(f"{self.folder}: finished already; expected a folder that is not there yet")
        if self.folder.is_file() or (self.folder.is_dir() and any(self.folder.iterdir())):
            raise ValueError(f"{self.folder}: something else is there already; expected a folder that is not there yet")


def make(stage: Stage, place: Place) -> Outcome:
    """The stage's artifact in `place`, computed unless it is there from the same inputs and settings."""
    from steersman.train.log import observers

    if stage.run is None:
        raise ValueError(f"{stage.verb}: people make the {stage.title}; expected a stage that can be computed")
    observers.set(replace(observers.get(), project=place.config.project))
    found = {source.name: place.find(source) for source in stage.sources}
    inputs: dict[str, str] = {}
    for one in found.values():
        inputs |= one.hashes
    output, recorded = place.output(stage), stage.recorded(place.config)
    with place.holding(output, inputs):
        there = made(stage, output, place.config, inputs)
        if there is None:
            with _asking(output.with_name(f"{output.name}.partial"), stage, recorded, inputs):
                values = {name: one.read() for name, one in found.items()}
                version = next((one.version for one in found.values() if one.version), "")
                stage.run(Task(stage, place.config, output, inputs, values, version))
        metrics = place.finished(stage, output, (there or read_manifest(output)).metrics)
    return Outcome(stage, output, metrics, there is None, place.config)


def make_all(space: Workspace, simulated: bool, only: Sequence[Stage] | None = None) -> Outcome:
    """Make every stage of the loop (or `only` these) that is missing or stale; returns the last one's outcome.

    Where people must rank first, the rule judge ranks if `simulated`; else the next stage raises a ValueError.
    """
    outcome = None
    for stage in loop() if only is None else only:
        if not stage.wanted(space):
            continue
        if stage.run is None:
            if simulated and stage.by_judge is not None:
                stage.by_judge(space)
            continue
        outcome = make(stage, Round(space))
        if told := stage.tell(outcome.metrics):
            say(f"{stage.verb}: {told}")
    assert outcome is not None
    return outcome


def made(stage: Stage, folder: Path, config: configs.Config, inputs: Mapping[str, str]) -> Manifest | None:
    """The artifact's manifest, if the artifact exists, is whole, and was made from these settings and inputs.

    A folder that is no artifact, or a damaged one, is put aside.
    """
    if not unfinished.lies_there(folder) or not any(folder.iterdir() if folder.is_dir() else [folder]):
        return None
    try:
        manifest = read_manifest(folder)
        # a setting that did not exist when the artifact was made had its default's effect
        known = {**stage.defaults(), **manifest.config}
        recorded = stage.recorded(config)
        same = _mattering(known) == _mattering(recorded)
        if same and renamed_keys(manifest.inputs) == dict(inputs):
            verify(folder)
            sweep(folder)
            return manifest
    except ValueError as error:
        say(f"{error}. Put aside as {unfinished.put_aside(folder)}; making it again")
        return None
    say(f"{folder.name}: made from other inputs or settings; making it again")
    return None


def _mattering(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in configs.NO_MATTER}


@contextlib.contextmanager
def _asking(partial: Path, stage: Stage, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[None]:
    """Before loading anything, refuse unfinished work of other settings, or at a terminal ask about it."""
    of = (stage.name, config, inputs, stage.section)
    differs = unfinished.differences(partial, *of) if unfinished.has_work(partial) else []
    if not differs or unfinished.fresh.get() or not sys.stdin.isatty() or not sys.stderr.isatty() or plain.get():
        if said := unfinished.clear_for(partial, *of):
            say(said)
        yield
        return
    say(f"{partial} holds an unfinished run with other settings or inputs: {'; '.join(differs)}")
    if not _yes("Throw it away and begin anew?"):
        raise ValueError(f"{partial}: kept; set what differs back to go on with it")
    token = unfinished.fresh.set(True)
    try:
        yield
    finally:
        unfinished.fresh.reset(token)


def _yes(question: str) -> bool:
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
