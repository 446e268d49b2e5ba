"""`steersman compare ROUND ROUND`: the models of two rounds on the same prompts, and a verdict on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman import locks
from steersman.artifact.files import read_object
from steersman.artifact.manifest import identity, verify
from steersman.artifact.names import REPORT
from steersman.artifact.workspace import Workspace
from steersman.eval.maker import Evaluated, Maker
from steersman.rounds import registry
from steersman.rounds.make import made
from steersman.rounds.opened import decided
from steersman.rounds.registry import Stage
from steersman.rounds.stages.report import REWARD
from steersman.rounds.stages.report import STAGE as EVALUATION

FOLDER = "comparisons"


@dataclass(frozen=True)
class Side:
    """A round's model."""

    round: int
    stage: Stage
    folder: Path

    @property
    def name(self) -> str:
        return f"round_{self.round}"


def side(space: Workspace, round_: int, stage: str = "") -> Side:
    """The model of a round: of `stage`, else what the round decided on, else its furthest. ValueError without one."""
    from steersman.rounds.loop import read_decision

    space.check_round(round_)
    wanted = stage or (read_decision(space, round_)["candidate"] if decided(space, round_) else "")
    made = [s for s in registry.models() if space.has(s.name, round_)]
    found = [s for s in made if wanted in ("", s.name, s.verb)]
    if not found:
        there = ", ".join(s.verb for s in made) or "none"
        raise ValueError(f"round {round_}: no model{f' of {wanted}' if wanted else ''}; there are: {there}")
    chosen = found[-1] if wanted else next((s for s in found if s.improved), found[-1])
    return Side(round_, chosen, space.stage_dir(chosen.name, round_))


def versus(space: Workspace, a: Side, b: Side) -> tuple[dict[str, Any], Path]:
    """Is b better than a? The verdict as JSON, and its page; made once for the same two models and settings."""
    from steersman.eval import kept
    from steersman.eval import run as evaluation

    if a.round == b.round:
        raise ValueError(f"compare {a.round} {b.round}: expected two rounds")
    prompts, *_ = EVALUATION.sources
    found = prompts.of_round(space)
    marks = {side.name: identity(verify(side.folder)) for side in (a, b)}
    judges = [source.of_round(space) for source in EVALUATION.sources if source.name == "functions"]
    reward = next((r for r in reversed(space.rounds()) if space.has(REWARD, r)), None)
    folder = space.stage_dir(REWARD, reward) if reward else None
    inputs = {**found.hashes, **marks, **{k: v for judge in judges for k, v in judge.hashes.items()}}
    inputs |= {REWARD: identity(verify(folder))} if folder else {}
    output = space.root / FOLDER / f"{a.name}-{b.name}"
    with locks.making(output), locks.using(a.folder, b.folder, *([folder] if folder else [])):
        if made(EVALUATION, output, space.config, inputs) is None:
            evaluation.run(
                models={
                    a.name: Evaluated(_label(a), a.folder, Maker("", "", ())),
                    b.name: Evaluated(_label(b), b.folder, replace(b.stage.maker or Maker(), against=(a.name,))),
                },
                prompts=found.read(),
                output=output,
                reward=folder,
                config=space.config,
                inputs=inputs,
                about=kept.About(),
            )
        return read_object(output / kept.VERDICT, "a verdict"), output / REPORT


def _label(side: Side) -> str:
    return f"round {side.round}, {side.stage.title}"
