"""Settings of the stages that sample answers and learn from their scores: PPO, GRPO and RLOO."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from steersman.config.components import AdaptersConfig, AnswerRowsConfig, ResumeConfig
from steersman.config.declared import later, opt, weights

MONITORS = ("warn", "stop", "off")
ENSEMBLES = ("mean", "min", "uncertainty")
RULES = ("length", "language", "must_match", "must_not_match", "json", "repetition", "judge", "python")


@dataclass(frozen=True)
class RuleConfig:
    """One entry of `ppo.rules`: `weight` times 0 for an answer that keeps the rule, down to -1 for one that breaks it.

    Raises ValueError where a rule lacks what it needs.
    """

    rule: str = opt("length", "Which rule; judge: that of evaluation; python: a function of yours.", RULES)
    weight: float = opt(1.0, "Most that breaking it costs, on the reward model's scale; 0 only logs it.")
    at_least: int = opt(0, "length: fewest characters.")
    at_most: int = opt(0, "length: most characters; 0 is no limit.")
    language: str = opt("same", "language: what the answer is to be in; 'same' as the user.", ("same", "en", "zh"))
    pattern: str = opt("", "must_match, must_not_match: a regular expression, searched for anywhere in the answer.")
    ngram: int = opt(4, "repetition: words (Chinese: characters) in a row that count as repeated.", low=1)
    function: str = opt("", "python: 'module:function' or an entry point of steersman.rewards.", late=True)

    def __post_init__(self) -> None:
        if self.rule == "length" and not 0 <= self.at_least <= (self.at_most or self.at_least or -1):
            raise ValueError(
                f"rule 'length': expected at_most, at_least or both (at_least <= at_most), got {self.at_least} and "
                f"{self.at_most}"
            )
        if self.rule == "python" and not self.function:
            raise ValueError("rule 'python': expected function, such as \"mycompany.rewards:reward\"")
        if self.rule in ("must_match", "must_not_match"):
            if not self.pattern:
                raise ValueError(f"rule '{self.rule}': expected a pattern")
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"rule '{self.rule}': pattern {self.pattern!r}: {error}") from None


@dataclass(frozen=True)
class RolloutsConfig:
    """The prompts of an iteration and how they are answered."""

    prompts_per_iteration: int = opt(64, "Prompts per iteration.", low=1)
    answers_per_prompt: int = opt(1, "Answers sampled per prompt; they share the prompt's forward pass.", low=1)
    learned_per_prompt: int = opt(
        0,
        "Learn from so many of a prompt's answers, those whose rewards differ most (Xu et al. 2025); 0: from all.",
        late=True,
    )
    rollout_prompts: int = opt(0, "Prompts answered together; resume points hold whole groups. 0: all, the fastest.")
    overlap: bool = opt(False, "Score each minibatch as soon as its answers are there, while others are being sampled.")
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(1.0, "Divides policy and reference logits alike.", low=0.01)


@dataclass(frozen=True)
class PolicyOptimizerConfig:
    """Adam of policy and critic, and their learning rate schedules."""

    lr: float = opt(5e-6, "Peak learning rate of the policy.")
    critic_lr: float = opt(9e-6, "Peak learning rate of the critic.")
    warmup_iterations: int = opt(2, "Iterations in which both rates climb linearly from a tenth.")
    final_lr_fraction: float = opt(0.1, "Both rates end at this share of the peak, on a line.", high=1)
    lr_schedule: str = opt("linear", "How the rates fall after warm-up.", ("linear", "cosine", "constant"))
    step_kl: float = later(
        opt(
            0.0,
            "Nats per answer that an iteration's updates may move the policy: its rate follows what was measured, from "
            "a sixteenth of lr up to lr, and the iteration's updates end early at four times as much; 0 takes lr as it "
            "is.",
        ),
        before=0.0,
    )
    adam_eps: float = opt(1e-5, "Adam's epsilon (Ziegler: 1e-5).")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    ema_decay: float = opt(
        0.0,
        "Evaluate and keep a moving average of the weights, of this decay per iteration (InstructGPT 0.992); 0 off.",
        high=0.9999,
    )


@dataclass(frozen=True)
class CriticConfig:
    """The critic and its learning."""

    init: str = opt(
        "reward",
        "What the critic starts as: the reward model, or the SFT model and a zero head.",
        ("reward", "sft"),
        was="critic_init",
    )
    warmup_iterations: int = opt(0, "First iterations in which only the critic learns.", was="critic_warmup_iterations")
    step: float = later(
        opt(
            0.0,
            "Deviations of the returns that an iteration's updates may move the values; as step_kl does for the "
            "policy.",
            was="critic_step",
        ),
        before=0.0,
    )
    value_clip_range: float = opt(0.2, "Value clip around the old value; 0 turns it off.")
    value_coef: float = opt(
        0.1, "Weight of the value loss; with the critic's own Adam it only moves the gradient clip."
    )


@dataclass(frozen=True)
class AdvantageConfig:
    """From scores to advantages."""

    method: str = opt(
        "gae",
        "gae needs the critic; rloo and grpo compare a prompt's answers and have none (`steersman rloo | grpo`).",
        ("gae", "rloo", "grpo"),
        was="advantage",
    )
    gamma: float = opt(1.0, "Discount; answers are short, so none.", high=1)
    lam: float = opt(0.95, "GAE lambda.", high=1)
    group_baseline: bool = opt(
        False,
        "gae: the score less the mean of its prompt's other answers, as rloo compares; needs answers_per_prompt >= 2.",
    )
    whiten_rewards: bool = opt(False, "Divide rewards by their deviation, mean kept.")
    whiten_advantages: bool = opt(True, "Advantages to mean 0, deviation 1 over real tokens.")


@dataclass(frozen=True)
class KlConfig:
    """The price of leaving the reference."""

    coef: float = opt(0.05, "Beta of the per-token KL penalty (InstructGPT 0.02, Stiennon 0.05).", was="kl_coef")
    paid_in: str = opt(
        "reward",
        "Where the KL is paid: subtracted from the reward, or in the loss (k3).",
        ("reward", "loss"),
        was="kl_in",
    )
    target: float = opt(6.0, "Adaptive KL: nats per answer to aim for; 0 keeps coef fixed.", was="kl_target")
    rise: float = later(
        opt(
            0.8,
            "Adaptive KL: first share of the iterations, in which a KL below target is no reason for a lower price.",
            high=1,
            was="kl_rise",
        ),
        before=0.0,
    )
    ahead: int = later(
        opt(2, "Adaptive KL: iterations by which KL is foreseen; else the price is late.", was="kl_ahead"), before=0
    )
    draw_back: bool = later(
        opt(
            True,
            "Keep no policy whose held-out KL is a quarter beyond the target; draw the last one back to the SFT model.",
            was="kl_draw_back",
        ),
        before=False,
    )
    draw_on: bool = opt(
        True,
        "Where it is a quarter short of the target, try weights further along that line, up to 1.6 of the way: kept "
        "where a validation reward model, which PPO never follows, sees more gain.",
        was="kl_draw_on",
        late=True,
    )
    horizon: int = opt(
        0, "Adaptive KL: episodes of memory (Ziegler 10000 of 2 million); 0 is a tenth of the run's.", was="kl_horizon"
    )
    error_clip: float = opt(
        0.5, "Adaptive KL: most that the proportional error counts (Ziegler 0.2).", was="kl_error_clip"
    )
    ceiling: float = opt(20.0, "Stop when the mean KL of an answer passes this many nats.", was="kl_ceiling")


@dataclass(frozen=True)
class PolicyLossConfig:
    """The policy's loss beside the KL."""

    clip_range: float = opt(0.2, "PPO ratio clip.")
    entropy_coef: float = opt(0.0, "Weight of an entropy bonus.")
    ptx_coef: float = opt(
        0.0, "PPO-ptx: weight of the language-model loss on demonstrations (InstructGPT 27.8); 0 turns it off."
    )


