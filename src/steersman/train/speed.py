"""How long a training stage takes: its floating-point operations over the speed of this machine's matrix products.

Why emulated products are not measured: decision 116 in docs/LOG.md.
"""

from __future__ import annotations

import math
import time

import torch

from steersman import chosen
from steersman.config import KtoConfig, PpoConfig, PreferenceConfig, RewardConfig, SftConfig
from steersman.families.shape import Shape
from steersman.kernels import ops
from steersman.train.memory import Setting, embedding_parameters, layer_matrices

EFFICIENCY = 0.4
"""Share of the speed of PyTorch's large matrix products that a stage reaches, its other work included: SFT of the last
10 of SmolLM2-135M's 30 layers at 1,100 tokens per second (docs/LOG.md) was 0.49 TFLOP/s, where products reach 1.2."""
EFFICIENCY_KERNELS = 0.75
"""The same where `steersman.kernels.ops` computes: 2,000 tokens per second."""
TARGETS = 0.5
"""Share of tokens whose logits are computed: answers only, taken to be as long as prompts."""
UNCERTAINTY = 2.0
"""The time is right within this factor, where nothing else runs on the machine."""


Stage = SftConfig | RewardConfig | PreferenceConfig | PpoConfig


def operations(shape: Shape, s: Setting, config: Stage, length: int) -> float:
    """Floating-point operations per token and epoch; for PPO per iteration and token of prompts and answers.

    A product of [n, k] and [k, m] counts 2 n k m; a document has `length` tokens on average.
    """
    matrices = sum(rows * columns for rows, columns in layer_matrices(shape))
    attention = 2 * shape.heads * shape.head_dim * length  # two products over half of the past on average
    vocabulary = 2 * embedding_parameters(shape) * TARGETS
    forward = 2 * matrices + attention
    trained = s.train_layers or shape.layers
    backward = trained * ((2 if s.lora_rank else 4) * matrices + 2.5 * attention)
    if s.checkpointing:
        backward += trained * forward
    # the logits are made again; then the gradient of the states, and of the head where it is trained
    head_backward = vocabulary * (2 if s.train_layers or s.lora_rank else 3)
    if not isinstance(config, PpoConfig):
        heads = 0.0 if s.stage == "reward" else vocabulary + head_backward
        once = shape.layers * forward + backward + heads
        if not isinstance(config, PreferenceConfig):
            return once
        # the SFT model's pass; KTO passes over mismatched answers, at most as many tokens, with both models
        more = 1 / config.epochs + (isinstance(config, KtoConfig) * (1 + 1 / config.epochs))
        return once + more * (shape.layers * forward + vocabulary)
    below = (shape.layers - trained) * forward  # once for all models
    learning = 2 if s.critic else 1
    scoring = (2 + learning) * trained * forward + 2 * vocabulary
    training = config.epochs * (learning * (trained * forward + backward) + vocabulary + head_backward)
    sampling = shape.layers * forward + vocabulary
    return below + scoring + training + sampling


def tokens(config: Stage, total: int, length: int) -> int:
    """Tokens that a whole run computes: the number to multiply `operations`, those of one token, with.

    `total`: tokens of the data; `length`: mean tokens of a document.
    """
    if not isinstance(config, PpoConfig):
        return total * config.epochs
    answers = config.rollouts.answers_per_prompt * config.rollouts.max_tokens  # at most: most answers end earlier
    return config.iterations * config.rollouts.prompts_per_iteration * (length + answers)


def operations_per_second(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second that a training stage reaches on this machine."""
    kernels = ops.multiplies(torch.empty(0, dtype=dtype, device=device))
    return (EFFICIENCY_KERNELS if kernels else EFFICIENCY) * products_per_second(dtype, device)


def products_per_second(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product: the fastest ever seen on this machine.

    Measured at every call and kept in the cache, since what else runs can only make it slower.
    """
    name = f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'} {dtype} {torch.get_num_threads()}"
    return chosen.best_pace(name, {"products": fastest_product(dtype, device)})["products"]


def fastest_product(dtype: torch.dtype, device: torch.device, seconds: float = 0.5) -> float:
    """Operations per second of the fastest of as many products as fit into `seconds`.

    Where the processor has no instruction for bfloat16, kernels compute its products in float32, and PyTorch emulates
    them: a large one takes ten seconds there.
    """
    rows, inner, columns = 1024, 1024, 2048
    if dtype == torch.bfloat16 and device.type == "cpu" and chosen.emulated():
        kernels = ops.multiplies(torch.empty(0, dtype=dtype))
        dtype, rows = (torch.float32, rows) if kernels else (dtype, 32)
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((rows, inner), (inner, columns)))
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * rows * inner * columns / best
