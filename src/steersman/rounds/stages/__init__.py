"""The stages, in the order of the loop. To add one: a file beside this one, and its entry here."""

from __future__ import annotations

from steersman.rounds.registry import Stage
from steersman.rounds.stages import encoder, gathered, ppo, preference, rank, report, reward, sample, sft

ENTRIES: tuple[Stage, ...] = (
    sft.STAGE,
    sample.STAGE,
    rank.STAGE,
    gathered.STAGE,
    reward.STAGE,
    ppo.PPO,
    ppo.GRPO,
    ppo.RLOO,
    preference.DPO,
    preference.KTO,
    encoder.STAGE,
    report.STAGE,
)
