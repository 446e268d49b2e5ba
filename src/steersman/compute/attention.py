"""Attention over packed rows, document by document.

A packed row of T tokens holds documents that never look at each other, so attention over the whole row would
waste most of its T x T products. Here each document is its own small dense problem, a long one in blocks of queries.
In bfloat16 on a CPU kernels/rows.c computes it. Without kernels the forward pass is PyTorch's fused kernel and
the backward pass plain matrix products; query heads that share a key head are stacked, so keys are never repeated. On
NVIDIA GPUs it is flash attention in bfloat16 over sequences, each of them a branch after a copy of its trunk's keys;
what that does not support goes through scaled_dot_product_attention with a mask of the whole row.

Why so: decision 8 in docs/LOG.md.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from steersman.compute.packing import DocumentMasks, Row
from steersman.kernels import ops

NAME = "steersman_rows"
NOT_COMPUTED = ("position_bias", "score_mod", "head_mask", "block_mask", "indexer_scores")
"""Arguments that some models pass to attention besides queries, keys and values."""
FLASH_HEAD = 256
"""Largest head that flash attention takes."""


class _Dense(torch.autograd.Function):
    """softmax(q k^T * scale + mask) v of one tree; the backward pass computes the softmax again instead of keeping it.

    It goes by blocks of queries, so that memory grows with a tree's length and not with its square.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, masks: DocumentMasks, window: int | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.rest = masks, window, scale
        gqa = q.shape[0] != k.shape[0]
        parts = []
        for rows, keys, mask in masks.blocks(window, q.dtype, q.shape[0]):
            some = q[None, :, rows], k[None, :, keys], v[None, :, keys]
            parts.append(F.scaled_dot_product_attention(*some, attn_mask=mask, scale=scale, enable_gqa=gqa)[0])
        return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v = ctx.saved_tensors
        masks, window, scale = ctx.rest
        k, v = k.contiguous(), v.contiguous()
        parts: list[Tensor] = []
        grad_k = grad_v = None
        for rows, keys, mask in masks.blocks(window, q.dtype, q.shape[0]):
            of_q, of_k, of_v = _dense_backward(grad[:, rows], q[:, rows] * scale, k[:, keys], v[:, keys], mask)
            parts.append(of_q.mul_(scale))
            if grad_k is None or grad_v is None:
                if of_q.shape == q.shape:
                    grad_k, grad_v = of_k, of_v
                    continue
                grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
            grad_k[:, keys] += of_k
            grad_v[:, keys] += of_v
        assert grad_k is not None
        assert grad_v is not None
        return torch.cat(parts[::-1], 1), grad_k.to(k.dtype), grad_v.to(v.dtype), None, None, None


def _dense_backward(grad: Tensor, scaled: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q (without the scale), k and v; query heads that share a key head are stacked."""
    heads, length, d = scaled.shape
    kv_heads = k.shape[0]
    stacked = (kv_heads, heads // kv_heads * length, d)
    scaled, grad = scaled.reshape(stacked), grad.reshape(stacked)
    scores = torch.bmm(scaled, k.transpose(1, 2))
    scores.view(heads, length, -1).add_(mask)
    p = scores.softmax(-1)
    grad_v = torch.bmm(p.transpose(1, 2), grad)
    grad_p = torch.bmm(grad, v.transpose(1, 2))
    grad_scores = torch._softmax_backward_data(grad_p, p, -1, p.dtype)
    grad_q = torch.bmm(grad_scores, k).view(heads, length, d)
    return grad_q, torch.bmm(grad_scores.transpose(1, 2), scaled), grad_v


def dense_attention(q: Tensor, k: Tensor, v: Tensor, masks: DocumentMasks, window: int | None, scale: float) -> Tensor:
    """q [heads, L, d], k, v [kv_heads, L, d] of one tree -> [heads, L, d]."""
    result: Tensor = _Dense.apply(q, k, v, masks, window, scale)  # type: ignore[no-untyped-call]
    return result


class _Tiled(torch.autograd.Function):
    """Attention of a whole row by kernels: q [T, heads, d], k, v [T, kv_heads, d] -> [T, heads, d]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, window: int | None) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        out, lse = torch.empty_like(q), torch.empty(q.shape[:2])
        ops.Attention((q, k, v, out, lse), row.places, scale, window).forward()
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.rest = row.places, scale, window
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return *ops.Attention(ctx.saved_tensors, *ctx.rest).backward(grad.contiguous()), None, None, None


