"""The layers of a decoder over one packed row, with backward passes written out where autograd's are slow.

On a CPU the backward pass of a normalisation costs as much as that of a matrix product when autograd makes it out
of a dozen small steps; here each such part is one function. The modules and weights are transformers' own
(projections are called as modules, so adapters work); only the path between them is ours. Covers the Llama shape
and its relatives; any other model takes transformers' own forward pass (`steersman.families.decoder`).

Why so: decision 10 in docs/LOG.md.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from steersman.compute.attention import attend
from steersman.compute.gradients import add_gradient
from steersman.compute.packing import Row
from steersman.compute.products import project
from steersman.distributed import parallel
from steersman.kernels import ops

FAMILIES = {"llama", "mistral", "qwen2", "qwen3", "gemma3_text"}
GELU = {"SiLUActivation": False, "GELUTanh": True}
"""Activations that the kernels compute, by transformers' names -> whether it is GELU (else SiLU)."""


def is_known(config: Any) -> bool:
    """Whether these layers compute this model exactly, over packed rows."""
    return has_known_layers(config) and not turns_by_length(config)


def has_known_layers(config: Any) -> bool:
    """Whether these layers and the local engine compute this model, but for how positions turn."""
    unusual = getattr(config, "attn_logit_softcapping", None) or getattr(config, "use_bidirectional_attention", False)
    return config.model_type in FAMILIES and not unusual


def turns_by_length(config: Any) -> bool:
    """Whether rotary angles depend on the longest dialogue of a row, and so would change for all others in it."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return any(part.get("rope_type") in ("dynamic", "longrope") for part in kinds)


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) * (weight + offset) (Zhang and Sennrich 2019), in float32, rounded once. x [N, d]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, offset: float, eps: float) -> Tensor:
        ctx.offset, ctx.weight = offset, weight  # itself: checkpointing hands back copies
        if ops.serves(x, x.shape[1]):
            out, inverse = ops.norm(x, weight, offset, eps)
            ctx.save_for_backward(x, weight, inverse)
            return out
        wide = x.float()
        inverse = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).mul_(weight.float() + offset).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, inverse = ctx.saved_tensors
        if ops.serves(x, x.shape[1]):
            grad_x, grad_weight = ops.norm_backward(grad, x, weight, inverse, ctx.offset)
            return grad_x, add_gradient(ctx.weight, grad_weight), None, None
        gain = weight.float() + ctx.offset
        unit = x.float() * inverse
        pulled = grad.float()
        product = pulled * unit
        rest = add_gradient(ctx.weight, product.sum(0))
        along = product.mul_(gain).mean(-1, keepdim=True)
        return (pulled * gain).sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), rest, None, None


class _Rotate(torch.autograd.Function):
    """Rotary positions (Su et al. 2021): x * cos + (-x2, x1) * sin. The backward pass rotates the other way."""

    @staticmethod
    def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
        if ops.serves(x, x.shape[-1] // 2):
            return ops.rotate(x.contiguous(), cos, sin, (-sign, sign))
        half = x.shape[-1] // 2
        swapped = torch.cat([x[..., half:].neg(), x[..., :half]], dim=-1)
        return torch.addcmul(x * cos, swapped, sin, value=sign)

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _Rotate._turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _Rotate._turned(grad, cos, sin, -1), None, None


class _Gate(torch.autograd.Function):
    """act(gate) * up for SiLU, or for GELU by tanh."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, gelu: bool) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.gelu = gelu
        return ops.gated(gate, up, gelu)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        return *ops.gate_backward(grad.contiguous(), gate, up, ctx.gelu), None


def _norm(x: Tensor, module: Any) -> Tensor:
    """A transformers norm module applied to x [..., d]. Gemma stores its weights minus one and names eps otherwise."""
    offset = 0.0 if hasattr(module, "variance_epsilon") else 1.0
    eps = module.eps if offset else module.variance_epsilon
    out: Tensor = _RmsNorm.apply(x.reshape(-1, x.shape[-1]), module.weight, offset, eps)  # type: ignore[no-untyped-call]
    return out.view(x.shape)


