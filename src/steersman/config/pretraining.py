"""Settings of pretraining. `steersman.train.dial` computes those that are 0 or empty from the model's depth or size."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.config.components import ResumeConfig
from steersman.config.declared import opt

DECODERS, ENCODER_DECODERS, ENCODERS = ("qwen3", "llama", "gemma3_text"), ("t5", "bart"), ("bert", "modernbert")
"""Kinds of models that can be trained from nothing."""


@dataclass(frozen=True)
class ShapeConfig:
    """The shape of a new model. Set depth or params; the rest follows from it."""

    depth: int = opt(0, "Layers: the dial from which width, heads, batch, rates and tokens follow.")
    params: str = opt("", "Or the size instead of the depth, such as 15M: the depth whose model comes nearest to it.")
    kind: str = opt(
        "qwen3",
        "Architecture, of transformers: decoders (qwen3 and gemma3_text normalise queries and keys), encoder-decoders "
        "(t5, bart; so many layers on each side) and encoders (bert, modernbert).",
        (*DECODERS, *ENCODER_DECODERS, *ENCODERS),
    )
    tied: bool = opt(False, "One matrix serves as embedding and as head: fewer parameters, the same work.")
    width: int = opt(0, "Numbers of a state, a multiple of 64, instead of depth's 64 a layer; 0: by depth.", late=True)
    head_size: int = opt(
        64, "Numbers of an attention head; smaller ones make more heads of the same width.", low=8, late=True
    )
    window: int = opt(
        0,
        "gemma3_text: tokens that the first layer sees, itself among them. A few (8) let a small model learn to "
        "look things up in a text many times sooner; 0: as all layers, all.",
        late=True,
    )
    rope_theta: float = opt(
        10_000.0,
        "Base of a decoder's rotary positions; larger ones turn more slowly, for long contexts.",
        low=1,
        late=True,
    )


@dataclass(frozen=True)
class UpdatesConfig:
    """The optimizer, and how its rate goes: a line up, a plateau, a line down (warm-up-stable-decay)."""

    optimizer: str = opt(
        "muon", "muon: Muon for matrices, AdamW for the rest; adamw: AdamW for all.", ("muon", "adamw")
    )
    lr: float = opt(0.0, "Peak learning rate; 0: by compute (DeepSeek LLM 2024).")
    embedding_lr: float = opt(1.0, "Rate of the embedding as a multiple of lr.")
    weight_decay: float = opt(
        -1.0,
        "Decoupled weight decay on matrices; -1: by tokens per parameter, a tenth for a model that goes on.",
        low=-1,
    )
    warmup_fraction: float = opt(0.02, "Share of the steps in which the rate climbs.", high=1)
    decay_fraction: float = opt(0.4, "Share of the steps in which the rate falls.", high=1)
    final_lr_fraction: float = opt(0.05, "Share of the peak at the end.", high=1)
    grad_clip: float = opt(1.0, "Largest norm of the whole gradient.")
    z_loss: float = opt(0.0, "Price of the square of the logits' log-sum (PaLM: 1e-4); 0: none.")


@dataclass(frozen=True)
class KeptConfig:
    """Which weights are saved at the end, and what happens at a spike of the loss."""

    average: str = opt(
        "none", "Mean of the weights: moving (ema), or of the last points (last).", ("none", "ema", "last")
    )
    ema_decay: float = opt(0.99, "ema: weight of the mean so far at each step.", high=1)
    last_points: int = opt(8, "last: how many weights are averaged.", low=1)
    last_fraction: float = opt(0.2, "last: share of the run, its end, from which they come.", high=1)
    spike_deviations: float = opt(
        6.0, "A loss so many deviations above the last ones is a spike: back to the last point, rows skipped; 0: never."
    )
    spike_every: int = opt(50, "Steps between the points that a spike goes back to, held in memory.", low=1)


@dataclass(frozen=True)
class PretrainConfig:
    """How a base model is made from a corpus: tokens, rows, objectives, and the parts below."""

    tokens: str = opt("", "Tokens to train on, such as 20M; empty: tokens_per_parameter of the model's matrices.")
    tokens_per_parameter: float = opt(20.0, "Tokens for each parameter of matrices and head (Hoffmann et al. 2022).")
    context: int = opt(512, "Tokens of a row, a multiple of 64: the model's context.", low=64)
    rope: str = opt(
        "",
        "How a model that is gone on with is extended to a longer context: its rotary positions divided (linear), "
        "their base raised (ntk), or yarn; empty: it is not.",
        ("", "linear", "ntk", "yarn"),
        late=True,
    )
    documents: str = opt(
        "",
        "How documents lie in rows: end to end, cut where a row ends (line), or long ones first and uncut, then "
        "short ones (whole); empty: whole where a model is extended.",
        ("", "line", "whole"),
        late=True,
    )
    checkpointing: bool = opt(
        False, "Keep less for the backward pass and compute it again: less memory, more time.", late=True
    )
    batch_tokens: int = opt(0, "Tokens of an optimizer step; 0: by compute (DeepSeek LLM 2024).")
    pass_tokens: int = opt(4096, "Tokens of a forward and backward pass, whole rows: a matter of memory.", low=64)
    attention: str = opt("document", "What a token sees: its document in the row, or the row.", ("document", "row"))
    objectives: str = opt(
        "",
        "What is asked, with shares: causal of decoders, mask of encoders (whole words), of encoder-decoders span=0.7,"
        "prefix=0.3 or denoise; empty: causal, mask or span.",
    )
    last_objectives: str = opt("", "The shares at the end, where they move over the run; empty: they stay.")
    evals: int = opt(8, "Bits per byte on the way, evenly spaced; before and after always.")
    eval_tokens: int = opt(32768, "Held-out tokens that an evaluation reads, over all sources.", low=64)
    samples: int = opt(4, "Held-out beginnings that the model goes on with at each evaluation.")
    shape: ShapeConfig = ShapeConfig()
    updates: UpdatesConfig = UpdatesConfig()
    kept: KeptConfig = KeptConfig()
    resume: ResumeConfig = ResumeConfig()

    @property
    def lays_whole(self) -> bool:
        """Whether long documents lie uncut in rows."""
        return self.documents == "whole" or (not self.documents and bool(self.rope))
