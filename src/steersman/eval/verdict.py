"""Did a round help? Paired comparisons of models on the same held-out prompts, and one plain word for each.

    "better"       the interval of the mean score difference lies above 0 (and the win rate does not contradict it)
    "worse"        it lies below 0
    "no evidence"  anything else, also whenever there are fewer than MIN_PROMPTS prompts

The score is the judge's overall score. Without a judge the reward model's score decides, and everything that is
said from it says that PPO was trained to raise that very score.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from steersman.config import EvalConfig
from steersman.eval import wording
from steersman.eval.judges import prefers
from steersman.eval.maker import UNKNOWN, Maker
from steersman.eval.tasks import TaskResult
from steersman.stats import Interval, bootstrap_mean, length_controlled_win_rate, paired_bootstrap, proportion_interval
from steersman.types import AxisScores, Conversation, NamedScores

Word = Literal["better", "no evidence", "worse"]

LEVEL = 0.95
MIN_PROMPTS = 10
"""Below this a bootstrap is not to be trusted, however far its interval is expanded, so no verdict is given."""
SMALL_N = 50
"""Below this number of prompts the reader is told that only large differences can be seen."""
LENGTH_DRIFT = 1.5
MISSING_EOS = 0.2
BEST_OF = "best_of"
"""The SFT model with best-of-N: of several answers, the one that the reward model scores highest."""


@dataclass(frozen=True)
class ModelAnswers:
    """One answer of one model to each of the N prompts, with its measurements."""

    name: str
    """"base", "sft", "ppo" or another key."""
    label: str
    """Label shown to readers, such as "PPO"."""
    answers: Sequence[str]
    tokens: Sequence[int]
    """Length of each answer in tokens, the end token included."""
    finish: Sequence[str]
    """"stop" where the model ended the answer, any other reason otherwise."""
    scores: Sequence[AxisScores | NamedScores] | None = None
    reward: Sequence[float] | None = None
    """Reward model's score of each answer."""
    kl: Sequence[float] | None = None
    """KL to the SFT model in nats, per answer."""
    kl_bound: bool = False
    """Whether `kl` is an upper bound implied by the method, not a measurement."""
    objectives: Sequence[Mapping[str, float]] | None = None
    """Reward model's score of each answer by objective, without weights; None where it has no named objectives."""
    maker: Maker = UNKNOWN

    def __post_init__(self) -> None:
        for key in ("tokens", "finish", "scores", "reward", "objectives", "kl"):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.answers):
                raise ValueError(f"answers of {self.name}: expected {len(self.answers)} {key}, got {len(values)}")


@dataclass(frozen=True)
class ModelSummary:
    """Means of one model over the prompts; None or absent where it was not measured."""

    name: str
    label: str
    overall: Interval | None
    axes: Mapping[str, Interval]
    reward: Interval | None
    kl: Interval | None
    tokens: Interval
    no_eos: Interval
    kl_bound: bool = False
    objectives: Mapping[str, Interval] = field(default_factory=dict)
    maker: Maker = UNKNOWN


@dataclass(frozen=True)
class IntentRow:
    """One intent's share of a comparison. Exploratory: the rows are not corrected for their number."""

    intent: str
    n: int
    difference: Interval
    win_rate: Interval


@dataclass(frozen=True)
class PairVerdict:
    """Is `a` better than `b`? Every difference is a minus b, per prompt."""

    a: str
    b: str
    a_label: str
    b_label: str
    judge: Literal["rules", "reward model"]
    word: Word
    word_adjusted: Word
    """The word when the 5 % error rate is shared by all comparisons of the verdict (Bonferroni)."""
    n: int
    wins: int
    ties: int
    losses: int
    a_score: float
    b_score: float
    win_rate: Interval
    """Share of prompts on which `a` wins; ties count half."""
    length_controlled: Interval
    """Win rate at equal length."""
    difference: Interval
    """Mean difference of the judge's overall score, or of the reward where there is no judge."""
    axes: Mapping[str, Interval]
    reward: Interval | None
    tokens: Interval
    no_eos: Interval
    length_ratio: float
    by_intent: tuple[IntentRow, ...] = ()
    maker: Maker = UNKNOWN
    """How `a` was made."""


