"""Samples as ranking tasks in the store, and the rule judge that may stand in for people."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import TYPE_CHECKING

from steersman.artifact.names import CANDIDATES
from steersman.artifact.workspace import Workspace
from steersman.progress import progress
from steersman.types import Candidates

if TYPE_CHECKING:
    from steersman.store import Store

SIMULATED = "simulated"
"""The labeler's name under which a rule judge's rankings are kept."""


def samples_file(space: Workspace, round_: int) -> Path:
    """The round's sampled answers. Raises ValueError where `steersman sample` has not made them."""
    path = space.stage_dir("samples", round_) / CANDIDATES
    if not space.has("samples", round_):
        raise ValueError(f"{path.parent}: no answers to rank; expected some: steersman sample")
    if not path.is_file():
        raise ValueError(f"{path}: no such file, though the manifest beside it says that answers were sampled")
    return path


def fill_store(space: Workspace, store: Store, round_: int) -> int:
    """Make the round's samples ranking tasks; existing tasks are kept. Returns the number of new tasks."""
    from steersman.data.dataset import load_candidates

    if not space.has("samples", round_) and any(True for _ in store.tasks(round_)):
        return 0
    return store.add_candidates(round_, map(_without_nul, load_candidates(samples_file(space, round_))))


def _without_nul(item: Candidates) -> Candidates:
    """The candidates without NUL characters, which a model may write but no database can hold."""
    kept = (dataclasses.replace(c, text=c.text.replace("\0", "")) for c in item.completions)
    return dataclasses.replace(item, completions=tuple(kept))


def simulate(space: Workspace, store: Store, round_: int, limit: int = 0) -> int:
    """Let the domain's rule judge rank the tasks that it has not ranked; returns the number of rankings.

    Each task has its own random numbers, from the project's seed and the task, so stopping and going on, or
    ranking in another order, gives the same rankings.
    """
    from steersman.eval.judges import judge_of, simulated_ranking

    judge = judge_of(space.config.project)
    if judge is None:
        raise ValueError(
            '--simulated: expected a domain with a rule judge (project.domain = "shop") or a judge of your own '
            "(project.judge); people must rank this one"
        )
    tasks = list(store.tasks(round_, not_ranked_by=SIMULATED))[: limit or None]
    settings = space.config.rank
    with progress("rank (simulated)", len(tasks), unit="prompt") as shown:
        for done, task in enumerate(tasks, 1):
            rng = random.Random(f"{space.config.project.seed}:{task.id}")
            ranks, all_bad = simulated_ranking(
                task.prompt, task.answers, judge, rng, settings.error_rate, settings.tie_margin
            )
            store.add_ranking(task.id, ranks=ranks, all_bad=all_bad, labeler=SIMULATED, simulated=True)
            shown.update(done)
    return len(tasks)
