"""Linear layers in bfloat16 on a CPU: several matrices over one input, their gradients summed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steersman.compute.gradients import add_gradient, add_product, is_summed, weight_gradient
from steersman.kernels import ops


class _Project(torch.autograd.Function):
    """x [T, in] times each of `count` weights [out, in]; biases and one residual [T, out] are added in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, count: int, *parameters: Tensor | None) -> Any:
        weights, biases = parameters[:count], parameters[count:]
        ctx.save_for_backward(x)
        ctx.weights, ctx.biases = (
            weights,
            biases,
        )  # themselves: checkpointing hands back copies, which no sum is known of
        return tuple(_product(x, w, b, residual) for w, b in zip(weights, biases, strict=True) if w is not None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,), weights = ctx.saved_tensors, ctx.weights
        grads = tuple(grad.contiguous() for grad in grads)
        needs = ctx.needs_input_grad
        grad_x = _sum_of_products(list(zip(grads, weights, strict=True)), torch.empty_like(x)) if needs[0] else None
        out: list[Tensor | None] = []
        for weight, grad, needed in zip(weights, grads, needs[3:], strict=False):
            if not needed:
                out.append(None)
                continue
            total = weight_gradient(weight)
            add_product(total.total, grad, x)
            out.append(total.rest())
        for bias, grad, needed in zip(ctx.biases, grads, needs[3 + len(weights) :], strict=True):
            out.append(add_gradient(bias, grad.sum(0, dtype=torch.float32)) if needed else None)
        return grad_x, grads[0] if needs[1] else None, None, *out


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    if ops.multiplies(x):
        return ops.multiply([(x, weight.T)], x.new_empty(len(x), len(weight)), residual, bias)
    out = F.linear(x, weight, bias)
    return out if residual is None else residual + out


def _sum_of_products(terms: list[tuple[Tensor, Tensor]], out: Tensor) -> Tensor:
    if ops.multiplies(out):
        return ops.multiply(terms, out)
    products = [a @ b for a, b in terms]
    return products[0] if len(products) == 1 else torch.stack(products).sum(0)


def project(modules: Sequence[Any], x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, ...]:
    """module(x) of each linear layer, x [T, in]; `residual` [T, out], for a single module only, is added to it."""
    assert residual is None or len(modules) == 1
    if is_summed(x) and all(type(m) is nn.Linear for m in modules):
        parameters = [m.weight for m in modules] + [m.bias for m in modules]
        out: tuple[Tensor, ...] = _Project.apply(x, residual, len(modules), *parameters)  # type: ignore[no-untyped-call]
        return out
    results = tuple(m(x) for m in modules)
    return results if residual is None else (residual + results[0],)


def linear(x: Tensor, module: nn.Linear) -> Tensor:
    """module(x), x [..., in]."""
    if is_summed(x):
        (out,) = project([module], x.reshape(-1, x.shape[-1]))
        return out.view(*x.shape[:-1], -1)
    return F.linear(x, module.weight, module.bias)
