"""One loop over several seeds: what each seed's report says, and what all of them say together.

    verdict of a seed -> SeedOutcome (kept as JSON, so that models need not be) -> OverSeeds: mean, spread, one word

The score is each seed's judge. The interval holds both the seeds and the prompts (`stats.crossed_mean`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.eval.verdict import LEVEL, MIN_PROMPTS, ModelAnswers, Verdict, Word
from steersman.stats import Interval, crossed_mean, few_mean
from steersman.types import Conversation

MIN_SEEDS = 3
"""Below this nothing can be said of the spread between seeds, so no verdict is given."""


@dataclass(frozen=True)
class SeedOutcome:
    """What one seed's report says of its improved model (`a`) against the model it must beat (`b`)."""

    seed: int
    a: str
    b: str
    judge: str
    """Of the two, 'rules' or 'reward model'."""
    word: Word
    difference: Interval
    prompts: tuple[str, ...]
    """Names of the test prompts"""
    scores_a: tuple[float, ...]
    """Score of `a` on each prompt"""
    scores_b: tuple[float, ...]
    kl: Interval | None
    tokens: tuple[float, float]
    """Mean length of the answers of `a` and `b`"""
    accuracy: float | None
    """Of the reward model, on held-out pairs; with the baseline 'the longer answer wins'"""
    length_accuracy: float | None
    seconds: float = 0.0
    kept_sft: bool = False
    """Whether the stage that should improve found nothing better and kept the SFT model"""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {
            "difference": self.difference.to_json(),
            "kl": self.kl.to_json() if self.kl else None,
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any], where: str) -> SeedOutcome:
        """ValueError where a key is missing, unknown or of another form."""
        try:
            made = SeedOutcome(**raw)
            return dataclasses.replace(
                made,
                difference=Interval.from_json(raw["difference"], where),
                kl=Interval.from_json(raw["kl"], where) if raw["kl"] else None,
                prompts=tuple(raw["prompts"]),
                scores_a=tuple(map(float, raw["scores_a"])),
                scores_b=tuple(map(float, raw["scores_b"])),
                tokens=(float(raw["tokens"][0]), float(raw["tokens"][1])),
            )
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{where}: not the outcome of a seed ({error})") from None


def outcome(
    seed: int,
    verdict: Verdict,
    prompts: Sequence[Conversation],
    models: Sequence[ModelAnswers],
    reward: Mapping[str, Any] | None,
    seconds: float,
) -> SeedOutcome:
    """The outcome of a seed from its report. ValueError where the report compares nothing."""
    pair = verdict.headline
    if pair is None:
        raise ValueError(f"seed {seed}: its report compares no models; expected at least two")
    a, b = (next(m for m in models if m.name == name) for name in (pair.a, pair.b))
    kl = next(m.kl for m in verdict.models if m.name == pair.a)
    accuracy, length = ((reward or {}).get(key) or {} for key in ("accuracy", "length_baseline"))
    return SeedOutcome(
        seed=seed,
        a=pair.a_label,
        b=pair.b_label,
        judge=pair.judge,
        word=pair.word,
        difference=pair.difference,
        prompts=tuple(p.id or f"#{i}" for i, p in enumerate(prompts)),
        scores_a=_scores(a, pair.judge),
        scores_b=_scores(b, pair.judge),
        kl=kl,
        tokens=tuple(sum(m.tokens) / len(m.tokens) for m in (a, b)),  # type: ignore[arg-type]
        accuracy=accuracy.get("value"),
        length_accuracy=length.get("value"),
        seconds=round(seconds, 1),
        kept_sft=any(caution.code == "kept_sft" for caution in verdict.cautions),
    )


def _scores(model: ModelAnswers, judge: str) -> tuple[float, ...]:
    scored = [s.overall for s in model.scores or ()] if judge == "rules" else model.reward
    assert scored, model.name
    return tuple(float(s) for s in scored)