def flashes(q: Tensor) -> bool:
    """Whether torch's flash attention takes such queries: half precision, on NVIDIA's Ampere or later."""
    fits = q.dtype in (torch.bfloat16, torch.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= FLASH_HEAD
    return fits and q.device.type == "cuda" and torch.cuda.get_device_capability(q.device) >= (8, 0)


def flash(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, window: int | None) -> Tensor:
    """`attend` by torch's attention over sequences of several lengths, which keeps no matrix of scores.

    A branch's sequence has the trunk's keys before its own, and its queries are the last of them: "causal" means the
    same as in the row, and so does a window.
    """
    from torch.nn.attention import varlen

    options: dict[str, Any] = {}
    if "enable_gqa" in inspect.signature(varlen.varlen_attn).parameters:  # torch 2.12
        options["enable_gqa"] = q.shape[1] != k.shape[1]
    else:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    of = row.sequences
    if of.places is not None:
        k, v = k[of.places], v[of.places]
    lengths = of.queries, of.keys, of.most_queries, of.most_keys
    left = window - 1 if window else -1
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    out: Tensor = varlen.varlen_attn(q, k, v, *lengths, scale=scale, window_size=(left, 0), **options)  # type: ignore[assignment]
    return out


def attend(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, window: int | None) -> Tensor:
    """q [T, heads, d], k, v [T, kv_heads, d] of one packed row -> [T, heads, d]."""
    if ops.multiplies(q) and q.shape[-1] % ops.LANES == 0:
        tiled: Tensor = _Tiled.apply(q, k, v, row, scale, window)  # type: ignore[no-untyped-call]
        return tiled
    if flashes(q):
        return flash(q, k, v, row, scale, window)
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    if q.device.type != "cpu":
        mask = row.mask
        if window:
            mask = mask & ((row.positions[:, None] - row.positions[None]) < window)[None, None]
        gqa = q.shape[0] != k.shape[0]
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask, scale=scale, enable_gqa=gqa)
        return out[0].transpose(0, 1)
    lengths = [end - start for start, end, _ in row.documents]
    split = (torch.split(x, lengths, dim=1) for x in (q, k, v))
    pieces = [
        dense_attention(q, k, v, masks, window, scale).transpose(0, 1)
        for q, k, v, (_, _, masks) in zip(*split, row.documents, strict=True)
    ]
    return torch.cat(pieces)


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, cap: float, sinks: Tensor | None) -> Tensor:
    """As `dense_attention`, with scores soft-capped at `cap` (Gemma 2; 0: none) and a sink per head [heads] (gpt-oss).

    A sink is an additional score in the softmax whose weight multiplies no value.
    """
    group = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = torch.bmm(q, k.transpose(1, 2)) * scale
    if cap:
        scores = torch.tanh(scores / cap) * cap
    scores = (scores + mask).float()
    if sinks is not None:
        scores = torch.cat([scores, sinks.float()[:, None, None].expand(-1, scores.shape[1], 1)], -1)
    p = scores.softmax(-1)
    return torch.bmm((p[..., :-1] if sinks is not None else p).to(v.dtype), v)


def _attend_plainly(
    q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, window: int | None, cap: float, sinks: Tensor | None
) -> Tensor:
    """`attend` for what no fused kernel computes, on any device."""
    lengths = [end - start for start, end, _ in row.documents]
    split = (torch.split(x.transpose(0, 1), lengths, dim=1) for x in (q, k, v))
    pieces: list[Tensor] = []
    for q_, k_, v_, (_, _, masks) in zip(*split, row.documents, strict=True):
        first = len(pieces)
        for rows, keys, mask in masks.blocks(window, q.dtype, q_.shape[0]):
            some = q_[:, rows], k_[:, keys], v_[:, keys]
            pieces.insert(first, _plain(*some, mask.to(q.device), scale, cap, sinks).transpose(0, 1))
    return torch.cat(pieces)


def attend_rows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, heads, T, d], key, value [1, kv_heads, T, d] -> [1, T, heads, d].

    Raises ValueError for arguments that it does not support, rather than ignoring them.
    """
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    # EXAONE 4's modules name a window in the layers that see all too, and only say so here
    window = kwargs["sliding_window"] if "sliding_window" in kwargs else getattr(module, "sliding_window", None)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    cap, sinks = kwargs.get("softcap") or 0.0, kwargs.get("s_aux")
    if odd := next((name for name in NOT_COMPUTED if kwargs.get(name) is not None), None):
        raise ValueError(f"model type '{module.config.model_type}': attention over packed rows does not know '{odd}'")
    if cap or sinks is not None:
        return _attend_plainly(q, k, v, kwargs["packed_row"], scale, window, cap, sinks)[None], None
    return attend(q, k, v, kwargs["packed_row"], scale, window)[None], None


AttentionInterface.register(NAME, attend_rows)
