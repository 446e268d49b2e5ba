"""Linear layers by kernels: several matrices over one input, their gradients summed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steersman.compute.gradients import weight_gradient
from steersman.kernels import ops


class _Project(torch.autograd.Function):
    """x [T, in] times each of `count` weights [out, in]; biases and one residual [T, out] are added in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, count: int, *parameters: Tensor | None) -> Any:
        weights, biases = parameters[:count], parameters[count:]
        ctx.save_for_backward(x)
        ctx.weights = weights  # themselves: checkpointing hands back copies, which no sum is known of
        return tuple(
            ops.multiply([(x, w.T)], x.new_empty(len(x), len(w)), residual, b)
            for w, b in zip(weights, biases, strict=True)
            if w is not None
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,), weights = ctx.saved_tensors, ctx.weights
        grads = tuple(grad.contiguous() for grad in grads)
        needs = ctx.needs_input_grad
        grad_x = ops.multiply(list(zip(grads, weights, strict=True)), torch.empty_like(x)) if needs[0] else None
        out: list[Tensor | None] = []
        for weight, grad, needed in zip(weights, grads, needs[3:], strict=False):
            if not needed:
                out.append(None)
                continue
            total = weight_gradient(weight)
            ops.multiply([(grad.T, x)], total.total)
            out.append(total.rest())
        biases = [
            grad.sum(0) if needed else None for grad, needed in zip(grads, needs[3 + len(weights) :], strict=True)
        ]
        return grad_x, grads[0] if needs[1] else None, None, *out, *biases


def project(modules: Sequence[Any], x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, ...]:
    """module(x) of each linear layer, x [T, in]; `residual` [T, out], for a single module only, is added to it."""
    assert residual is None or len(modules) == 1
    if ops.multiplies(x) and all(type(m) is nn.Linear for m in modules):
        parameters = [m.weight for m in modules] + [m.bias for m in modules]
        out: tuple[Tensor, ...] = _Project.apply(x, residual, len(modules), *parameters)  # type: ignore[no-untyped-call]
        return out
    results = tuple(m(x) for m in modules)
    return results if residual is None else (residual + results[0],)


def linear(x: Tensor, module: nn.Linear) -> Tensor:
    """module(x), x [..., in]."""
    if ops.multiplies(x):
        (out,) = project([module], x.reshape(-1, x.shape[-1]))
        return out.view(*x.shape[:-1], -1)
    return F.linear(x, module.weight, module.bias)
