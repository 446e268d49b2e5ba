"""What PPO watches while it runs: that it starts where it must, and that it does not win by a trick.

`starting_point` compares the first iteration with its known exact values. `Monitors` compares recent iterations
with the first ones: a policy that has found a hole in the reward model grows longer, repeats itself, leaves the
reference, stops varying or stops ending its answers, while its reward rises. Both work on logged metrics, so a resumed
run sees what the uninterrupted one saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.config import PpoConfig
from steersman.rl.experience import Experience

Row = Mapping[str, Any]
"""A line of the stage's metrics.jsonl."""

EXACT = 1e-3
"""Most that a log-probability (nats per token) or a ratio may be off at the start. On a CPU both are exactly 0."""
ENGINE = {"float32": 1e-2, "bfloat16": 0.1}
"""Most that the engine's log-probabilities may differ from the trainer's, mean absolute nats per token: the two round
differently, but another temperature, template or set of weights shows as more."""
UNCERTAINTY_GROWTH = 2.0
"""The ensemble's standard deviation may grow by this factor."""
CRITIC_LEAP = 4.0
"""The critic's loss over an iteration's steps may be so many times that before; a step of fair length lowers it."""


def starting_point(experience: Experience, engine_error: float, ratio_error: float | None) -> dict[str, float]:
    """Before any update policy and reference are equal: KL is 0, each ratio 1, and engine and trainer agree.

    Returns the error of each (KL: the largest over tokens, in nats); `ratio_error` is None while only the critic
    learns.
    """
    difference = (experience.old_logprobs - experience.ref_logprobs)[experience.mask]
    figures = {"kl_error": float(difference.abs().max()), "engine_error": engine_error}
    return figures if ratio_error is None else figures | {"ratio_error": ratio_error}


def check_start(figures: Mapping[str, float], dtype: str) -> None:
    """Raises ValueError that explains which of `starting_point`'s figures is off, and why that matters."""
    reasons = {
        "kl_error": (
            EXACT,
            "policy and reference should be the same model before the first update, but a token's log-probabilities "
            "differ by {:.2g} nats; the KL price would be wrong from the start. The model computes differently each "
            "time (dropout, or code of its own), or its folder changed while it was loaded",
        ),
        "ratio_error": (
            EXACT,
            "the first ratio should be 1, but is off by {:.2g}; the clip would act before anything was learned. "
            "Scoring and training do not compute the same: look for dropout, another temperature or padding",
        ),
        "engine_error": (
            ENGINE[dtype],
            "the engine's log-probabilities differ from the trainer's by {:.2g} nats per token on average; answers "
            "would come from another distribution than the one that is improved. The engine has other weights, "
            "another template or a computation of its own for this model: try model.dtype = 'float32'",
        ),
    }
    for name, value in figures.items():
        limit, reason = reasons[name]
        if not value <= limit:  # written so that NaN fails
            raise ValueError(f"PPO's start: {reason.format(value)} (allowed: {limit:g})")


class Monitors:
    """Compares the mean of the last `monitors.window` iterations with that of the first; each monitor speaks once."""

    def __init__(self, config: PpoConfig, rows: Sequence[Row]) -> None:
        """`rows`: the iterations before a resume."""
        self.config = config
        self.rows: list[Row] = []
        self.alarms: dict[str, str] = {}
        """Name of each monitor that has spoken -> what it said."""
        for row in rows:
            self.look(row)

    def look(self, row: Row) -> list[str]:
        """Add an iteration's line; returns each new warning, with its figures and what to do."""
        self.rows.append(row)
        if self.config.monitors.action == "off":
            return []
        found = self._leaps(row) | (self._wrong() if len(self.rows) >= self.config.monitors.window else {})
        new = {name: text for name, text in found.items() if name not in self.alarms}
        self.alarms |= new
        return list(new.values())

    def _leaps(self, row: Row) -> dict[str, str]:
        """Warnings that one iteration gives alone. Rows of older versions lack the loss before the iteration."""
        before, now = row.get("value_loss_before"), row.get("value_loss")
        if before is None or now is None or now <= CRITIC_LEAP * before:
            return {}
        return {
            "critic": (
                f"critic leaps: its loss was {now:.3g} over the steps of iteration {row['iteration']}, {before:.3g} "
                "before them. Each step throws its values beyond the returns, and advantages follow the error: lower "
                "ppo.critic_lr"
            )
        }

    def _wrong(self) -> dict[str, str]:
        c, window = self.config.monitors, self.config.monitors.window

        def means(key: str) -> tuple[float, float]:
            first, last = ([float(row[key]) for row in rows] for rows in (self.rows[:window], self.rows[-window:]))
            return sum(first) / len(first), sum(last) / len(last)

        until = f"(mean of {window} iterations, at iteration {self.rows[-1]['iteration']})"
        out = {}
        before, now = means("length")
        if c.length_drift and not 1 / c.length_drift <= now / max(before, 1e-9) <= c.length_drift:
            longer = now > before
            out["length"] = (
                f"length drift: answers have {now:.0f} tokens {until}, {before:.0f} in the first iterations. "
                + (
                    "The reward model may pay for length: compare it with 'the longer answer wins' in the reward "
                    "model's report, add {rule = 'length', at_most = ...} to ppo.rules, or raise ppo.kl_coef"
                    if longer
                    else "The reward model may pay for saying nothing: read the samples, add {rule = 'length', "
                    "at_least = ...} to ppo.rules, or raise ppo.kl_coef"
                )
            )
        before, now = means("repetition")
        if c.repetition_rise and now > before + c.repetition_rise:
            out["repetition"] = (
                f"repetition: {now:.0%} of an answer's 4-grams repeat earlier ones {until}, {before:.0%} in the first "
                "iterations. The reward model does not see loops as bad: add {rule = 'repetition'} to ppo.rules, raise "
                "ppo.kl_coef, or rank such answers and train the reward model again"
            )
        _, now = means("kl")
        if c.kl_warning and now > c.kl_warning:
            out["kl"] = (
                f"KL runaway: {now:.1f} nats per answer {until}; beyond some {c.kl_warning:g} the reward model "
                "sees answers unlike those it learned from, and people like them less (Stiennon et al. 2020). Raise "
                "ppo.kl_coef, set ppo.kl_target, or lower ppo.lr"
            )
        before, now = means("entropy")
        if c.entropy_floor and now < c.entropy_floor * before:
            out["entropy"] = (
                f"entropy collapse: {now:.3f} nats per token {until}, {before:.3f} in the first iterations. The policy "
                "gives the same answers again and again and no longer explores: raise ppo.kl_coef, set "
                "ppo.entropy_coef (0.01), or lower ppo.lr or ppo.epochs"
            )
        _, now = means("no_eos")
        if c.no_eos_limit and now > c.no_eos_limit:
            out["no_eos"] = (
                f"missing end: {now:.0%} of the answers never end {until} and get the fixed ppo.no_eos_reward instead "
                "of a score. Raise ppo.max_tokens, lower ppo.no_eos_reward, or check that the demonstrations end"
            )
        if "reward_std" in self.rows[0]:
            before, now = means("reward_std")
            if now > UNCERTAINTY_GROWTH * before:
                out["uncertainty"] = (
                    f"uncertain reward: the reward models differ by {now:.2f} {until}, {before:.2f} in the first "
                    "iterations: answers have left what the rankings cover. Set ppo.ensemble = 'min', raise "
                    "ppo.kl_coef, or rank answers of this policy"
                )
        return out
