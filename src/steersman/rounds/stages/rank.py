"""The stage of rankings: people order the samples, in the terminal or on the page, or the rule judge does
(simulated)."""

from __future__ import annotations

from steersman.artifact.workspace import Workspace
from steersman.rounds.registry import Stage, stages
from steersman.rounds.stages.sample import wanted


def by_judge(space: Workspace) -> int:
    """Let the rule judge rank all unranked tasks, unless people have ranked some; returns the number of its
    rankings."""
    from steersman.rounds.judging import simulate
    from steersman.store import Store

    with Store.open(space.store) as store:
        if any(not r.simulated for r in store.rankings(space.round)):
            return 0
        return simulate(space, store, space.round)


def todo(space: Workspace, round_: int) -> str | None:
    """The next command: to rank, or to learn from the rankings; None where imported rankings suffice."""
    from steersman.data.dataset import find
    from steersman.rounds.overview import ranking_counts

    if find(space, "rankings", "train"):
        return None
    if not ranking_counts(space, round_)["ranked"]:
        return "steersman rank"
    learners = [stage for stage in stages() if STAGE.name in stage.parents]  # which export the rankings by themselves
    made = [stage for stage in learners if space.has(stage.name, round_)]
    return f"steersman {(made or learners)[0].verb}"


STAGE = Stage(
    name="rankings",
    verb="rank",
    section="rank",
    title="rankings",
    summary="Rank the sampled answers, blind and in random order.",
    examples=("steersman rank --labeler ann", "steersman rank --simulated"),
    parents=("samples",),
    sources=(),
    run=None,
    in_loop=True,
    wanted=wanted,
    by_judge=by_judge,
    todo=todo,
)