@dataclass(frozen=True)
class ScoreConfig:
    """What is maximised: reward models and rules."""

    normalise: bool = later(
        opt(
            True,
            "Reward models' scores to mean 0 and deviation 1 over the SFT model's held-out answers; named objectives "
            "have a scale already.",
        ),
        before=False,
    )
    reward_weight: float = opt(1.0, "Weight of the reward models' score beside the rules.")
    rules: list[RuleConfig] = dataclasses.field(
        default_factory=list,
        metadata={
            "doc": 'Rules added to the score, such as [{rule = "length", at_most = 400, weight = 0.5}].',
            "choices": RULES,
            "was": "",
            "late": False,
        },
    )
    objectives: dict[str, float] = weights(
        "Other weights of the reward model's objectives, all named; none: as it was trained with."
    )
    ensemble: str = opt(
        "mean",
        "Score of several reward models (reward.members): their mean, their least, or the mean less their spread.",
        ENSEMBLES,
    )
    uncertainty_coef: float = opt(1.0, "ensemble = 'uncertainty': mean minus this many standard deviations.")
    no_eos_reward: float = opt(
        -1.0, "Fixed score of an answer that never ended (the EOS trick), on the reward model's scale.", low=None
    )


@dataclass(frozen=True)
class MonitorsConfig:
    """Alarms for a policy that tricks the reward."""

    action: str = opt(
        "warn",
        "What to do where the policy seems to trick the reward: say so, end the run, nothing.",
        MONITORS,
        was="monitors",
    )
    window: int = opt(
        3, "The mean of the last so many iterations is compared with that of the first.", low=1, was="monitor_window"
    )
    length_drift: float = opt(2.0, "Answers this many times as long, or as short, as at first; 0 is off.")
    repetition_rise: float = opt(0.1, "Rise of the share of repeated 4-grams of tokens; 0 is off.", high=1)
    kl_warning: float = opt(10.0, "Nats per answer beyond which people like answers less (Stiennon); 0 off.")
    entropy_floor: float = opt(0.3, "Entropy below this share of that at first; 0 is off.", high=1)
    no_eos_limit: float = opt(0.5, "Share of answers that never end; 0 is off.", high=1)


