"""One optimizer step: float32 master weights under bfloat16 compute, accumulation, clipping, AdamW, Muon on request."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steersman import chosen
from steersman.compute.gradients import is_summed, sum_in_float32, sum_of
from steersman.distributed import parallel
from steersman.kernels import ops
from steersman.train import muon


def _norm(tensors: Sequence[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in tensors])))


KEPT = ("step", "exp_avg", "exp_avg_sq", "momentum")
"""Names of what an optimizer keeps of a weight."""


class Rule(NamedTuple):
    """How a weight is updated, where not all are alike."""

    lr: float
    """Multiple of the peak learning rate."""
    weight_decay: float
    muon: bool = False


class Wide(NamedTuple):
    """A weight that kernels update."""

    parameter: Tensor
    master: Tensor
    gradient: Tensor
    """Its gradient summed over the rows of a step, float32."""


class Updater:
    """Gathers gradients of a model's trainable parameters in float32 and applies AdamW to float32 masters.

    With a sharded model each process keeps masters and optimizer states of its own shard.
    """

    def __init__(
        self,
        model: Any,
        *,
        lr: float,
        weight_decay: float,
        grad_clip: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        rules: Callable[[str, Tensor], Rule] | None = None,
    ) -> None:
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        assert named, "nothing to train"
        self.names = [n for n, _ in named]
        self.parameters: list[Tensor] = [p for _, p in named]
        self.masters: list[Tensor] = [parallel.local(p.detach()).float().clone() for p in self.parameters]
        self.peak_lr, self.grad_clip = lr, grad_clip
        self.weight_decay, self.betas, self.eps = weight_decay, betas, eps
        # usually all matrices decay, and nothing else does
        rules = rules or (lambda _, weight: Rule(1.0, weight_decay if weight.dim() >= 2 else 0.0))
        self.rules = [rules(name, master) for name, master in zip(self.names, self.masters, strict=True)]
        # PyTorch emulates products of bfloat16 where the processor has none: a step of Muon took 20 to 36 times as long
        self._emulated = any(rule.muon for rule in self.rules) and chosen.emulated()
        self.wide: list[tuple[Wide, Rule]] = []
        """Weights with gradients summed, and masters updated, by kernels."""
        groups: dict[Rule, list[Tensor]] = {}
        for parameter, master, rule in zip(self.parameters, self.masters, self.rules, strict=True):
            total = None
            if not parallel.is_split(parameter) and is_summed(parameter):
                total = sum_in_float32(parameter)
            if total is not None and parameter.dim() == 2 and ops.multiplies(parameter) and not rule.muon:
                self.wide.append((Wide(parameter, master, total), rule))
                continue
            master.grad = total
            if not rule.muon:
                groups.setdefault(rule, []).append(master)
        alike = sorted(groups.items(), key=lambda group: -group[0].weight_decay)
        made = [{"params": masters, "weight_decay": r.weight_decay, "share": r.lr} for r, masters in alike]
        self.optimizer = torch.optim.AdamW(made or [torch.zeros(0)], lr=lr, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def gather(self) -> None:
        """Add the parameters' gradients to the masters' gradients, then clear them; call after each backward pass."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter.grad is None:
                continue
            grad = parallel.local(parameter.grad)
            if (wide := sum_of(parameter)) is not None:
                wide += grad
            elif master.grad is None:
                master.grad = grad.float()
            else:
                master.grad += grad
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr_share: float) -> float:
        """Clip, apply, copy back to the model. Returns the gradient's norm before clipping."""
        wide = [weight.gradient for weight, _ in self.wide]
        named = zip(self.parameters, self.masters, strict=True)
        halves = [(parallel.is_split(p), m.grad) for p, m in named if m.grad is not None]
        split, whole = ([g for is_split, g in halves if is_split is wanted] for wanted in (True, False))
        parallel.add_up([*whole, *wide])
        (square,) = parallel.add(_norm(split) ** 2)
        norm = math.hypot(math.sqrt(square), _norm([*whole, *wide]))
        if not math.isfinite(norm):
            raise FloatingPointError("the gradient is not finite; lower the learning rate")
        scale = self.grad_clip / (norm + 1e-6) if self.grad_clip and norm > self.grad_clip else 1.0
        if scale != 1.0 and halves:
            torch._foreach_mul_([*split, *whole], scale)
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak_lr * lr_share * group.get("share", 1.0)
        self.optimizer.step()
        for weight, rule in self.wide:
            self._step_wide(weight, rule, self.peak_lr * lr_share * rule.lr, scale)
        self._step_muon(self.peak_lr * lr_share)
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master.grad is not None:
                parallel.local(parameter).copy_(master)
                if master.grad is sum_of(parameter):
                    master.grad.zero_()
                else:
                    master.grad = None
        return norm

    def _step_muon(self, lr: float) -> None:
        for parameter, master, rule in zip(self.parameters, self.masters, self.rules, strict=True):
            if rule.muon and master.grad is not None:
                state = self.optimizer.state[master]
                momentum = state.setdefault("momentum", torch.zeros_like(master))
                dtype = torch.float32 if self._emulated and master.is_cpu else parameter.dtype
                muon.step(master, master.grad, momentum, lr * rule.lr, rule.weight_decay, dtype)

    def _step_wide(self, weight: Wide, rule: Rule, lr: float, scale: float) -> None:
        state = self.optimizer.state[weight.master]
        if not state:
            zeros = torch.zeros_like(weight.master), torch.zeros_like(weight.master)
            state.update(zip(("step", "exp_avg", "exp_avg_sq"), (torch.tensor(0.0), *zeros), strict=True))
        state["step"] += 1
        done, (beta1, beta2) = float(state["step"]), self.betas
        how = lr, rule.weight_decay, beta1, beta2, self.eps, scale, 1 - beta1**done, 1 - beta2**done
        tensors = weight.master, weight.parameter.data, weight.gradient, state["exp_avg"], state["exp_avg_sq"]
        ops.adamw(tensors, how)

    @torch.no_grad()
    def forget(self) -> None:
        """Throw away the gradients gathered so far."""
        for master in self.masters:
            if master.grad is not None:
                master.grad.zero_()
        for weight, _ in self.wide:
            weight.gradient.zero_()

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """Everything a resumed run needs, as named tensors."""
        out: dict[str, Tensor] = {}
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            for key, value in {"master": master, **self.optimizer.state.get(master, {})}.items():
                out[f"{prefix}{key}.{name}"] = parallel.like(value, parameter)
        return out

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], prefix: str = "") -> None:
        """Undo `state`. Raises ValueError where a tensor is missing or of another shape."""
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            saved = tensors.get(f"{prefix}master.{name}")
            if saved is None or saved.shape != parameter.shape:
                raise ValueError(f"resume point: no tensor of shape {tuple(parameter.shape)} for {name}")
            master.copy_(parallel.part(saved, parameter))
            parallel.local(parameter).copy_(master)
            keys = [k for k in KEPT if f"{prefix}{k}.{name}" in tensors]
            self.optimizer.state.pop(master, None)
            if keys:
                self.optimizer.state[master] = {
                    k: parallel.part(tensors[f"{prefix}{k}.{name}"], parameter).clone() for k in keys
                }
