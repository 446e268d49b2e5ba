"""Data of the training benchmark, the same for every side: the bundled shop's dialogues and rankings, or a file's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data.importing import parse_file
from steersman.data.shop import generate, judge
from steersman.data.shop.generate import answers_to
from steersman.text.template import Template
from steersman.types import Conversation, Ranking


@dataclass(frozen=True)
class Spec:
    """One measurement, as handed to a worker in JSON."""

    task: str
    """sft, reward or ppo"""
    model: str
    reward: str
    """Folder of the reward model that PPO uses."""
    warmup: int
    """Steps before the clock runs."""
    steps: int
    """Steps timed."""
    train_layers: int
    batch_tokens: int
    batch_prompts: int
    answers: int
    """Answers per ranking."""
    episodes: int
    """Per PPO round."""
    max_tokens: int
    epochs: int
    minibatches: int
    lr: float
    seed: int
    file: str = ""
    """Records in the place of the shop's, as `steersman data import` reads them."""
    longest: int = 0
    """Tokens of the longest record that is taken from `file`."""
    output: str = ""
    """Where a peer that cannot import steersman leaves its model."""
    no_eos_reward: float = -1.0
    """PPO: score of an answer without an end."""
    peer: dict[str, Any] = field(default_factory=dict)
    """Further settings of TRL's trainer."""

    @property
    def rounds(self) -> int:
        return self.warmup + self.steps


def demonstrations(count: int, split: str, seed: int) -> list[Conversation]:
    return list(generate("demonstrations", split, count, "en", seed))  # type: ignore[arg-type]


def of_file(spec: Spec, kind: str, size: Callable[[Any], int]) -> tuple[list[Any], list[Any]]:
    """(to train on, held out): the file's records of at most `longest` tokens in random order, 64 of them held out."""
    records = [r for r in parse_file(Path(spec.file), kind, skip_bad=True).records if size(r) <= spec.longest]
    random.Random(spec.seed).shuffle(records)
    return records[64:], records[:64]


def prompts(count: int, seed: int) -> list[Conversation]:
    return list(generate("prompts", "train", count, "en", seed))


def rankings(count: int, answers: int, split: str, seed: int) -> list[Ranking]:
    """Rankings of `answers` different texts by the rule judge's score, ties to the shorter: all have K(K-1)/2 pairs."""
    rng = random.Random(seed)
    out: list[Ranking] = []
    for prompt, voices in answers_to(seed, split, "en", 4 * count):  # type: ignore[arg-type]
        different = sorted({text for _, text in voices})
        if len(different) < answers:
            continue
        texts = rng.sample(different, answers)
        best_first = sorted(texts, key=lambda text: (-judge(prompt, text).overall, len(text), text))
        ranks = tuple(best_first.index(text) + 1 for text in texts)
        out.append(Ranking(f"r{len(out)}", prompt, tuple(texts), ranks, simulated=True))
        if len(out) == count:
            return out
    raise ValueError(f"{count} rankings of {answers} different answers wanted, {len(out)} found")


def pair_ids(template: Template, items: Sequence[Ranking]) -> list[dict[str, list[int]]]:
    """Each strict pair as two whole token sequences, as trainers of pairs want them."""
    out = []
    for ranking in items:
        trunk = template.prompt_ids(ranking.prompt)
        for winner, loser in ranking.pairs():
            sides = (list(trunk + template.answer_ids(ranking.answers[i])) for i in (winner, loser))
            out.append(dict(zip(("chosen_ids", "rejected_ids"), sides, strict=True)))
    return out
