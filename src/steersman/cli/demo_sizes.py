"""Sizes of the demo that this machine finishes within ten minutes, from its measured speed; the test prompts stay.

Why so: decision 61 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from steersman import chosen, waits
from steersman import config as configs
from steersman.config import replaced
from steersman.progress import note

SECONDS = 9 * 60.0
"""What the loop may take by estimate; a tenth is left for what was misjudged."""
SMALLEST = 0.4
"""Share of the sizes below which the demo proves nothing."""
ITERATIONS = 6
"""Fewest iterations of PPO, which the demo in Chinese has."""
DEMONSTRATION, PROMPT, ANSWER = 136, 97, 34
"""Mean tokens of the shop's texts."""
READ = 3.0
"""Tokens are read (forward, all layers) this many times as fast as learned (the last ten layers too, backward)."""
START = 45.0
"""Seconds that loading, saving and hashing take."""


def seconds(config: configs.Config, pace: dict[str, float]) -> float:
    """About how long the loop takes at `pace`: "learn" and "generate" in tokens per second."""
    learn, generate = pace["learn"], pace["generate"]
    read, data, ppo = READ * learn, config.data, config.ppo
    group = PROMPT + config.sample.answers * ANSWER
    sft = data.demonstrations * DEMONSTRATION * (1 / learn + 0.1 / read) * config.sft.epochs
    sft += 2 * data.eval_prompts * DEMONSTRATION / read
    sample = data.ranking_prompts * config.sample.answers * ANSWER / generate
    reward = data.ranking_prompts * group * (1 / learn + 0.5 / read) * config.reward.epochs
    answers = ppo.rollouts.prompts_per_iteration * ppo.rollouts.answers_per_prompt * ANSWER
    own = ppo.rollouts.prompts_per_iteration * PROMPT + answers
    optimise = ppo.iterations * (answers / generate + own * 2 * (ppo.epochs / learn + 1 / read))
    looked = ppo.selection.eval_prompts * (1 + ppo.iterations // max(1, ppo.selection.eval_every))
    optimise += looked * (ANSWER / generate + 2 * (PROMPT + ANSWER) / read)
    judge = data.eval_prompts * (3 * ANSWER / generate + (3 * PROMPT + 5 * ANSWER) / read)
    return float(START + sft + sample + reward + optimise + judge)


def scaled(config: configs.Config, share: float) -> configs.Config:
    """The config with `share` of its demonstrations, prompts to rank and iterations."""
    data = replaced(
        config.data,
        demonstrations=round(config.data.demonstrations * share),
        ranking_prompts=round(config.data.ranking_prompts * share),
    )
    full = config.ppo.iterations
    iterations = min(full, max(ITERATIONS, round(full * share)))
    changed: dict[str, Any] = {
        "iterations": iterations,
        "eval_every": max(1, config.ppo.selection.eval_every * iterations // full),
    }
    if iterations < full:  # the same distance in fewer steps: a step's KL goes with the square of its length
        changed["step_kl"] = config.ppo.optimizer.step_kl * (full / iterations) ** 2
    return dataclasses.replace(config, data=data, ppo=replaced(config.ppo, **changed))


def fitted(config: configs.Config, pace: dict[str, float]) -> configs.Config:
    """The largest sizes that take at most `SECONDS`, or the smallest."""
    shares = [1.0 - 0.05 * i for i in range(round((1.0 - SMALLEST) / 0.05) + 1)]
    sizes = [scaled(config, share) for share in shares]
    return next((of for of in sizes if seconds(of, pace) <= SECONDS), sizes[-1])


def told(config: configs.Config, pace: dict[str, float]) -> str:
    minutes = seconds(config, pace) / 60
    late = "" if minutes <= 10 else ", more than the ten that it is meant to take: this machine is slow, or busy"
    return (
        f"this machine: {pace['generate']:.0f} tokens/s generated, {pace['learn']:.0f} learned "
        f"({config.model.dtype}); {config.data.demonstrations} demonstrations, {config.data.ranking_prompts} prompts "
        f"to rank, {config.ppo.iterations} iterations of PPO, {config.data.eval_prompts} test prompts: about "
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
