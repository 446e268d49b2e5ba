"""Sizes of the demo that this machine finishes within ten minutes, from its measured speed; test prompts stay longest.

Why so: decision 61 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steersman import chosen, waits
from steersman import config as configs
from steersman.config import replaced
from steersman.progress import note

SECONDS = 9.3 * 60.0
"""What the loop may take by estimate; the rest is left for what was misjudged."""
TESTED, ZEROED = 120, 64
"""Rankings and demonstrations that `train/reward.py` scores besides."""
LEAST = 0.4
"""Least share of the demonstrations, and of prompts to rank in English."""
SMALLEST = {"en": LEAST, "zh": 0.8}
"""Share of the sizes below which the demo proves nothing: in Chinese PPO lost at 0.4."""
LOOKED, JUDGED, HELD = 48, 120, 32
"""Prompts of PPO's looks, test prompts and held-out dialogues where even these sizes take too long."""
FEWEST = 1 / 3
"""Least share of an iteration's prompts: 16 in the demo."""
ITERATIONS = 6
"""Fewest iterations of PPO, which the demo in Chinese has."""
DEMONSTRATION, PROMPT, ANSWER = 136, 97, 34
"""Mean tokens of the shop's texts."""
READ = 2.0
"""Tokens are read (forward, all layers) this many times as fast as learned (the last ten layers too, backward)."""
GENERATED = 1.6
"""A hundred answers are generated this many times as fast as the 32 that are measured, whose prompts are read too."""
FROZEN = 0.6
"""Share of the reading that the frozen layers are."""
START = 30.0
"""Seconds that loading, saving and hashing take."""


def seconds(config: configs.Config, pace: dict[str, float]) -> float:
    """About how long the loop takes at `pace`: "learn" and "generate" in tokens per second.

    Factors without a name are how many times the layers of one model several of them take, as measured.
    """
    learn, read, data, ppo = pace["learn"], READ * pace["learn"], config.data, config.ppo

    def answered(prompts: float, answers: float) -> float:
        return prompts * PROMPT / read + answers * ANSWER / (GENERATED * pace["generate"])

    sft = data.demonstrations * DEMONSTRATION / learn * config.sft.epochs
    sft += 2 * min(data.eval_prompts, config.sft.eval_dialogues) * DEMONSTRATION / read
    answers, group = config.sample.answers, PROMPT + config.sample.answers * ANSWER
    sample = answered(data.ranking_prompts, data.ranking_prompts * answers)
    held = config.reward.holdout_fraction
    passes = (1 - held) * config.reward.epochs + held * config.reward.validator_epochs * config.reward.validator
    ranked = data.ranking_prompts * group  # its frozen layers are computed once, for the reward model and the validator
    own = 1 - FROZEN if passes else 0.0  # share of the reading that only one of the models does
    reward = ranked * ((1 - own) / read + passes * (1 - FROZEN / READ) / learn)
    reward += (min(TESTED, data.ranking_prompts) + held * data.ranking_prompts) * group * own / read
    reward += ZEROED * DEMONSTRATION / read
    rollouts, selection = ppo.rollouts, ppo.selection
    episodes = rollouts.prompts_per_iteration * rollouts.answers_per_prompt
    sampled = rollouts.prompts_per_iteration * PROMPT + episodes * ANSWER
    learned, scored = (1.5, 2.1) if ppo.advantage.method == "gae" else (1.0, 1.6)
    optimise = answered(rollouts.prompts_per_iteration, episodes)
    optimise += sampled * (learned * ppo.epochs / learn + (scored + own) / read)
    looked = selection.eval_prompts * (PROMPT + selection.eval_answers * ANSWER) * (1.3 + 2 * own) / read
    looked += answered(selection.eval_prompts, selection.eval_prompts * selection.eval_answers)
    looks = 1 + ppo.iterations // max(1, selection.eval_every) + ppo.kl.draw_on
    improve = ppo.iterations * optimise + looked * looks
    judge = 3 * answered(data.eval_prompts, data.eval_prompts)
    judge += data.eval_prompts * (1.3 * (PROMPT + 3 * ANSWER) + 1.9 * (PROMPT + ANSWER)) / read
    return float(START + sft + sample + reward + improve + judge)