@dataclass(frozen=True)
class Caution:
    """Something the reader must know; `wording.caution` puts it into words."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Results of an evaluation."""

    n: int
    judge: str
    tie_margin: float
    models: tuple[ModelSummary, ...]
    pairs: tuple[PairVerdict, ...]
    cautions: tuple[Caution, ...] = ()
    level: float = LEVEL
    tasks: tuple[TaskResult, ...] = ()

    @property
    def headline(self) -> PairVerdict | None:
        """The comparison that matters most; None where there was only one model.

        The first improved model against the SFT model, else the SFT model against the base, else the first there is.
        """
        improved = [p for p in self.pairs if p.maker.improved and p.b == p.maker.against[0]]
        first = [p for p in self.pairs if p.maker.method and not p.maker.learned_from]
        return next(iter([*improved, *first, *self.pairs]), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; numbers that are not finite become null, each pair and caution also has its English sentence."""
        out: dict[str, Any] = _plain_json(dataclasses.asdict(self))
        if not self.tasks:
            del out["tasks"]
        for part in (*out["models"], *out["pairs"]):
            del part["maker"]  # how a model was made follows from its name
        for pair, row in zip(self.pairs, out["pairs"], strict=True):
            row["sentence"] = f"{wording.claim(pair, 'en')} {wording.evidence(pair, 'en')}"
        for caution, row in zip(self.cautions, out["cautions"], strict=True):
            row["text"] = wording.caution(caution, "en")
        return out


def _plain_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_json(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decide(difference: Interval, win_rate: Interval, prompts: float = math.inf) -> Word:
    """The word for a comparison, by the rule at the top of this file; `prompts`: of those asked, how many differ."""
    if min(difference.n, win_rate.n, prompts) < MIN_PROMPTS:
        return "no evidence"
    if difference.low > 0 and win_rate.high >= 0.5:
        return "better"
    return "worse" if difference.high < 0 else "no evidence"


def compare(
    a: ModelAnswers,
    b: ModelAnswers,
    prompts: Sequence[Conversation],
    *,
    tie_margin: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    comparisons: int = 1,
) -> PairVerdict:
    """Is `a` better than `b` on the same prompts?

    `comparisons` is how many such questions are asked at once, for `word_adjusted`. Prompts that share an id are
    resampled together. Without judge scores on both sides the rewards decide (only equal rewards tie). Raises
    ValueError where the two are not aligned with `prompts` or neither scores nor rewards are there.
    """
    for side in (a, b):
        if (found := len(side.answers)) != len(prompts):
            raise ValueError(f"answers of {side.name}: expected {len(prompts)}, one per prompt, got {found}")
    groups, different = _groups(prompts), _different(prompts)
    by_rules = a.scores is not None and b.scores is not None
    ours, theirs = _decisive(a, by_rules, b.name), _decisive(b, by_rules, a.name)
    margin = tie_margin if by_rules else 0.0
    outcome = [prefers(x - y, margin) for x, y in zip(ours, theirs, strict=True)]
    wins = np.array(outcome, dtype=np.float64) / 2 + 0.5

    def paired(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Interval:
        return paired_bootstrap(x, y, groups, resamples, seed, level, expanded=True)

    def win_rate(level: float = LEVEL) -> Interval:
        return proportion_interval(wins, groups, resamples, seed, level)

    strict = 1 - (1 - LEVEL) / comparisons
    longer = [float(x - y) for x, y in zip(a.tokens, b.tokens, strict=True)]
    difference = paired(ours, theirs)
    return PairVerdict(
        a.name,
        b.name,
        a.label,
        b.label,
        judge="rules" if by_rules else "reward model",
        word=decide(difference, win_rate(), different),
        word_adjusted=decide(paired(ours, theirs, strict), win_rate(strict), different),
        n=len(prompts),
        wins=outcome.count(1),
        ties=outcome.count(0),
        losses=outcome.count(-1),
        a_score=_mean(ours),
        b_score=_mean(theirs),
        win_rate=win_rate(),
        length_controlled=length_controlled_win_rate(wins, longer, min(resamples, 2000), seed, LEVEL, groups),
        difference=difference,
        axes={k: paired(_axis(a, k), _axis(b, k)) for k in axes_of(a)} if by_rules else {},
        reward=paired(a.reward, b.reward) if a.reward is not None and b.reward is not None else None,
        tokens=paired(a.tokens, b.tokens),
        no_eos=paired(_unfinished(a), _unfinished(b)),
        length_ratio=_mean(a.tokens) / _mean(b.tokens) if any(b.tokens) else math.nan,
        by_intent=_by_intent(prompts, ours, theirs, wins, resamples, seed),
        maker=a.maker,
    )


def _groups(prompts: Sequence[Conversation]) -> list[str] | None:
    ids = [p.id or f"#{i}" for i, p in enumerate(prompts)]
    return ids if len(set(ids)) < len(ids) else None


def _different(prompts: Sequence[Conversation]) -> int:
    return len(set(_groups(prompts) or range(len(prompts))))


def _decisive(model: ModelAnswers, by_rules: bool, other: str) -> list[float]:
    if by_rules and model.scores is not None:
        return [s.overall for s in model.scores]
    if model.reward is None:
        raise ValueError(f"{model.name} against {other}: expected judge scores of both or rewards of both")
    return [float(r) for r in model.reward]


def axes_of(model: ModelAnswers) -> list[str]:
    return list(model.scores[0].axes) if model.scores else []


def _axis(model: ModelAnswers, axis: str) -> list[float]:
    return [float(s.axes[axis]) for s in model.scores or ()]


def _unfinished(model: ModelAnswers) -> list[float]:
    return [float(f != "stop") for f in model.finish]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _by_intent(
    prompts: Sequence[Conversation],
    ours: Sequence[float],
    theirs: Sequence[float],
    wins: Any,
    resamples: int,
    seed: int,
) -> tuple[IntentRow, ...]:
    """One row per intent, largest n first; no rows where no prompt names its intent."""
    intents = np.array([str(p.meta.get("intent", "")) for p in prompts])
    gain = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    rows = []
    for intent in sorted(set(intents.tolist()) - {""}):
        at = np.flatnonzero(intents == intent).tolist()
        groups = _groups([prompts[i] for i in at])
        difference = bootstrap_mean(gain[at], groups, resamples, seed, expanded=True)
        rows.append(IntentRow(intent, len(at), difference, proportion_interval(wins[at], groups, resamples, seed)))
    return tuple(sorted(rows, key=lambda r: (-r.n, r.intent)))


def summarise(
    model: ModelAnswers, prompts: Sequence[Conversation], resamples: int = 10_000, seed: int = 0
) -> ModelSummary:
    """Means of one model's measurements, with intervals."""
    groups = _groups(prompts)

    def mean(values: Sequence[float] | None) -> Interval | None:
        return None if values is None else bootstrap_mean(values, groups, resamples, seed)

    scored = model.scores is not None
    parts = model.objectives or [{}]
    return ModelSummary(
        model.name,
        model.label,
        overall=mean([s.overall for s in model.scores]) if model.scores is not None else None,
        axes={k: bootstrap_mean(_axis(model, k), groups, resamples, seed) for k in axes_of(model)} if scored else {},
        reward=mean(model.reward),
        kl=mean(model.kl),
        tokens=bootstrap_mean(model.tokens, groups, resamples, seed),
        no_eos=proportion_interval(_unfinished(model), groups, resamples, seed),
        kl_bound=model.kl_bound,
        objectives={k: bootstrap_mean([p[k] for p in parts], groups, resamples, seed) for k in parts[0]},
        maker=model.maker,
    )


def verdict(
    models: Sequence[ModelAnswers],
    prompts: Sequence[Conversation],
    config: EvalConfig,
    *,
    judge: str = "",
    kl_ceiling: float = 20.0,
    simulated_rankings: bool = False,
    known: Sequence[Caution] = (),
    seed: int = 17,
) -> Verdict:
    """Compare each model with the models that its maker names, summarise each, and collect cautions.

    `known`: cautions found before answering, such as test prompts that were trained on.
    `judge` names the rule judge (shown to readers), `kl_ceiling` is in nats per answer, `simulated_rankings` says
    that the reward model learned from a rule judge and not from people. Raises ValueError as `compare` does.
    """
    named = {m.name: m for m in models}
    if len(named) < len(models):
        raise ValueError(f"verdict: expected different model names, got {', '.join(m.name for m in models)}")
    wanted = [(m.name, b) for m in models for b in m.maker.against if b in named]
    options: dict[str, Any] = {"tie_margin": config.tie_margin, "resamples": config.bootstrap, "seed": seed}
    pairs = tuple(compare(named[a], named[b], prompts, comparisons=len(wanted), **options) for a, b in wanted)
    summaries = tuple(summarise(m, prompts, config.bootstrap, seed) for m in models)
    result = Verdict(len(prompts), judge, config.tie_margin, summaries, pairs)
    return dataclasses.replace(
        result, cautions=(*known, *_cautions(result, _different(prompts), kl_ceiling, simulated_rankings))
    )


def _cautions(result: Verdict, prompts: int, kl_ceiling: float, simulated: bool) -> tuple[Caution, ...]:
    found: list[Caution] = []
    if prompts < SMALL_N:
        found.append(Caution("few" if prompts >= MIN_PROMPTS else "too_few", {"n": prompts, "least": MIN_PROMPTS}))
    if any(p.judge == "reward model" for p in result.pairs):
        kind = wording.reward_judge(result).replace(" ", "_")
        found.append(Caution(f"reward_judge{kind}", {"by": wording.optimisers(result)}))
    if simulated:
        found.append(Caution("simulated"))
    for m in result.models:
        if m.kl is not None and m.kl.value > kl_ceiling:
            found.append(Caution("kl", {"label": m.label, "kl": m.kl.value, "ceiling": kl_ceiling}))
        if m.no_eos.value > MISSING_EOS:
            found.append(Caution("no_eos", {"label": m.label, "percent": 100 * m.no_eos.value}))
    for p in result.pairs:
        # SFT is meant to change the base model's length, so only later steps drift
        if p.b != "base" and not 1 / LENGTH_DRIFT <= p.length_ratio <= LENGTH_DRIFT and math.isfinite(p.length_ratio):
            found.append(Caution("length", {"a": p.a_label, "b": p.b_label, "ratio": p.length_ratio}))
        rose = p.reward is not None and p.reward.low > 0
        if (
            p.maker.learned_from == "reward"
            and p.b == p.maker.against[0]
            and p.judge == "rules"
            and p.word != "better"
            and rose
            and p.n >= MIN_PROMPTS
        ):
            found.append(Caution("overoptimised", {"a": p.a_label, "b": p.b_label}))
    return tuple(found)


def plain(result: Verdict, language: str = "en") -> str:
    """The verdict as plain text for the terminal: per comparison the word and its numbers, then cautions."""
    return "\n".join(wording.lines(result, language))
