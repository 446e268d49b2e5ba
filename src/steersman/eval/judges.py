"""Judges of answers. A judge scores one answer on named axes; rankings can be simulated from its scores."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from steersman.config import ProjectConfig
from steersman.plugin_calls import judge_of as named_judge
from steersman.types import AxisScores, Conversation, NamedScores

BAD_BELOW = 0.35
"""A simulated labeler calls a prompt's answers all bad when every overall score is below this."""
EPSILON = 1e-9
"""Scores are means of decimal fractions; a difference this near to the tie margin is rounding."""


class Judge(Protocol):
    """Scores answers. The same prompt and answer always get the same scores."""

    @property
    def name(self) -> str:
        """The judge's name in the report."""
        ...

    @property
    def simulated_people(self) -> bool:
        """True where rankings made from its scores stand in for people's and must be called simulated."""
        ...

    def score(self, prompt: Conversation, answer: str) -> AxisScores | NamedScores:
        """Axes in [0, 1] and reasons. Raises ValueError where the prompt lacks what the judge checks."""
        ...


class RuleJudge:
    """The shop domain's rules: checks an answer against the facts and constraints in the prompt's meta."""

    name = "shop rules"
    simulated_people = True

    def score(self, prompt: Conversation, answer: str) -> AxisScores:
        # imported here so that reading a stored verdict does not load the domain
        from steersman.data.shop import judge

        return judge(prompt, answer)


def judge_for(domain: str) -> Judge | None:
    """The rule judge of `project.domain`; None for 'none', where only a reward model can score."""
    if domain == "none":
        return None
    if domain != "shop":
        raise ValueError(f"project.domain: expected shop or none, got {domain!r}")
    return RuleJudge()


def judge_of(project: ProjectConfig) -> Judge | None:
    """The judge that `project.judge` names, else the domain's."""
    return named_judge(project.judge) if project.judge else judge_for(project.domain)


def judge_of_all(prompts: Iterable[Conversation], project: ProjectConfig) -> Judge | None:
    """The judge, if it knows what a right answer to each of these prompts is: a domain's rules know its own alone."""
    judge = judge_of(project)
    known = project.judge or all(p.meta.get("domain") == project.domain for p in prompts)
    return judge if known else None


def prefers(difference: float, tie_margin: float) -> int:
    """1 where a is better by at least the margin, -1 where b is, 0 for a tie; `difference` is a's score minus b's.

    With margin 0 only equal scores tie.
    """
    if abs(difference) <= EPSILON or abs(difference) < tie_margin - EPSILON:
        return 0
    return 1 if difference > 0 else -1


def simulated_ranking(
    prompt: Conversation,
    answers: Sequence[str],
    judge: Judge,
    rng: random.Random,
    error_rate: float,
    tie_margin: float,
) -> tuple[tuple[int, ...], bool]:
    """Rank `answers` as a labeler who errs would: (rank per answer, whether all are bad).

    Each pair is judged once; with probability `error_rate` the judgement is wrong: a preference is reversed, a
    tie becomes a preference for either side. Ranks order the answers by won minus lost judgements (Copeland),
    equal counts are ties, 1 is best and no rank is left out. Identical texts are one answer to a reader, so they
    share a rank. Exactly one number is drawn from `rng` per pair of different texts, whatever the scores.
    """
    if not 0 <= error_rate <= 1:
        raise ValueError(f"rank.error_rate: expected a number from 0 to 1, got {error_rate}")
    if tie_margin < 0:
        raise ValueError(f"rank.tie_margin: expected a number of at least 0, got {tie_margin}")
    texts = list(dict.fromkeys(answers))
    overall = [judge.score(prompt, text).overall for text in texts]
    balance = [0] * len(texts)
    for i in range(len(texts)):
        for j in range(i + 1, len(texts)):
            judged = prefers(overall[i] - overall[j], tie_margin)
            draw = rng.random()
            if draw < error_rate:
                judged = -judged if judged else (1 if draw < error_rate / 2 else -1)
            balance[i] += judged
            balance[j] -= judged
    levels = sorted(set(balance), reverse=True)
    rank = {text: levels.index(b) + 1 for text, b in zip(texts, balance, strict=True)}
    all_bad = bool(texts) and all(score < BAD_BELOW - EPSILON for score in overall)
    return tuple(rank[a] for a in answers), all_bad
