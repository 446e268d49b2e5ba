"""Muon (Jordan et al. 2024): a step of a matrix is its momentum made orthogonal, all directions alike long.

As in "Muon is scalable for LLM training" (Liu et al. 2025) the step is scaled to the length that AdamW's usually have,
0.2 a number (root of the mean square), so that one learning rate and one weight decay serve both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a Newton-Schulz step x -> a x + b x^3 + c x^5 on singular values, which brings them near 1 fast, not onto it."""
STEPS = 5
MOMENTUM = 0.95
LENGTH = 0.2


def orthogonal(matrix: Tensor, dtype: torch.dtype, steps: int = STEPS) -> Tensor:
    """U V^T of the matrix's singular value decomposition, its singular values about 0.7 to 1.2; computed in `dtype`."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).contiguous()
    x = (x / (torch.linalg.vector_norm(x) + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


@torch.no_grad()
def step(
    master: Tensor, gradient: Tensor, momentum: Tensor, lr: float, weight_decay: float, dtype: torch.dtype
) -> None:
    """One step on a matrix, float32, in place; `momentum` is changed too (Nesterov's form)."""
    momentum.lerp_(gradient, 1 - MOMENTUM)
    update = orthogonal(gradient.lerp(momentum, MOMENTUM), dtype)
    master.mul_(1 - lr * weight_decay)
    master.add_(update.to(master.dtype), alpha=-lr * LENGTH * math.sqrt(max(master.shape)))
