"""A weight matrix of the engine: in its own dtype, or as int8 with a scale per row.

Parts of a merged matrix (q, k and v; gate and up) are assigned row range by row range, so that a trainer can push
updates by transformers' names.

Why so: decision 37 in docs/LOG.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.kernels import ops

MANY = 32
"""Rows from which on kernels multiply faster than PyTorch."""


class Dense:
    """[rows, columns] in the model's dtype."""

    def __init__(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> None:
        self.weight = torch.zeros(rows, columns, dtype=dtype, device=device)

    @classmethod
    def of(cls, weight: Tensor) -> Dense:
        """A matrix that shares the memory of an existing tensor."""
        matrix = cls.__new__(cls)
        matrix.weight = weight
        return matrix

    @property
    def shape(self) -> torch.Size:
        return self.weight.shape

    @property
    def nbytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()

    def assign(self, low: int, tensor: Tensor) -> None:
        self.weight[low : low + len(tensor)].copy_(tensor)

    def linear(self, x: Tensor, bias: Tensor | None = None, least: int = MANY) -> Tensor:
        """x [..., columns] -> [..., rows]; from `least` rows of x on by kernels, where they are."""
        return _linear(x, self.weight, bias, least)


class Int8:
    """Symmetric int8 with one float32 scale per row (absolute maximum / 127); activations are not quantised."""

    def __init__(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.values = torch.zeros(rows, columns, dtype=torch.int8, device=device)
        self.scales = torch.zeros(rows, dtype=torch.float32, device=device)

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.numel() + 4 * self.scales.numel()

    def assign(self, low: int, tensor: Tensor) -> None:
        rows = slice(low, low + len(tensor))
        exact = tensor.to(self.values.device, torch.float32)
        scales = exact.abs().amax(dim=1).clamp_(min=1e-12) / 127
        self.scales[rows] = scales
        self.values[rows] = (exact / scales[:, None]).round_().to(torch.int8)

    def linear(self, x: Tensor, bias: Tensor | None = None, least: int = MANY) -> Tensor:
        """As `Dense.linear`; scales are applied to the product, which keeps the integers exact."""
        y = _linear(x, self.values.to(self.dtype), None, least) * self.scales.to(self.dtype)
        return y if bias is None else y + bias


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, least: int) -> Tensor:
    if x.dim() == 2 and len(x) >= least and ops.multiplies(x):
        return ops.multiply([(x, weight.T)], x.new_empty(len(x), len(weight)), bias=bias)
    return F.linear(x, weight, bias)


Matrix = Dense | Int8