def scaled(config: configs.Config, share: float) -> configs.Config:
    """The config with `share` of its prompts to rank and iterations, and fewer demonstrations yet: of rankings, the
    reward model has none to spare.
    """
    data = replaced(
        config.data,
        demonstrations=round(config.data.demonstrations * max(LEAST, 2 * share - 1)),
        ranking_prompts=round(config.data.ranking_prompts * share),
    )
    full = config.ppo.iterations
    iterations = min(full, max(ITERATIONS, round(full * share)))
    prompts = config.ppo.rollouts.prompts_per_iteration
    changed: dict[str, Any] = {
        "iterations": iterations,
        "prompts_per_iteration": round(prompts * max(FEWEST, 2 * share - 1)),
        "eval_every": max(1, config.ppo.selection.eval_every * iterations // full),
    }
    if iterations < full:  # the same distance in fewer steps: a step's KL goes with the square of its length
        changed["step_kl"] = config.ppo.optimizer.step_kl * (full / iterations) ** 2
    return dataclasses.replace(config, data=data, ppo=replaced(config.ppo, **changed))


def leaner(config: configs.Config) -> Iterator[configs.Config]:
    """What a slow machine can leave out of the smallest sizes, each with all before it: training of the reward models'
    layers (their heads are solved), answers of PPO's looks at other prompts, test prompts.

    A solved head of few rankings takes length for worth where answers are drawn at temperature 1, whose short ones are
    mostly broken off; so answers to rank and to learn from are drawn as those that are judged.
    """
    reward = replaced(config.reward, head_init="solved", epochs=0, validator_epochs=0)
    sample = replaced(config.sample, temperature=config.eval.temperature)
    ppo = replaced(config.ppo, temperature=config.eval.temperature)
    yield (config := dataclasses.replace(config, reward=reward, sample=sample, ppo=ppo))
    seen = min(LOOKED, config.ppo.selection.eval_prompts)
    yield (config := dataclasses.replace(config, ppo=replaced(config.ppo, eval_prompts=seen, eval_answers=2)))
    data = replaced(config.data, eval_prompts=min(JUDGED, config.data.eval_prompts))
    held = min(HELD, config.sft.eval_dialogues)
    yield dataclasses.replace(config, data=data, sft=replaced(config.sft, eval_dialogues=held))


def fitted(config: configs.Config, pace: dict[str, float]) -> configs.Config:
    """The largest sizes that take at most `SECONDS`, or the smallest."""
    smallest = SMALLEST[config.project.language]
    shares = [1.0 - 0.05 * i for i in range(round((1.0 - smallest) / 0.05) + 1)]
    sizes = [scaled(config, share) for share in shares]
    sizes += leaner(sizes[-1])
    return next((of for of in sizes if seconds(of, pace) <= SECONDS), sizes[-1])


def told(config: configs.Config, pace: dict[str, float]) -> str:
    minutes = seconds(config, pace) / 60
    late = "" if minutes <= 10 else ", more than the ten that it is meant to take: this machine is slow, or busy"
    drawn = f"answers drawn at {config.sample.temperature:g}"
    solved = "" if config.reward.epochs else f" (reward models: their heads alone; {drawn})"
    return (
        f"this machine: {pace['generate']:.0f} tokens/s generated, {pace['learn']:.0f} learned "
        f"({config.model.dtype}); {config.data.demonstrations} demonstrations, {config.data.ranking_prompts} prompts "
        f"to rank{solved}, {config.ppo.iterations} iterations of PPO, {config.data.eval_prompts} test prompts: about "
        f"{max(1, round(minutes))} min{late}"
    )


def measured(config: configs.Config) -> dict[str, float] | None:
    """The base model's pace here; None where nothing may be measured, or a GPU computes."""
    if waits.off():
        return None
    from steersman.train import pace
    from steersman.weights.folders import pick_device
    from steersman.weights.resolve import resolve

    if pick_device(config.model.device).type != "cpu":
        return None
    folder: Path = resolve(config.model.base, say=note)
    return pace.of_model(folder, config.model.base, config.model.dtype, config.sft.adapters.train_layers)


def choose_way() -> None:
    """Measure what computes fastest here, where no demo has."""
    if waits.off() or chosen.kept() is not None:
        return
    import torch

    from steersman.train.pace import compare

    if not torch.cuda.is_available():
        choice = compare()
        note(f"this machine computes fastest in {choice.way}")
