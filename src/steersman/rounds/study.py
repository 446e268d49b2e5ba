"""One hyper-parameter study: Optuna proposes settings, the stage runs with them, its held-out metric decides.

    search/001-sft/study.db                    Optuna's own
    search/001-sft/study.json                  the same for readers that have no Optuna
    search/001-sft/trials/007/metrics.jsonl    what a trial measured; its weights are not kept

A trial that was interrupted is marked failed and run again with the same settings; it goes on from its resume point.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from sqlalchemy import URL

from steersman import config as configs
from steersman import config_file, locks
from steersman.artifact.files import atomic_write, write_json
from steersman.artifact.manifest import read_manifest
from steersman.artifact.names import METRICS
from steersman.artifact.stage_folder import flush, partial_of
from steersman.artifact.workspace import Workspace
from steersman.progress import metric_text
from steersman.progress import note as say
from steersman.rounds import make
from steersman.rounds.registry import Searched, Stage
from steersman.train.log import observers, read_metrics

PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


@dataclass(frozen=True)
class Dimension:
    """One setting of the section: `values` to choose from, or a range from `low` to `high`."""

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    def holds(self, value: Any) -> bool:
        return value in self.values if self.values else self.low <= value <= self.high

    def suggest(self, trial: optuna.Trial) -> Any:
        if self.values:
            return trial.suggest_categorical(self.key, self.values)
        if isinstance(self.low, int):
            return trial.suggest_int(self.key, self.low, int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class TrialSpace(Workspace):
    """A view of the workspace in which one stage's artifact lies in the trial's folder."""

    stage: str
    folder: Path

    def stage_dir(self, stage: str, round_: int | None = None) -> Path:
        return self.folder if stage == self.stage else super().stage_dir(stage, round_)


class Search:
    """A study of a stage's settings in `folder`. Open it with `with`: one at a time.

    Raises ValueError where the folder holds another stage's search, or a search that is running.
    """

    def __init__(
        self,
        space: Workspace,
        stage: Stage,
        dimensions: tuple[Dimension, ...],
        objective: str,
        pruner: str,
        folder: Path,
    ) -> None:
        assert stage.search is not None, stage.name
        self.space, self.stage, self.dimensions, self.objective = space, stage, dimensions, objective
        self.searched: Searched = stage.search
        self.folder, section = folder, stage.section
        self._pruner = PRUNERS[pruner]()
        config = space.config
        values = configs.to_dict(getattr(config, section))
        self._configured = {d.key: values.pop(d.key) for d in dimensions}
        values |= {"seed": config.project.seed, "base": config.model.base, "dtype": config.model.dtype}
        asked = {"stage": section, "objective": objective, "space": list(map(dataclasses.asdict, dimensions))}
        self._asked = json.loads(json.dumps(asked | {"settings": values}))

    def __enter__(self) -> Search:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock", is_singleton=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(f"{self.folder}: this search is going on in another process") from None
        # Optuna logs every error with a traceback; the verb prints the error itself
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        url = URL.create("sqlite", database=str((self.folder / "study.db").resolve()))
        self._storage = optuna.storages.RDBStorage(url.render_as_string(hide_password=False))
        self.study = optuna.create_study(
            study_name="search",
            storage=self._storage,
            direction=self.searched.objectives[self.objective],
            pruner=self._pruner,
            load_if_exists=True,
        )
        before = self.study.user_attrs.setdefault("asked", self._asked)
        if before != self._asked:
            self.__exit__()
            differs = [key for key in self._asked if before.get(key) != self._asked[key]]
            raise ValueError(
                f"{self.folder}: holds a search with another {' and '.join(differs)}; "
                "expected the same, or another --name"
            )
        self.study.set_user_attr("asked", self._asked)
        if not self.study.trials and all(d.holds(self._configured[d.key]) for d in self.dimensions):
            self.study.enqueue_trial(self._configured)  # the value that other trials have to beat
        self._retry_interrupted()
        # a search that goes on must not propose its first settings again
        self.study.sampler = optuna.samplers.TPESampler(seed=self.space.config.project.seed + len(self.study.trials))
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.engine.dispose()
        self._lock.release()

    def _retry_interrupted(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        retried = {t.user_attrs.get("retry_of") for t in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.number not in retried:
                place = trial.user_attrs.get("folder", f"{trial.number:03d}")
                self.study.enqueue_trial(trial.params, user_attrs={"folder": place, "retry_of": trial.number})

    def run(self, trials: int) -> dict[str, Any]:
        """Run until `trials` trials are finished or pruned; returns the contents of study.json."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if len(done) < trials:
            self.study.optimize(
                self._trial, n_trials=trials - len(done), gc_after_trial=True, callbacks=[lambda *_: self._sum_up()]
            )
        return self._sum_up()

    def _trial(self, trial: optuna.Trial) -> float:
        values = {d.key: d.suggest(trial) for d in self.dimensions} | dict(self.searched.fixed)
        config = config_file.from_dict({self.stage.section: values}, "search", self.space.config)
        place = trial.user_attrs.get("folder", f"{trial.number:03d}")
        trial.set_user_attr("folder", place)
        folder = self.folder / "trials" / place
        say(f"trial {trial.number}: {metric_text(values)}")
        space = TrialSpace(self.space.root, config, self.stage.name, folder, pinned=self.space.pinned)
        try:
            with self._pruning(trial, partial_of(folder)):
                metrics = make.make(self.stage, make.Round(space)).metrics
            self._same_inputs(read_manifest(folder).inputs)
            if metrics.get("held_out") == 0:
                raise ValueError(f"{space.data}: nothing is held out to judge by; expected a validation split")
        except optuna.TrialPruned:
            say(f"trial {trial.number}: pruned")
            keep_metrics(folder)
            raise
        except (FloatingPointError, torch.OutOfMemoryError) as error:
            say(f"trial {trial.number}: given up: {error}")
            keep_metrics(folder)
            raise optuna.TrialPruned from error
        rows = [row for row in read_metrics(folder) if self.objective in row]
        keep_metrics(folder)
        last = metrics.get("best", rows[-1])
        shown = {k: last[k] for k in (*self.searched.objectives, *self.searched.beside) if k != self.objective}
        trial.set_user_attr("metrics", shown)
        say(f"trial {trial.number}: {metric_text({self.objective: last[self.objective], **shown})}")
        return float(last[self.objective])

    @contextlib.contextmanager
    def _pruning(self, trial: optuna.Trial, partial: Path) -> Iterator[None]:
        """Report each held-out evaluation by its number (PPO: its iteration); TrialPruned where the pruner stops it."""
        told = 0

        def watching(working: Path, metrics: Mapping[str, Any]) -> None:
            nonlocal told
            if self.objective not in metrics or working != partial:  # an ensemble's members have folders of their own
                return
            rows = [row for row in read_metrics(working) if self.objective in row]
            for number, row in enumerate(rows[told:], told):  # after a resume, including evaluations before the resume
                trial.report(row[self.objective], row.get("iteration", number))
            told = len(rows)
            if trial.should_prune():
                raise optuna.TrialPruned

        token = observers.set(dataclasses.replace(observers.get(), watch=watching))
        try:
            yield
        finally:
            observers.reset(token)

    def _same_inputs(self, inputs: Mapping[str, str]) -> None:
        """ValueError where the data changed since the first trial: trials on different data cannot be compared."""
        if self.study.user_attrs.get("inputs", inputs) != inputs:
            raise ValueError(
                f"{self.folder}: the data or models have changed since the search began; use another --name"
            )
        self.study.set_user_attr("inputs", dict(inputs))

    def _sum_up(self) -> dict[str, Any]:
        trials = self.study.get_trials(deepcopy=False)
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        importances: dict[str, float] = {}
        if len(self.dimensions) > 1 and len({t.value for t in complete}) > 3:
            importances = optuna.importance.get_param_importances(self.study)
        configured = next((t for t in complete if t.params == self._configured), None)
        summary = {
            "stage": self.stage.section,
            "objective": self.objective,
            "direction": self.searched.objectives[self.objective],
            "space": self._asked["space"],
            "trials": [_trial_json(t) for t in trials if t.state.is_finished()],
            "best": _trial_json(self.study.best_trial) if complete else None,
            "configured": _trial_json(configured) if configured else None,
            "importances": importances,
        }
        write_json(self.folder / "study.json", summary)
        return summary


def _trial_json(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """A pruned trial's value is the last that it reported."""
    last = trial.intermediate_values.get(max(trial.intermediate_values, default=-1))
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.value is not None else last,
        "metrics": trial.user_attrs.get("metrics", {}),
        "params": trial.params,
        "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
    }


def keep_metrics(folder: Path) -> None:
    """Delete everything but the metrics from a trial's folder, finished or not."""
    locks.forget(folder)
    flush()  # a trial that was pruned may still be writing a resume point
    working = folder if folder.is_dir() else partial_of(folder)
    content = (working / METRICS).read_bytes() if (working / METRICS).is_file() else b""
    shutil.rmtree(working, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / METRICS, "wb", words=True) as file:
        file.write(content)
