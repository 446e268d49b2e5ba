"""Float32 sums of weights' gradients over rows, instead of autograd's sums in the weight's own dtype.

The code that updates a weight by kernels (`steersman.train.update.Updater`) asks for its sum once; backward passes
through kernels then add to the sum and return no gradient to autograd. Other weights get autograd's gradient as usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_sums = WeakTensorKeyDictionary()
"""Weight -> sum of its gradients; an entry is removed when its weight is freed."""


def sum_in_float32(weight: Tensor) -> Tensor:
    """Returns a zero tensor to which backward passes by kernels add the weight's gradient from now on."""
    total = torch.zeros(weight.shape)
    _sums[weight] = total
    return total


def sum_of(weight: Tensor) -> Tensor | None:
    """The tensor that `sum_in_float32` returned for the weight; None where it was not called."""
    found: Tensor | None = _sums.get(weight)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class WeightGradient:
    """The tensor to which one backward pass adds a weight's gradient."""

    weight: Tensor
    total: Tensor
    own: bool
    """Whether the tensor serves this pass only and is returned to autograd."""

    def rest(self) -> Tensor | None:
        """The gradient to return to autograd; None where the sum has it already."""
        return self.total.to(self.weight.dtype) if self.own else None


def weight_gradient(weight: Tensor) -> WeightGradient:
    total = sum_of(weight)
    return WeightGradient(weight, torch.zeros(weight.shape) if total is None else total, total is None)
