"""Float32 sums of weights' gradients over rows, instead of autograd's sums in the weight's own dtype.

The code that updates a weight (`steersman.train.update.Updater`) asks for its sum once; our backward passes then add to
the sum and return no gradient to autograd, whether kernels or PyTorch compute, so that no gradient in bfloat16 is
rounded on the way. Other weights get autograd's gradient as usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from steersman.kernels import ops

_sums = WeakTensorKeyDictionary()
"""Weight -> sum of its gradients; an entry is removed when its weight is freed."""


def is_summed(x: Tensor) -> bool:
    """Whether gradients of a weight like x, or computed from states like x, are summed in float32 here."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def sum_in_float32(weight: Tensor) -> Tensor:
    """Returns a zero tensor to which our backward passes add the weight's gradient from now on."""
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
    own = total is None
    return WeightGradient(weight, torch.zeros(weight.shape, device=weight.device) if total is None else total, own)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total [m, n] += a.T @ b in float32, for a [k, m] and b [k, n] in bfloat16."""
    if ops.multiplies(a):
        ops.multiply([(a.T, b)], total)
    else:
        total.addmm_(a.T.float(), b.float())


def add_gradient(weight: Tensor, grad: Tensor) -> Tensor | None:
    """Add a gradient in float32 to the weight's sum. Returns what autograd is to be given, where there is no sum."""
    total = sum_of(weight)
    if total is None:
        return grad.to(weight.dtype)
    total += grad
    return None
