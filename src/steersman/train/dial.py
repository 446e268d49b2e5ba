"""One dial, depth or size: a model's sizes and its training, from published laws; nothing here is measured.

- width = 64 * depth, heads of 64, an MLP of 8/3 width: the shape matters little (Kaplan et al. 2020), unless set
- tokens = 20 for each parameter of matrices and head (Hoffmann et al. 2022)
- batch = 0.2920 * C ** 0.3271 tokens and rate = 0.3118 * C ** -0.1250, C the operations of the run (DeepSeek LLM 2024)
- weight decay = 1 / (rate * steps * tau), tau = 1.084 * (tokens per parameter) ** -0.527 (Bergsma et al. 2025)
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from steersman.config import PretrainConfig, ShapeConfig
from steersman.config.pretraining import DECODERS, ENCODER_DECODERS

HEAD = 64
MULTIPLE = 64
LEAST_STEPS = 20
"""A batch is never so large that the tokens are read in fewer steps."""
DEEPEST = 64
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def number(text: str, name: str) -> int:
    """15M -> 15,000,000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMB]?)", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError(f"{name}: expected a number such as 15M, 500K or 1.5B, got {text!r}")
    return round(float(match[1]) * UNITS[match[2].upper()])


@dataclass(frozen=True)
class Sizes:
    """A decoder's sizes, as far as its parameters and operations go."""

    layers: int
    width: int
    intermediate: int
    vocabulary: int
    tied: bool
    kind: str = "qwen3"
    head_size: int = HEAD

    @property
    def heads(self) -> int:
        return self.width // self.head_size

    @property
    def matrices(self) -> int:
        """Parameters of the layers' matrices: encoder-decoders have so many layers on each side."""
        attentions, mlps = {"t5": (3, 6), "bart": (3, 4), "bert": (1, 2)}.get(self.kind, (1, 3))
        return self.layers * (attentions * 4 * self.width**2 + mlps * self.width * self.intermediate)

    @property
    def head(self) -> int:
        return self.width * self.vocabulary

    @property
    def parameters(self) -> int:
        """About: without biases, positions and the masked head's own layers."""
        norms = self.layers * ((4 if self.kind == "gemma3_text" else 2) * self.width + 2 * self.head_size) + self.width
        return self.matrices + self.head * (1 if self.tied else 2) + norms

    def operations(self, context: int) -> float:
        """Per token of training: 6 for each parameter that multiplies, and attention over half of the context."""
        sides = 2 if self.kind in ENCODER_DECODERS else 1  # a token goes through one of them
        return 6 * (self.matrices / sides + self.head) + 6 * self.layers * self.width * context


