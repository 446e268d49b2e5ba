"""The loop over several seeds: a trial of one workspace's data and settings.

    trials/001-NAME/trial.json          what is repeated: settings, data, whose rankings
    trials/001-NAME/store.db            where people ranked: a copy of what they said when the trial began
    trials/001-NAME/003/                seed 3: stages like those of a round; once finished, what is small of them
    trials/001-NAME/003/outcome.json    seed 3 is finished
    trials/001-NAME/report.json, report.html

All that is random in the loop follows from `project.seed`, so a seed is the workspace with another one. The workspace's
own round and store are only read. Where people ranked, every seed learns from their rankings; where the rule judge
stands in, it ranks each seed's own answers. Why so: decision 58 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from steersman import config as configs
from steersman import locks
from steersman.artifact.files import read_object, write_json
from steersman.artifact.manifest import MANIFEST_NAME
from steersman.artifact.names import METRICS
from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.eval import kept as evaluation
from steersman.eval import over_seeds
from steersman.eval.over_seeds import OverSeeds, SeedOutcome
from steersman.progress import duration, progress
from steersman.progress import note as say
from steersman.rounds import registry
from steersman.rounds.make import make_all
from steersman.rounds.registry import Stage

OUTCOME, TRIAL, REPORT, STORE = "outcome.json", "trial.json", "report.json", "store.db"
MEASURED = "measured.json"
"""A seed's outcome before what is large of it was deleted."""
SMALL = (MANIFEST_NAME, METRICS)
"""What stays of a finished seed's stages, beside its whole report."""
Rankings = Literal["people", "imported", "simulated"]


@dataclass(frozen=True)
class SeedSpace(Workspace):
    """A view of the workspace in which the round's artifacts and store are those of one seed."""

    folder: Path
    ranked: Path

    @property
    def store_path(self) -> Path:
        return self.ranked

    @property
    def store(self) -> Path:
        return self.ranked

    def stage_dir(self, stage: str, round_: int | None = None) -> Path:
        return self.folder / stage if round_ in (None, self.round) else super().stage_dir(stage, round_)


@dataclass(frozen=True)
class Trial:
    """A trial of `space` (pinned) in `folder`. `simulated`: the rule judge may rank where nobody has."""

    space: Workspace
    folder: Path
    simulated: bool = False
    keep_models: bool = False

    @cached_property
    def rankings(self) -> Rankings:
        """Whose rankings the seeds learn from. ValueError where there are none."""
        ranked = self._copied_rankings()
        if any(not simulated for simulated in ranked):
            return "people"
        (self.folder / STORE).unlink(missing_ok=True)
        if dataset.find(self.space, "rankings", "train"):
            return "imported"
        if ranked or self.simulated:
            return "simulated"
        raise ValueError(
            f"{self.space.root}: no rankings; rank in the terminal (steersman rank) or on the page (steersman serve), "
            "import some (steersman data import FILE), or let the rule judge rank each seed's answers (--simulated)"
        )

    def _copied_rankings(self) -> list[bool]:
        """Of each ranking of the round, whether it is simulated; the store is copied on first use."""
        from steersman.store import Store

        copy = self.folder / STORE
        if not copy.is_file():
            if not self.space.has_store:
                return []
            with Store.open(self.space.store) as store:
                store.backup(copy)
        with Store.open(copy) as store:
            return [ranking.simulated for ranking in store.rankings(self.space.round)]

    def asked(self) -> dict[str, Any]:
        """What is repeated, whatever the seed: settings of the loop's stages, data, whose rankings."""
        config, out = self.space.config, {}
        for stage in registry.loop():
            recorded = stage.recorded(config)
            out[stage.section] = {k: v for k, v in recorded.items() if k != "seed" and k not in configs.NO_MATTER}
        out["project"] = {"domain": config.project.domain, "judge": config.project.judge}
        out["data"] = {i.name: i.sha256 for i in dataset.datasets(self.space)}
        return dict(json.loads(json.dumps({**out, "rankings": self.rankings})))

    def finished(self) -> list[SeedOutcome]:
        """Outcomes of the finished seeds, in their order."""
        return read_outcomes(self.folder)

    def run(self, seeds: Sequence[int]) -> OverSeeds:
        """Run the seeds that are not finished yet; returns what all finished seeds say together.

        ValueError where the folder holds a trial of other settings or data, or another process works on it.
        """
        with locks.making(self.folder):
            self._same_as_before()
            done = self.finished()
            missing = [seed for seed in seeds if seed not in {o.seed for o in done}]
            times = [o.seconds for o in done]
            finished = len(seeds) - len(missing)
            with progress("trial", len(seeds), start=finished, unit="seed") as shown:
                for seed in missing:
                    mean = sum(times) / len(times) if times else 0.0
                    left = f", about {duration(mean * (len(seeds) - finished))} to go" if times else ""
                    say(f"trial: seed {seed}, {finished} of {len(seeds)} finished{left}")
                    found, finished = self._seed(seed), finished + 1
                    times.append(found.seconds)
                    shown.update(finished, **_shown(found))
            return over_seeds.together(self.finished(), self.rankings)

    def _same_as_before(self) -> None:
        path, now = self.folder / TRIAL, self.asked()
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, now)
            return
        before = read_object(path, "a trial")
        differs = [key for key in _flat(now) | _flat(before) if _flat(now).get(key) != _flat(before).get(key)]
        if differs:
            raise ValueError(
                f"{self.folder}: holds a trial with another {', '.join(sorted(differs)[:5])}; expected the same, or "
                "another --name"
            )

    def _seed(self, seed: int) -> SeedOutcome:
        """The loop with this seed, gone on with where it was; then all but what is small is deleted."""
        folder = self.folder / f"{seed:03d}"
        folder.mkdir(exist_ok=True)
        measured = folder / MEASURED
        if not measured.is_file():
            write_json(measured, self._measure(seed, folder).to_json())
        if not self.keep_models:
            shrink(folder)
        measured.replace(folder / OUTCOME)
        gc.collect()  # models hold each other in circles
        return SeedOutcome.from_json(read_object(folder / OUTCOME, "the outcome of a seed"), str(folder / OUTCOME))

    def _measure(self, seed: int, folder: Path) -> SeedOutcome:
        config = self.space.config
        config = dataclasses.replace(config, project=dataclasses.replace(config.project, seed=seed))
        store = (self.folder if self.rankings == "people" else folder) / STORE
        space = SeedSpace(self.space.root, config, folder, store, pinned=self.space.round)
        with _clock(folder) as seconds:
            make_all(space, self.rankings == "simulated", _without_sampling() if self.rankings == "people" else None)
        report = space.stage_dir(_report().name)
        verdict, prompts, models, kept = evaluation.read(report, config, registry.maker_of)
        return over_seeds.outcome(seed, verdict, prompts, models, kept["reward_report"], seconds[0])


