"""Attention over packed rows, document by document.

A packed row of T tokens holds documents that never look at each other, so attention over the whole row would
waste most of its T x T products. Here each document is its own small dense problem, in plain matrix products:
on a CPU they run on the matrix units, which PyTorch's fused attention does not use for its backward pass.
Query heads that share a key head are stacked, so keys are never repeated. On other devices the row goes
through scaled_dot_product_attention with a mask.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from steersman.models.packing import Row

NAME = "steersman_rows"


class _Dense(torch.autograd.Function):
    """softmax(q k^T * scale + mask) v, remade in the backward pass instead of kept."""

    @staticmethod
    def _weights(q: Tensor, k: Tensor, mask: Tensor, scale: float) -> Tensor:
        heads, stacked, length = q.shape[0], q.shape[1], k.shape[1]
        scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
        scores.view(heads, -1, mask.shape[0], length).add_(mask)
        return scores.softmax(-1).to(q.dtype).view(heads, stacked, length)

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        return torch.bmm(_Dense._weights(q, k, mask, scale), v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v, mask = ctx.saved_tensors
        p = _Dense._weights(q, k, mask, ctx.scale)
        grad_v = torch.bmm(p.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        p32 = p.float()
        grad_scores = grad_p.float().mul_(p32)
        grad_scores.sub_(p32.mul_(grad_scores.sum(-1, keepdim=True))).mul_(ctx.scale)
        grad_scores = grad_scores.to(q.dtype)
        return torch.bmm(grad_scores, k), torch.bmm(grad_scores.transpose(1, 2), q), grad_v, None, None


def dense_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """q [kv_heads, group * L, d] (a key head's query heads stacked), k, v [kv_heads, L, d], additive mask [L, L]."""
    result: Tensor = _Dense.apply(q, k, v, mask, scale)  # type: ignore[no-untyped-call]
    return result


def attend_rows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, heads, T, d], key, value [1, kv_heads, T, d] -> [1, T, heads, d]."""
    row: Row = kwargs["packed_row"]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    window = kwargs.get("sliding_window") or getattr(module, "sliding_window", None)
    if query.device.type != "cpu":
        mask = row.mask
        if window:
            mask = mask & ((row.positions[:, None] - row.positions[None]) < window)[None, None]
        gqa = query.shape[1] != key.shape[1]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=gqa)
        return out.transpose(1, 2), None
    heads, kv_heads, d = query.shape[1], key.shape[1], query.shape[3]
    lengths = [end - start for start, end, _ in row.documents]
    pieces = []
    split = (torch.split(x[0], lengths, dim=1) for x in (query, key, value))
    for q, k, v, (_, _, masks) in zip(*split, row.documents, strict=True):
        length = q.shape[1]
        q = q.reshape(kv_heads, heads // kv_heads * length, d)
        out = dense_attention(q, k.contiguous(), v.contiguous(), masks.get(window), scale)
        pieces.append(out.view(heads, length, d))
    return torch.cat(pieces, dim=1).transpose(0, 1)[None], None


AttentionInterface.register(NAME, attend_rows)