def of_depth(
    depth: int, vocabulary: int, tied: bool, kind: str = "qwen3", width: int = 0, head_size: int = HEAD
) -> Sizes:
    width = width or HEAD * depth
    inner = 4 * width if kind in ("bart", "bert") else -(-8 * width // 3 // MULTIPLE) * MULTIPLE
    return Sizes(depth, width, inner, vocabulary, tied or kind not in DECODERS, kind, head_size)


def sizes(config: PretrainConfig, vocabulary: int) -> Sizes:
    """The model that the dial means. ValueError where it is not set, or set twice."""
    shape = config.shape
    if bool(shape.depth) == bool(shape.params):
        raise ValueError("expected one of --depth N and --params SIZE, such as --depth 6 or --params 15M")
    vocabulary = -(-vocabulary // MULTIPLE) * MULTIPLE
    if shape.head_size % 2 or MULTIPLE % shape.head_size:
        raise ValueError(f"pretrain.shape.head_size: expected 8, 16, 32 or 64, got {shape.head_size}")
    if shape.window and shape.kind != "gemma3_text":
        raise ValueError(f"pretrain.shape.window: goes with kind gemma3_text, got '{shape.kind}'")
    if shape.rope_theta != ShapeConfig().rope_theta and shape.kind not in DECODERS:
        raise ValueError(f"pretrain.shape.rope_theta: goes with {', '.join(DECODERS)}, got kind '{shape.kind}'")
    if shape.depth:
        if shape.width % MULTIPLE:
            raise ValueError(f"pretrain.shape.width: expected a multiple of {MULTIPLE}, got {shape.width}")
        return of_depth(shape.depth, vocabulary, shape.tied, shape.kind, shape.width, shape.head_size)
    if shape.width:
        raise ValueError("pretrain.shape.width: goes with --depth; --params finds the width itself")
    wanted = number(shape.params, "params")
    every = [
        of_depth(depth, vocabulary, shape.tied, shape.kind, head_size=shape.head_size)
        for depth in range(1, DEEPEST + 1)
    ]
    if wanted < every[0].parameters / 2 or wanted > every[-1].parameters * 2:
        raise ValueError(
            f"params: expected {every[0].parameters} to {every[-1].parameters} with {vocabulary} entries, got {wanted}"
        )
    return min(every, key=lambda one: abs(math.log(one.parameters / wanted)))


@dataclass(frozen=True)
class Recipe:
    """How long, in what steps and at which rates a model is trained."""

    tokens: int
    batch_tokens: int
    steps: int
    lr: float
    weight_decay: float
    operations: float
    """Of the whole run."""

    def lines(self, sizes: Sizes, config: PretrainConfig, parameters: int) -> list[str]:
        """`parameters`: of the model as it is made."""
        u, per = config.updates, self.tokens / (sizes.matrices + sizes.head)
        own = {True: "as set", False: "by compute (DeepSeek LLM 2024)"}
        muon = ", Muon for matrices" if u.optimizer == "muon" else ""
        by_decay = "as set" if u.weight_decay >= 0 else "by tokens per parameter (Bergsma et al. 2025)"
        if config.rope and u.weight_decay < 0:
            by_decay = "none where a model is extended"
        tokens = "as set" if config.tokens else f"{config.tokens_per_parameter:g} wanted, Hoffmann et al. 2022"
        return [
            f"model: {parameters:,} parameters ({sizes.matrices:,} in matrices, {sizes.head:,} in the head"
            f"{', which is the embedding' if sizes.tied else ''}); {sizes.layers} layers, width {sizes.width}, "
            f"{sizes.heads} heads, MLP {sizes.intermediate}, {sizes.vocabulary:,} entries",
            f"tokens: {self.tokens:,}, {per:.3g} for each parameter of matrices and head ({tokens})",
            f"steps: {self.steps:,} of {self.batch_tokens:,} tokens ({own[bool(config.batch_tokens)]}), "
            f"rows of {config.context}",
            f"rate: {self.lr:.3g} ({own[bool(u.lr)]}){muon}; weight decay {self.weight_decay:.3g} ({by_decay})",
            f"operations: {self.operations:.3g}",
        ]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def recipe(config: PretrainConfig, sizes: Sizes) -> Recipe:
    """The training of a model of these sizes."""
    if config.context % MULTIPLE:
        raise ValueError(f"pretrain.context: expected a multiple of {MULTIPLE}, got {config.context}")
    learned = sizes.matrices + sizes.head
    tokens = number(config.tokens, "tokens") if config.tokens else round(config.tokens_per_parameter * learned)
    if tokens < config.context:
        raise ValueError(f"tokens: expected at least a row of {config.context}, got {tokens}")
    operations = tokens * sizes.operations(config.context)
    batch = config.batch_tokens or min(0.2920 * operations**0.3271, tokens / LEAST_STEPS)
    batch = max(1, round(batch / config.context)) * config.context
    steps = max(1, round(tokens / batch))
    lr = config.updates.lr or 0.3118 * operations**-0.1250
    decay = config.updates.weight_decay
    if decay < 0 and config.rope:
        decay = 0.0  # the law's, over so few tokens, would shrink what was learned
    elif decay < 0:
        decay = 1 / (lr * steps * 1.084 * (tokens / learned) ** -0.527)
    return Recipe(steps * batch, batch, steps, lr, decay, operations)
