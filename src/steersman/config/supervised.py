"""Settings of the stages that learn from files: SFT, the reward model, DPO and KTO."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.config.components import (
    AdaptersConfig,
    DialogueRowsConfig,
    ExampleRowsConfig,
    OptimizerConfig,
    RankingRowsConfig,
    ResumeConfig,
)
from steersman.config.declared import later, names, opt, weights


@dataclass(frozen=True)
class SftConfig:
    epochs: int = opt(2, "Passes over the demonstrations.", low=1)
    eval_fraction: float = opt(
        0.05, "Share of the demonstrations held out where the data has no validation split.", high=1
    )
    evals: int = opt(0, "Held-out evaluations on the way, evenly spaced; 0 evaluates before and after only.")
    eval_dialogues: int = later(
        opt(1000, "Held-out dialogues that an evaluation looks at, drawn by the seed.", low=1), before=1000
    )
    stop_after: int = opt(
        0,
        "End after so many of the planned steps, at rates as planned; an unfinished run that has done them ends where "
        "it is. 0: all.",
        late=True,
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-5)
    rows: DialogueRowsConfig = DialogueRowsConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    resume: ResumeConfig = ResumeConfig()


@dataclass(frozen=True)
class RewardConfig:
    epochs: int = opt(
        1, "Passes over the rankings; more overfits (published: 1). 0: the layers stay; needs head_init = 'solved'."
    )
    head_init: str = opt(
        "random",
        "How the head begins: at random (Ziegler 2019), or as the best linear one for the rankings over the SFT "
        "model's states (ridge; price by cross-validation).",
        ("random", "solved"),
        late=True,
    )
    holdout_fraction: float = opt(0.15, "Share of the prompts held out for accuracy.", high=1)
    members: int = opt(1, "Reward models that differ in head and data order (Coste et al. 2023: 5).", low=1)
    validator: bool = later(
        opt(True, "Learn a second model from the held-out rankings alone, by which PPO chooses its checkpoint."),
        before=False,
    )
    validator_epochs: int = later(
        opt(2, "Passes of that second model over its rankings, which are fewer; 0 as in epochs."), before=2
    )
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


@dataclass(frozen=True)
class HeadConfig:
    """What is learned from labelled examples, and how it is counted."""

    class_weights: str = opt(
        "none", "Weights of classes by how rare they are: 1 / n, or its root; all alike.", ("none", "sqrt", "balanced")
    )
    fit: bool = opt(True, "Labels: fit the head to the frozen states before all is learned; false: it begins as noise.")
    lr_factor: float = opt(10.0, "By how much the head's learning rate is higher than that of the layers.", low=0.01)
    label_smoothing: float = opt(0.0, "Share of a single label's probability that is spread over the others.", high=0.9)
    temperature: float = opt(0.05, "Embeddings: likeness is divided by it before the softmax (InfoNCE).", low=1e-3)
    negatives: int = opt(1, "Embeddings: hard negatives of an example that are used, where it has some.")
    pooling: str = opt(
        "auto",
        "How states become one vector; auto: as the model's files say, else the mean (embeddings), the first (labels).",
        ("auto", "mean", "cls", "last"),
    )
    answer_tokens: int = opt(40, "Spans: most tokens of an answer.", low=1)


@dataclass(frozen=True)
class EncoderConfig:
    model: str = opt("", "In a workspace: the model to start from, as model.base takes it; empty: that one.")
    task: str = opt(
        "auto",
        "What the examples teach; auto: by their fields.",
        ("auto", "single_label", "multi_label", "regression", "span", "embedding"),
    )
    data: list[str] = names("In a workspace: files of labelled examples, relative to it.")
    columns: list[str] = names(
        'What columns mean where their names do not say, such as ["text=utterance", "label=kind"].'
    )
    epochs: int = opt(6, "Passes over the examples; 0: of labels the head alone is fitted (a linear probe).")
    eval_fraction: float = opt(0.1, "Share of the examples held out where they name no validation split.", high=0.9)
    evals: int = opt(6, "Held-out evaluations on the way, evenly spaced; the best weights are kept.")
    eval_examples: int = opt(2000, "Held-out examples that an evaluation looks at, drawn by the seed.", low=1)
    patience: int = opt(3, "Evaluations without a better one after which learning stops; 0: never.")
    dropout: bool = opt(True, "Dropout while learning, as config.json says; drawn by seed and step.")
    train_layers: int = opt(0, "Train only the last N layers and the head; 0 trains the whole model.")
    baseline: bool = opt(
        True, "Measure the test also with the commonest answer and with n-grams (logistic regression)."
    )
    head: HeadConfig = HeadConfig()
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-5, warmup_fraction=0.1, final_lr_fraction=0.0, weight_decay=0.01)
    rows: ExampleRowsConfig = ExampleRowsConfig()
    resume: ResumeConfig = ResumeConfig()
