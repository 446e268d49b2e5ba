"""Settings of the stages that learn from files: SFT, the reward model, DPO and KTO."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.config.components import (
    AdaptersConfig,
    DialogueRowsConfig,
    OptimizerConfig,
    RankingRowsConfig,
    ResumeConfig,
)
from steersman.config.declared import opt, weights


@dataclass(frozen=True)
class SftConfig:
    epochs: int = opt(2, "Passes over the demonstrations.", low=1)
    eval_fraction: float = opt(
        0.05, "Share of the demonstrations held out where the data has no validation split.", high=1
    )
    evals: int = opt(0, "Held-out evaluations on the way, evenly spaced; 0 evaluates before and after only.")
    eval_dialogues: int = opt(1000, "Held-out dialogues that an evaluation looks at, drawn by the seed.", low=1)
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-5)
    rows: DialogueRowsConfig = DialogueRowsConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    resume: ResumeConfig = ResumeConfig()


@dataclass(frozen=True)
class RewardConfig:
    epochs: int = opt(1, "Passes over the rankings; more overfits (published: 1).", low=1)
    holdout_fraction: float = opt(0.15, "Share of the prompts held out for accuracy.", high=1)
    members: int = opt(1, "Reward models that differ in head and data order (Coste et al. 2023: 5).", low=1)
    validator: bool = opt(
        True, "Learn a second model from the held-out rankings alone, by which PPO chooses its checkpoint."
    )
    validator_epochs: int = opt(2, "Passes of that second model over its rankings, which are fewer.", low=1)
    margin: float = opt(0.0, "Margin per step between two grades in the loss (Touvron et al. 2023); 0 turns it off.")
    objectives: dict[str, float] = weights(
        "Objectives that rankings name, with weights, such as {helpful = 1.0, harmless = 0.5}; a head each."
    )
    evals: int = opt(0, "Held-out evaluations on the way, evenly spaced; 0 evaluates at the end only.")
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-5)
    rows: RankingRowsConfig = RankingRowsConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    resume: ResumeConfig = ResumeConfig()


@dataclass(frozen=True)
class PreferenceConfig:
    """What DPO and KTO share."""

    epochs: int = opt(1, "Passes over the preferences.", low=1)
    beta: float = opt(0.1, "Price of leaving the SFT model: a higher one stays nearer.", low=1e-6)
    holdout_fraction: float = opt(
        0.15, "Share of the prompts held out for accuracy; those of the reward model.", high=1
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-6, warmup_fraction=0.1)
    rows: RankingRowsConfig = RankingRowsConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    resume: ResumeConfig = ResumeConfig()


@dataclass(frozen=True)
class DpoConfig(PreferenceConfig):
    label_smoothing: float = opt(0.0, "Share of preferences taken to be the wrong way round (cDPO).", high=0.5)
    length_normalised: bool = opt(
        False, "Log-probabilities per token instead of per answer; beta then wants to be larger."
    )


@dataclass(frozen=True)
class KtoConfig(PreferenceConfig):
    desirable_weight: float = opt(1.0, "Weight of desirable answers.")
    undesirable_weight: float = opt(1.0, "Weight of undesirable answers; balance weight times count of both.")