@dataclass(frozen=True)
class SelectionConfig:
    """Held-out evaluations, by which the kept checkpoint is chosen."""

    eval_prompts: int = opt(64, "Held-out prompts for choosing the best checkpoint.", low=1)
    eval_answers: int = later(
        opt(1, "Answers to each of them; several share the reading of the prompt.", low=1), before=1
    )
    eval_every: int = opt(5, "Iterations between such evaluations.", low=1)
    judge: str = later(
        opt(
            "validator",
            "Whose scores choose: the validation reward model, which PPO never follows, or the reward PPO maximises.",
            ("validator", "reward"),
            was="selection_judge",
        ),
        before="reward",
    )
    confidence: float = later(
        opt(
            0.5,
            "How sure the gain over the SFT model must be (one-sided), else that is kept; 0.5: its mean is above 0; "
            "0: the best reward wins.",
            high=0.9999,
        ),
        before=0.0,
    )


@dataclass(frozen=True)
class PpoConfig:
    iterations: int = opt(100, "Times that prompts are answered and the policy updated from the answers.", low=1)
    epochs: int = opt(1, "Inner epochs over one iteration's answers (InstructGPT 1; Ziegler 4).", low=1)
    minibatches: int = opt(4, "Optimizer steps per inner epoch.", low=1)
    rollouts: RolloutsConfig = RolloutsConfig()
    score: ScoreConfig = ScoreConfig()
    kl: KlConfig = KlConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    critic: CriticConfig = CriticConfig()
    loss: PolicyLossConfig = PolicyLossConfig()
    optimizer: PolicyOptimizerConfig = PolicyOptimizerConfig()
    rows: AnswerRowsConfig = AnswerRowsConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    selection: SelectionConfig = SelectionConfig()
    monitors: MonitorsConfig = MonitorsConfig()
    resume: ResumeConfig = ResumeConfig()


@dataclass(frozen=True)
class GroupRolloutsConfig:
    """The prompts of an iteration; everything not named here is taken from [ppo]."""

    prompts_per_iteration: int = opt(16, "Prompts per iteration.", low=1)
    answers_per_prompt: int = opt(4, "Answers sampled per prompt, whose scores are compared with one another.", low=2)


@dataclass(frozen=True)
class GroupKlConfig:
    """The price of leaving the reference."""

    coef: float = opt(0.05, "Beta of the KL penalty (Shao et al. 0.04 for GRPO).", was="kl_coef")
    paid_in: str = opt("reward", "Where the KL is paid.", ("reward", "loss"), was="kl_in")


@dataclass(frozen=True)
class RlooConfig:
    """Settings of `steersman rloo` that differ from [ppo]; `of_stage` combines the two."""

    rollouts: GroupRolloutsConfig = GroupRolloutsConfig()
    kl: GroupKlConfig = GroupKlConfig()


@dataclass(frozen=True)
class GrpoConfig(RlooConfig):
    """Settings of `steersman grpo` that differ from [ppo]; `of_stage` combines the two."""

    kl: GroupKlConfig = GroupKlConfig(coef=0.04, paid_in="loss")
