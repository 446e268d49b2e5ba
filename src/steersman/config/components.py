"""Parts of the settings that several stages have: optimizer, rows, adapters, resume points."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.config.declared import LONG, LONG_DOC, later, opt

NO_MATTER = ("save_seconds", "keep_checkpoints", "checkpointing")
"""Settings of a stage, by flat names, that change nothing about its result."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, and how its learning rate goes over the run."""

    lr: float = opt(5e-5, "Peak learning rate of AdamW.")
    warmup_fraction: float = opt(0.05, "Share of the steps in which the rate climbs linearly.", high=1)
    final_lr_fraction: float = opt(0.1, "The cosine ends at this share of the peak.", high=1)
    weight_decay: float = opt(0.0, "Decoupled weight decay on matrices.")
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")


@dataclass(frozen=True)
class RowsConfig:
    """Rows of dialogues side by side, the unit of a forward and backward pass."""

    row_tokens: int = opt(1024, "Tokens per packed row.", low=1)
    checkpointing: bool = opt(False, "Keep less for the backward pass and compute it again: less memory, more time.")


@dataclass(frozen=True)
class DialogueRowsConfig(RowsConfig):
    """How dialogues are packed into rows, and rows into steps."""

    batch_tokens: int = opt(4096, "Tokens per optimizer step, prompts included.", low=1)
    row_tokens: int = opt(
        1024, "Tokens per packed row; a longer dialogue is an error unless long_dialogues says otherwise."
    )
    long_dialogues: str = opt(
        "error",
        "What to do with a dialogue longer than a row; keep_turns leaves out whole exchanges, but not the first.",
        ("error", "skip", "keep_end", "keep_turns"),
    )


@dataclass(frozen=True)
class RankingRowsConfig(RowsConfig):
    """How prompts with their ranked answers are packed into rows, and rows into steps."""

    batch_prompts: int = opt(8, "Prompts (each with all its ranked answers) per optimizer step.", low=1)
    row_tokens: int = opt(1024, "Tokens per packed row; a prompt and its K answers share one.", low=1)
    long: str = later(opt("skip", LONG_DOC.format("a ranking"), LONG), before="skip")


@dataclass(frozen=True)
class AnswerRowsConfig(RowsConfig):
    """How prompts with their sampled answers are packed into rows."""

    row_tokens: int = opt(1024, "Tokens per packed row in scoring and training.", low=1)
    long: str = later(opt("skip", LONG_DOC.format("a prompt"), LONG), before="skip")


@dataclass(frozen=True)
class ExampleRowsConfig(RowsConfig):
    """How labelled texts share passes, and passes steps."""

    batch_examples: int = opt(
        32, "Examples per optimizer step; with embeddings each is compared with all of them.", low=2
    )
    row_tokens: int = opt(4096, "Tokens of one pass, padding included; texts of similar length share one.", low=1)
    text_tokens: int = opt(
        256, "A longer text or pair is cut at its end (counted); a passage is read in windows of so many.", low=16
    )
    stride: int = opt(64, "Tokens by which windows of a passage overlap.")


@dataclass(frozen=True)
class AdaptersConfig:
    """Which of the model's weights are trained."""

    train_layers: int = opt(0, "Train only the last N decoder layers (and the heads); 0 trains the whole model.")
    lora_rank: int = opt(0, "Rank of LoRA adapters on those layers' matrices, which then stay frozen; 0 is off.")
    lora_alpha: float = opt(32.0, "LoRA: updates are scaled by lora_alpha / lora_rank.")


@dataclass(frozen=True)
class ResumeConfig:
    """Resume points: how often, and how many stay."""

    save_seconds: float = opt(
        90.0, "A resume point at least this often. Training goes on while a copy, held in memory, is written."
    )
    keep_checkpoints: int = opt(
        2, "Resume points on disk: the last n. Where the newest is damaged, the one before is gone on from.", low=1
    )