@dataclass(frozen=True)
class OverSeeds:
    """What the seeds say together."""

    outcomes: tuple[SeedOutcome, ...]
    n_prompts: int
    difference: Interval
    """Mean over seeds and prompts, with an interval that holds both"""
    spread: float
    """Standard deviation of the seeds' mean differences; NaN for one seed"""
    word: Word
    kl: Interval
    accuracy: Interval
    lead: Interval
    """Reward accuracy minus that of 'the longer answer wins'"""
    tokens: tuple[float, float]
    rankings: str
    """What the seeds learned from: 'people', 'simulated' or 'imported'"""

    @property
    def a(self) -> str:
        return self.outcomes[0].a

    @property
    def b(self) -> str:
        return self.outcomes[0].b

    @property
    def words(self) -> Counter[Word]:
        return Counter(o.word for o in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        intervals = {key: getattr(self, key).to_json() for key in ("difference", "kl", "accuracy", "lead")}
        seeds = [o.to_json() for o in self.outcomes]
        for row in seeds:
            for key in ("prompts", "scores_a", "scores_b"):
                del row[key]
        words: tuple[Word, ...] = ("better", "no evidence", "worse")
        return {
            "a": self.a,
            "b": self.b,
            "word": self.word,
            "n_seeds": len(self.outcomes),
            "n_prompts": self.n_prompts,
            "seeds_by_word": {word: self.words[word] for word in words},
            "kept_sft": sum(o.kept_sft for o in self.outcomes),
            "spread": self.spread,
            "tokens": list(self.tokens),
            "rankings": self.rankings,
            **intervals,
            "seeds": seeds,
        }


def together(outcomes: Sequence[SeedOutcome], rankings: str) -> OverSeeds:
    """The seeds' outcomes as one. ValueError where they do not compare the same models on the same prompts."""
    first = outcomes[0]
    for other in outcomes:
        if (other.a, other.b, other.judge) != (first.a, first.b, first.judge):
            raise ValueError(
                f"seeds {first.seed} and {other.seed}: expected the same comparison by the same judge, got "
                f"{first.a} against {first.b} ({first.judge}) and {other.a} against {other.b} ({other.judge})"
            )
    gains = _by_prompt(outcomes, [np.subtract(o.scores_a, o.scores_b) for o in outcomes])
    difference = crossed_mean(gains)
    means = gains.mean(axis=1)
    judged = [o for o in outcomes if o.accuracy is not None and o.length_accuracy is not None]
    return OverSeeds(
        outcomes=tuple(outcomes),
        n_prompts=gains.shape[1],
        difference=difference,
        spread=float(means.std(ddof=1)) if len(means) > 1 else float("nan"),
        word=_word(difference, gains.shape),
        kl=few_mean([o.kl.value for o in outcomes if o.kl is not None]),
        accuracy=few_mean([o.accuracy for o in judged if o.accuracy is not None]),
        lead=few_mean([(o.accuracy or 0.0) - (o.length_accuracy or 0.0) for o in judged]),
        tokens=(_mean(o.tokens[0] for o in outcomes), _mean(o.tokens[1] for o in outcomes)),
        rankings=rankings,
    )


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _by_prompt(outcomes: Sequence[SeedOutcome], values: Sequence[Any]) -> Any:
    """[seeds, prompts]: prompts that share a name are one."""
    named = {o.prompts for o in outcomes}
    if len(named) > 1:
        raise ValueError("the seeds were not evaluated on the same test prompts; expected one set for all")
    order = {name: i for i, name in enumerate(dict.fromkeys(outcomes[0].prompts))}
    at = np.array([order[name] for name in outcomes[0].prompts])
    counts = np.bincount(at)
    return np.stack([np.bincount(at, weights=np.asarray(row, dtype=np.float64)) / counts for row in values])


def _word(difference: Interval, shape: tuple[int, ...]) -> Word:
    if shape[0] < MIN_SEEDS or shape[1] < MIN_PROMPTS:
        return "no evidence"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "no evidence"


@dataclass(frozen=True)
class Against:
    """Two trials over the same seeds and prompts: the improved model of one minus that of the other."""

    name: str
    seeds: tuple[int, ...]
    difference: Interval
    word: Word
    level: float = LEVEL

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"difference": self.difference.to_json(), "seeds": list(self.seeds)}


def against(ours: Sequence[SeedOutcome], theirs: Sequence[SeedOutcome], name: str) -> Against:
    """Paired by seed and prompt. ValueError where they have no seed in common, or judge or prompts differ."""
    others = {o.seed: o for o in theirs}
    mine = [o for o in ours if o.seed in others]
    if not mine:
        raise ValueError(f"--against {name}: it has none of these seeds; expected at least {MIN_SEEDS} in common")
    if any(o.judge != "rules" or others[o.seed].judge != "rules" for o in mine):
        raise ValueError(f"--against {name}: each seed was judged by its own reward model; expected a judge of both")
    if any(o.prompts != others[o.seed].prompts for o in mine):
        raise ValueError(f"--against {name}: was evaluated on other test prompts; expected the same")
    gains = _by_prompt(mine, [np.subtract(o.scores_a, others[o.seed].scores_a) for o in mine])
    difference = crossed_mean(gains)
    return Against(name, tuple(o.seed for o in mine), difference, _word(difference, gains.shape))
