"""Where gradients of weights are summed in float32, row after row, instead of in the weight's own type by autograd.

Whoever steps a weight by kernels (`steersman.train.update.Updater`) asks for its sum once; backward passes through
kernels add to it and hand autograd none. A weight that nobody asked for has its gradient from autograd, as usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_sums = WeakTensorKeyDictionary()
"""Weight -> its sum; an entry ends with its weight."""


def sum_in_float32(weight: Tensor) -> Tensor:
    """From now on backward passes by kernels add the weight's gradient to the tensor returned, zero now."""
    total = torch.zeros(weight.shape)
    _sums[weight] = total
    return total


def sum_of(weight: Tensor) -> Tensor | None:
    """What `sum_in_float32` returned for the weight; None where nobody asked."""
    found: Tensor | None = _sums.get(weight)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class WeightGradient:
    """Where one backward pass adds a weight's gradient."""

    weight: Tensor
    total: Tensor
    own: bool
    """Whether it is for this pass alone, to be handed to autograd."""

    def rest(self) -> Tensor | None:
        """What autograd is to add to the weight's own gradient."""
        return self.total.to(self.weight.dtype) if self.own else None


def weight_gradient(weight: Tensor) -> WeightGradient:
    total = sum_of(weight)
    return WeightGradient(weight, torch.zeros(weight.shape) if total is None else total, total is None)
