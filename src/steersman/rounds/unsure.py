"""Which ranking tasks tell most: those whose order the last reward models contradict each other.

The models of the last round that has a reward stage (its members and its validator, which learned from other rankings)
score the answers of every open task in this process; what the server reads are two numbers a task in the store.

Why so: decision 64 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steersman.artifact.names import VALIDATOR
from steersman.artifact.workspace import Workspace
from steersman.progress import note as say
from steersman.store import RankingTask, Store
from steersman.types import Ranking


def unsure(scores: Sequence[Sequence[float]]) -> float:
    """How far models, whose scores [M][K] these are, disagree on the order of the K answers: nats, 0 to log 2.

    Mean over pairs of what a label would tell of which model is right: the entropy of the mean probability (Bradley and
    Terry) that the first is better, less the mean of the models' own (Houlsby et al. 2011, BALD). The entropy alone is
    highest for answers that hardly differ, which teach nothing: choosing by it is worse than choosing at random. One
    model alone says 0.
    """
    given = np.asarray(scores, float)
    pairs = list(combinations(range(given.shape[1]), 2))
    margins = np.stack([given[:, i] - given[:, j] for i, j in pairs])
    each = 1 / (1 + np.exp(-np.clip(margins, -500, 500)))
    return float((_entropy(each.mean(axis=1)) - _entropy(each).mean(axis=1)).mean())


def _entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)))


def score_tasks(space: Workspace, store: Store, round_: int) -> dict[str, Any]:
    """Score the round's tasks at the desk that nobody has ranked: {by, models, scored, ranked, too_long, unsure}; the
    last is of the least and the most sure task, in nats."""
    rounds = [number for number in space.rounds() if space.has("reward", number)]
    if not rounds:
        raise ValueError(f"{space.stage_dir('reward')}: no round has a reward model yet; make one: steersman reward")
    from steersman.rounds.inputs import need

    folder = need(dataclasses.replace(space, pinned=rounds[-1]), "reward")
    by = f"reward model of round {rounds[-1]}"
    ranked = {one.task for one in store.desk.labels(kinds=["ranking"]) if one.said != "skip"}
    there = [task for task in store.tasks(round_) if store.desk.has(task.id)]  # not those of somebody's chat
    tasks = [task for task in there if task.id not in ranked]
    found, models, long = _scores(space, folder, tasks)
    doubts = {id_: unsure(each) for id_, each in found.items()}
    store.desk.score({id_: (doubts[id_], np.mean(each, axis=0).tolist()) for id_, each in found.items()}, by)
    if long:
        say(f"note: {long} tasks are longer than the reward model's context and keep their place")
    if models == 1 and found:
        say("note: one model contradicts nobody, so the order stays; expected a validator, or reward.members = 3")
    ends = [max(doubts.values()), min(doubts.values())] if doubts else None
    told = {"by": by, "models": models, "scored": len(found), "ranked": len(there) - len(tasks)}
    return told | {"too_long": long, "unsure": ends}


Scored = dict[str, list[list[float]]]


def _scores(space: Workspace, folder: Path, tasks: Sequence[RankingTask]) -> tuple[Scored, int, int]:
    """(task -> scores of each model, how many models, tasks that do not fit)."""
    from steersman.families.outputs import context_of
    from steersman.text.length import fit_rankings
    from steersman.train.agreement import scored_by_each
    from steersman.train.ensemble import member_folders
    from steersman.train.rankings import to_ranked_tree
    from steersman.weights.folders import load_template, read_config

    config = space.config.model
    template = load_template(folder, config)
    asked = [Ranking(task.id, task.prompt, task.answers, (1,) * len(task.answers)) for task in tasks]
    fitted = fit_rankings(template, asked, context_of(read_config(folder, config.trust_remote_code)), "skip")
    folders = [folder, *member_folders(folder)]
    folders += [folder / VALIDATOR] if (folder / VALIDATOR).is_dir() else []
    items = [to_ranked_tree(template, ranking, 1 << 62) for ranking in fitted.records]
    each = scored_by_each(folders, items, config) if items else []
    out = {r.id: [[float(x) for x in scores[i]] for scores in each] for i, r in enumerate(fitted.records)}
    return out, len(folders), len(tasks) - len(items)