def read_outcomes(folder: Path) -> list[SeedOutcome]:
    """Outcomes of a trial's finished seeds, in the order of their seeds."""
    paths = folder.glob(f"*/{OUTCOME}") if folder.is_dir() else ()
    found = [SeedOutcome.from_json(read_object(path, "the outcome of a seed"), str(path)) for path in paths]
    return sorted(found, key=lambda outcome: outcome.seed)


def _report() -> Stage:
    return next(stage for stage in registry.loop() if stage.compares)


def shrink(folder: Path) -> None:
    """Delete models, samples and stores of a seed; manifests, metrics and the whole report stay."""
    for entry in folder.iterdir():
        if entry.is_file() and entry.name not in (OUTCOME, MEASURED):
            entry.unlink()
        if entry.is_file() or entry.name == _report().name:
            continue
        for path in sorted(entry.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            elif path.name not in SMALL or path.parent != entry:
                path.unlink()


def _without_sampling() -> list[Stage]:
    """The loop without the stages that only lead to rankings."""
    ranked = [stage for stage in registry.loop() if stage.by_judge is not None]
    names = {stage.name for stage in ranked}
    leading = {
        parent
        for stage in ranked
        for parent in stage.parents
        if all(child.name in names for child in registry.loop() if parent in child.parents)
    }
    return [stage for stage in registry.loop() if stage.name not in names | leading]


@contextlib.contextmanager
def _clock(folder: Path) -> Iterator[list[float]]:
    """Seconds that a seed has taken, those of earlier, interrupted runs included; yields a list that will hold them."""
    path, began = folder / "seconds.json", time.monotonic()
    before = float(read_object(path, "a time")["seconds"]) if path.is_file() else 0.0
    out: list[float] = []
    try:
        yield out
    finally:
        out.append(before + time.monotonic() - began)
        write_json(path, {"seconds": out[0]})


def _flat(tree: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{head}.{key}" if head else str(key)
        out |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return out


def _shown(found: SeedOutcome) -> dict[str, float | str]:
    return {"seed": found.seed, "difference": round(found.difference.value, 4), "verdict": found.word}