def _attention(block: Any, x: Tensor, row: Row, cos: Tensor, sin: Tensor, window: int | None) -> Tensor:
    """x [T, hidden] -> [T, heads * d], what the output projection takes; cos, sin [T, 1, d]."""
    d = block.head_dim
    q, k, v = (y.view(len(x), -1, d) for y in project([block.q_proj, block.k_proj, block.v_proj], x))
    if hasattr(block, "q_norm"):
        q, k = _norm(q, block.q_norm), _norm(k, block.k_norm)
    q, k = _Rotate.apply(q, cos, sin), _Rotate.apply(k, cos, sin)  # type: ignore[no-untyped-call]
    return attend(q, k, v, row, block.scaling, window).reshape(len(x), -1)


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    """x [T, hidden] -> [T, intermediate], what the down projection takes."""
    gate, up = project([mlp.gate_proj, mlp.up_proj], x)
    name = type(mlp.act_fn).__name__
    if name in GELU and ops.serves(gate, gate.shape[1]):
        out: Tensor = _Gate.apply(gate, up, GELU[name])  # type: ignore[no-untyped-call]
        return out
    result: Tensor = mlp.act_fn(gate) * up
    return result


def _window(block: Any, config: Any) -> int | None:
    if config.model_type == "mistral":
        return getattr(config, "sliding_window", None)
    return getattr(block, "sliding_window", None)


def run_layers(backbone: Any, layers: Sequence[Any], x: Tensor, row: Row, places: Tensor | None = None) -> Tensor:
    """x [T, hidden], input of the first of `layers` -> output of the last, without the final norm.

    With `places` [N] only the outputs there [N, hidden]: the last layer computes of the other tokens what these attend
    to, and no more.
    """
    if places is not None and not layers:
        return x[places]
    tables: dict[str | None, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        block = layer.self_attn
        kind = block.layer_type if backbone.config.model_type == "gemma3_text" else None
        if kind not in tables:
            arguments = (x[None], row.positions[None]) + ((kind,) if kind else ())
            cos, sin = backbone.rotary_emb(*arguments)
            tables[kind] = (cos[0, :, None], sin[0, :, None])
        run = _checkpointed if backbone in _recomputed else _run_layer
        wanted = places if layer is layers[-1] else None
        x = parallel.call(layer, run, layer, x, row, *tables[kind], _window(block, backbone.config), wanted)
    return x


def _run_layer(
    layer: Any, x: Tensor, row: Row, cos: Tensor, sin: Tensor, window: int | None, places: Tensor | None
) -> Tensor:
    h = _attention(layer.self_attn, _norm(x, layer.input_layernorm), row, cos, sin, window)
    if places is not None:
        x, h = x[places], h[places]
    attended, gated = [layer.self_attn.o_proj], [layer.mlp.down_proj]
    if hasattr(layer, "pre_feedforward_layernorm"):  # Gemma also normalises what a block returns
        x = x + _norm(project(attended, h)[0], layer.post_attention_layernorm)
        y = project(gated, _mlp(layer.mlp, _norm(x, layer.pre_feedforward_layernorm)))[0]
        return x + _norm(y, layer.post_feedforward_layernorm)
    x = project(attended, h, x)[0]
    return project(gated, _mlp(layer.mlp, _norm(x, layer.post_attention_layernorm)), x)[0]


_recomputed: WeakSet[Any] = WeakSet()
"""Backbones whose layers keep only their inputs for the backward pass; see `use_checkpointing`."""
_checkpointed = functools.partial(checkpoint, _run_layer, use_reentrant=False, preserve_rng_state=False)


def use_checkpointing(model: Any) -> None:
    """Keep only each layer's input; the backward pass recomputes the rest (Chen et al. 2016).

    Gradients are the same to the bit. Raises ValueError for a model that takes transformers' own forward pass.
    """
    if not is_known(model.config):
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"checkpointing: model type '{model.config.model_type}'; expected one of {known}")
    _recomputed.add(model.model)


def final_norm(backbone: Any, x: Tensor) -> Tensor:
    return _norm(x, backbone.norm)
