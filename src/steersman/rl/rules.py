"""Rule-based rewards: what a program can check of an answer's text, for PPO's score (`ppo.rules`).

GPT-4's technical report adds the judgement of rule-based classifiers to the reward in PPO. Each rule here gives 0 to an
answer that keeps it and down to -1 to one that breaks it, so that a good answer stays on the reward model's scale.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence

from steersman.config import RuleConfig
from steersman.plugin_calls import judge_of, rewards
from steersman.plugins import load
from steersman.types import Conversation

Scorer = Callable[[Sequence[Conversation], Sequence[str]], list[float]]
HAN = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[A-Za-z]+")
UNIT = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
"""What n-grams are counted in: a Chinese character, or a word."""


def rule_reward(rule: RuleConfig, prompt: Conversation, text: str) -> float:
    """In [-1, 0], without the weight. Raises ValueError where 'judge' meets a prompt that no domain knows."""
    if rule.rule == "length":
        return _length(len(text.strip()), rule.at_least, rule.at_most)
    if rule.rule == "language":
        return _language(text, rule.language if rule.language != "same" else _spoken(prompt.last_user))
    if rule.rule == "must_match":
        return 0.0 if re.search(rule.pattern, text) else -1.0
    if rule.rule == "must_not_match":
        return -1.0 if re.search(rule.pattern, text) else 0.0
    if rule.rule == "json":
        return 0.0 if _is_json(text) else -1.0
    if rule.rule == "repetition":
        return -repetition(tuple(UNIT.findall(text.lower())), rule.ngram)
    return _judged(prompt, text)


@functools.lru_cache(maxsize=64)
def scorer(rule: RuleConfig) -> Scorer:
    """A function that scores several answers at once, without the weight; a user's function may return any numbers.

    A user's function is imported and its code hashed once per process, not for every minibatch.
    Raises ValueError where it cannot be found, and on a call that returns anything but numbers.
    """
    if rule.rule == "python":
        return functools.partial(rewards, load(rule.function, "rewards", "ppo.score.rules"))
    if rule.rule == "judge" and rule.function:
        judge = judge_of(rule.function)
        return lambda prompts, texts: [judge.score(p, text).overall - 1 for p, text in zip(prompts, texts, strict=True)]
    return lambda prompts, texts: [rule_reward(rule, p, text) for p, text in zip(prompts, texts, strict=True)]


def repetition(units: tuple[object, ...], n: int = 4) -> float:
    """Share of n-grams that came before in the same answer, in [0, 1]; 0 where there are fewer than two."""
    grams = [units[i : i + n] for i in range(len(units) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0


def _length(size: int, least: int, most: int) -> float:
    """Characters missing or in excess, as a share of the bound, at most 1: near misses cost little. Negated."""
    if size < least:
        return size / least - 1
    return -min(1.0, size / most - 1) if most and size > most else 0.0


def _weights(text: str) -> tuple[float, float]:
    """(Chinese, English) words in the text; a Chinese character counts as half a word."""
    return len(HAN.findall(text)) / 2, float(len(WORD.findall(text)))


def _spoken(text: str) -> str:
    chinese, english = _weights(text)
    return "zh" if chinese > english else "en"


def _language(text: str, wanted: str) -> float:
    """Share of the words that are in the other language, negated; a text without words breaks no rule of language."""
    chinese, english = _weights(text)
    foreign = english if wanted == "zh" else chinese
    return -foreign / (chinese + english) if foreign else 0.0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _judged(prompt: Conversation, text: str) -> float:
    from steersman.data.shop import judge

    return judge(prompt, text).overall - 1
