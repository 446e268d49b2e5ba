"""Does the verdict keep its word? A/A comparisons and power, from answers that a workspace already has.

    python bench/aa.py demo                    # 200 verdicts between answers of one model, and what 200 prompts can see
    python bench/aa.py demo --verdicts 1000 --prompts 50

A/A: of the K answers that `steersman sample` drew from one model for each prompt, two go to the sides 'a' and 'b' at
random, on prompts drawn at random, and the verdict's own code compares them. Nothing differs, so "no evidence" should
come in 95 of 100, whatever the judge. Power: the differences of score between two such answers, prompt by prompt, are
centred, moved by a true difference, drawn anew, and put to the verdict: in how many of them does it say "better"? Two
models whose answers differ more in spread than a model's own do are seen a little later.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import machine, write_json
from steersman.artifact.workspace import Workspace
from steersman.data.dataset import load_candidates
from steersman.eval.judges import judge_of
from steersman.eval.verdict import ModelAnswers, compare, decide
from steersman.progress import progress
from steersman.rounds.judging import samples_file
from steersman.stats import bootstrap_mean, proportion_interval, wilson
from steersman.types import AxisScores, Candidates, NamedScores

SHIFTS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15)


@dataclass(frozen=True)
class Sampled:
    """Answers of one model to the workspace's ranking prompts, and the judge's scores of them."""

    given: Sequence[Candidates]
    scores: Sequence[Sequence[AxisScores | NamedScores]]

    def two(self, prompts: Sequence[int], rng: np.random.Generator) -> list[ModelAnswers]:
        """Two sets of answers to these prompts, drawn at random: sides of one comparison."""
        picked = [rng.choice(len(self.scores[i]), 2, replace=False) for i in prompts]
        sides = []
        for k, name in enumerate("ab"):
            taken = [(i, int(pair[k])) for i, pair in zip(prompts, picked, strict=True)]
            said = [self.given[i].completions[j] for i, j in taken]
            scores = [self.scores[i][j] for i, j in taken]
            lengths, ends = [len(c.token_ids) for c in said], [c.finish_reason for c in said]
            sides.append(ModelAnswers(name, name, [c.text for c in said], lengths, ends, scores))
        return sides


def sampled(space: Workspace) -> Sampled:
    judge = judge_of(space.config.project)
    assert judge is not None, "expected a domain with a judge"
    given = list(load_candidates(samples_file(space, space.round)))
    return Sampled(given, [[judge.score(c.prompt, a.text) for a in c.completions] for c in given])


def same_model(of: Sampled, verdicts: int, n: int, resamples: int, seed: int) -> dict[str, Any]:
    """Words of `verdicts` comparisons of a model with itself on `n` prompts each."""
    rng, words = np.random.default_rng(seed), {"better": 0, "no evidence": 0, "worse": 0}
    with progress("A/A", verdicts, unit="verdict") as shown:
        for done in range(verdicts):
            prompts = rng.choice(len(of.given), n, replace=False).tolist()
            asked = [of.given[i].prompt for i in prompts]
            words[compare(*of.two(prompts, rng), asked, resamples=resamples, seed=seed + done).word] += 1
            shown.update(done + 1)
    share, bounds = words["no evidence"] / verdicts, list(wilson(words["no evidence"], verdicts))
    return {"prompts": n, "verdicts": verdicts, **words, "share": share, "interval": bounds}


def power(of: Sampled, n: int, draws: int, margin: float, seed: int) -> dict[str, Any]:
    """Share of verdicts that say 'better' at each true difference, and the difference seen in 80 of 100."""
    rng = np.random.default_rng(seed)
    a, b = of.two(range(len(of.given)), rng)
    gains = np.array([x.overall - y.overall for x, y in zip(a.scores or (), b.scores or (), strict=True)])
    gains -= gains.mean()
    seen = {}
    for shift in SHIFTS:
        better = 0
        for _ in range(draws):
            drawn = rng.choice(gains, n) + shift
            wins = np.where(drawn > margin, 1.0, np.where(drawn < -margin, 0.0, 0.5))
            better += decide(bootstrap_mean(drawn, None, 1000), proportion_interval(wins, None, 1000)) == "better"
        seen[shift] = better / draws
    at = float(np.interp(0.8, list(seen.values()), list(seen))) if max(seen.values()) >= 0.8 else None
    return {"prompts": n, "deviation": float(gains.std(ddof=1)), "better": seen, "seen_in_80_of_100": at}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--verdicts", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=200, help="of each comparison; the English demo has 200")
    parser.add_argument("--draws", type=int, default=400, help="verdicts for each true difference")
    parser.add_argument("--resamples", type=int, default=0, help="0: as the workspace has them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    space = Workspace.open(args.workspace).pin()
    of, settings = sampled(space), space.config.eval
    found = {
        "machine": machine(),
        "aa": same_model(of, args.verdicts, args.prompts, args.resamples or settings.bootstrap, args.seed),
        "power": power(of, args.prompts, args.draws, settings.tie_margin, args.seed) if args.draws else None,
    }
    print(json.dumps(found, indent=1))
    write_json(args.output, found)


if __name__ == "__main__":
    main()
