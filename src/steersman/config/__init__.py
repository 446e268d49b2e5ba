"""Settings: one frozen dataclass per stage, nested by component, each field with its meaning and bounds.

They live together, away from the loops they configure, so that the command line can print help and check a file
without importing torch. `steersman.config_file` reads, checks and writes them.

Why so: decisions 2 and 52 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from steersman.config.account_settings import AccountsConfig
from steersman.config.components import (
    NO_MATTER,
    AdaptersConfig,
    AnswerRowsConfig,
    DialogueRowsConfig,
    ExampleRowsConfig,
    OptimizerConfig,
    RankingRowsConfig,
    ResumeConfig,
    RowsConfig,
)
from steersman.config.flat import Leaf, before, components, flat_name, late, leaves, replaced, to_dict
from steersman.config.pretraining import KeptConfig, PretrainConfig, ShapeConfig, UpdatesConfig
from steersman.config.project_settings import (
    DataConfig,
    EvalConfig,
    ModelConfig,
    ProjectConfig,
    RankConfig,
    RoundConfig,
    RouteConfig,
    SampleConfig,
    ServeConfig,
    StoreConfig,
)
from steersman.config.reinforcement import (
    RULES,
    AdvantageConfig,
    CriticConfig,
    GroupKlConfig,
    GroupRolloutsConfig,
    GrpoConfig,
    KlConfig,
    MonitorsConfig,
    PolicyLossConfig,
    PolicyOptimizerConfig,
    PpoConfig,
    RlooConfig,
    RolloutsConfig,
    RuleConfig,
    ScoreConfig,
    SelectionConfig,
)
from steersman.config.supervised import (
    DpoConfig,
    EncoderConfig,
    HeadConfig,
    KtoConfig,
    PreferenceConfig,
    RewardConfig,
    SftConfig,
)

__all__ = [
    "NO_MATTER",
    "RULES",
    "AccountsConfig",
    "AdaptersConfig",
    "AdvantageConfig",
    "AnswerRowsConfig",
    "Config",
    "CriticConfig",
    "DataConfig",
    "DialogueRowsConfig",
    "DpoConfig",
    "EncoderConfig",
    "EvalConfig",
    "ExampleRowsConfig",
    "GroupKlConfig",
    "GroupRolloutsConfig",
    "GrpoConfig",
    "HeadConfig",
    "KeptConfig",
    "KlConfig",
    "KtoConfig",
    "Leaf",
    "ModelConfig",
    "MonitorsConfig",
    "OptimizerConfig",
    "PolicyLossConfig",
    "PolicyOptimizerConfig",
    "PpoConfig",
    "PreferenceConfig",
    "PretrainConfig",
    "ProjectConfig",
    "RankConfig",
    "RankingRowsConfig",
    "ResumeConfig",
    "RewardConfig",
    "RlooConfig",
    "RolloutsConfig",
    "RoundConfig",
    "RouteConfig",
    "RowsConfig",
    "RuleConfig",
    "SampleConfig",
    "ScoreConfig",
    "SelectionConfig",
    "ServeConfig",
    "SftConfig",
    "ShapeConfig",
    "StoreConfig",
    "UpdatesConfig",
    "before",
    "components",
    "flat_name",
    "late",
    "leaves",
    "of_stage",
    "replaced",
    "to_dict",
]


@dataclass(frozen=True)
class Config:
    project: ProjectConfig = ProjectConfig()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    pretrain: PretrainConfig = PretrainConfig()
    sft: SftConfig = SftConfig()
    sample: SampleConfig = SampleConfig()
    rank: RankConfig = RankConfig()
    reward: RewardConfig = RewardConfig()
    ppo: PpoConfig = PpoConfig()
    grpo: GrpoConfig = GrpoConfig()
    rloo: RlooConfig = RlooConfig()
    dpo: DpoConfig = DpoConfig()
    kto: KtoConfig = KtoConfig()
    encoder: EncoderConfig = EncoderConfig()
    eval: EvalConfig = EvalConfig()
    round: RoundConfig = RoundConfig()
    serve: ServeConfig = ServeConfig()
    accounts: AccountsConfig = AccountsConfig()
    store: StoreConfig = StoreConfig()


def of_stage(config: Config, section: str) -> Any:
    """The settings that the stage of a section runs with, one dataclass.

    GRPO and RLOO run as [ppo] says, except for what their own section says and for what needs a critic.
    """
    own = getattr(config, section)
    if isinstance(own, RlooConfig):
        without_critic: dict[str, Any] = {"group_baseline": False, "whiten_rewards": False, "whiten_advantages": False}
        own = replaced(config.ppo, advantage=section, critic_warmup_iterations=0, **without_critic, **to_dict(own))
    if isinstance(own, PpoConfig) and config.project.judge:  # rule 'judge' asks the judge of evaluation
        judge = config.project.judge
        rules = [replace(r, function=judge) if r.rule == "judge" else r for r in own.score.rules]
        own = replaced(own, rules=rules)
    return own
