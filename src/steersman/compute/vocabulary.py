"""Between tokens and states: log-probabilities without keeping logits, and the embedding.

The logits of a row of 1,024 tokens take more memory than all activations of a layer. So they are computed a part at
a time; up to KEPT bytes of them stay for the backward pass, more are computed again there, to the same numbers.

Why so: decision 12 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from steersman import progress
from steersman.compute.gradients import add_product, is_summed, sum_of, weight_gradient
from steersman.kernels import ops

CHUNK = 256
"""Rows of logits in memory at a time, where PyTorch computes them."""
PART = 2048
"""Vocabulary entries at a time, where kernels compute logits: each part of the matrix then serves all rows."""

KEPT = 1 << 28
"""Bytes of logits that are kept for the backward pass; of more, none are."""


def keeps(rows: int, vocabulary: int, itemsize: int) -> bool:
    """Whether logits [rows, vocabulary] are kept."""
    return rows * vocabulary * itemsize <= KEPT


class _TokenLogprobs(torch.autograd.Function):
    """log p(target) and entropy, some rows at a time."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, want: bool) -> Any:
        logprobs = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        entropy = torch.zeros_like(logprobs)
        normaliser = torch.empty_like(logprobs)
        ctx.kept = [] if _wanted(ctx) and keeps(len(hidden), len(weight), 4) else None
        for at in range(0, hidden.shape[0], CHUNK):
            rows = slice(at, at + CHUNK)
            logits = _logits(hidden[rows], weight, temperature)
            top = logits.amax(-1, keepdim=True)
            chosen = logits.gather(1, targets[rows, None])[:, 0]
            if ctx.kept is None:
                logits.sub_(top)
            else:
                ctx.kept.append(logits)
                logits = logits - top
            weights = logits.exp() if want else logits.exp_()
            total = weights.sum(-1)
            normaliser[rows] = top[:, 0] + total.log()
            logprobs[rows] = chosen - normaliser[rows]
            if want:
                entropy[rows] = total.log() - weights.mul_(logits).sum(-1) / total
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature, ctx.want = temperature, want
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor) -> Any:
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, None  # changed in place below
        grad_hidden = torch.empty_like(hidden)
        grad_weight = weight_gradient(weight) if ctx.needs_input_grad[1] else None
        for at in range(0, hidden.shape[0], CHUNK):
            rows = slice(at, at + CHUNK)
            logits = kept[at // CHUNK] if kept else _logits(hidden[rows], weight, ctx.temperature)
            log_p = logits.sub_(normaliser[rows, None])
            if ctx.want:
                p = log_p.exp()
                grad = p * (-grad_logprobs[rows, None] - grad_entropy[rows, None] * (log_p + entropy[rows, None]))
            else:
                grad = log_p.exp_().mul_(-grad_logprobs[rows, None])
            grad.scatter_add_(1, targets[rows, None], grad_logprobs[rows, None])
            if ctx.temperature != 1.0:
                grad.div_(ctx.temperature)
            small = grad.to(hidden.dtype)
            grad_hidden[rows] = small @ weight
            if grad_weight is None:
                continue
            if is_summed(hidden):
                add_product(grad_weight.total, small, hidden[rows])
            else:
                grad_weight.total.add_(small.T @ hidden[rows])
        return grad_hidden, None if grad_weight is None else grad_weight.rest(), None, None, None


def _wanted(ctx: Any) -> bool:
    """Whether there will be a backward pass."""
    return bool(ctx.needs_input_grad[0] or ctx.needs_input_grad[1])


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = F.linear(hidden, weight).float()
    return logits.div_(temperature) if temperature != 1.0 else logits


class _TiledLogprobs(torch.autograd.Function):
    """The same by kernels, a part of the vocabulary at a time: the softmax's sums run on from part to part."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> Any:
        ops.check_ids(targets, len(weight))
        sums = torch.zeros(len(hidden), 4)
        sums[:, 0] = -torch.inf
        ctx.kept = [] if _wanted(ctx) and keeps(len(hidden), len(weight), hidden.itemsize) else None
        for at in range(0, len(weight), PART):
            logits = _part(hidden, weight, at)
            ops.softmax_part(logits, targets, sums, at, temperature)
            if ctx.kept is not None:
                ctx.kept.append(logits)
        top, total, weighted, chosen = sums.unbind(1)
        normaliser = top + total.log()
        entropy = normaliser - weighted / total
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature = temperature
        return chosen - normaliser, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor) -> Any:
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, None  # changed in place below
        about = torch.stack([normaliser, entropy, grad_logprobs, grad_entropy], 1)
        grad_hidden = torch.zeros(hidden.shape)
        grad_weight = weight_gradient(weight) if ctx.needs_input_grad[1] else None
        for at in range(0, len(weight), PART):
            grad = kept[at // PART] if kept else _part(hidden, weight, at)
            ops.softmax_part_backward(grad, targets, about, at, ctx.temperature)
            ops.multiply([(grad, weight[at : at + PART])], grad_hidden)
            if grad_weight is not None:
                add_product(grad_weight.total[at : at + PART], grad, hidden)
        return grad_hidden.to(hidden.dtype), None if grad_weight is None else grad_weight.rest(), None, None


def _part(hidden: Tensor, weight: Tensor, at: int) -> Tensor:
    part = weight[at : at + PART]
    return ops.multiply([(hidden, part.T)], hidden.new_empty(len(hidden), len(part)))


def _shaped(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, cap: float, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """log p(target) and entropy of cap * tanh(logits / cap) (Gemma 2), or of logits + bias (Marian)."""
    logits = F.linear(hidden, weight, bias)
    logits = (logits / cap).tanh() * cap if cap else logits
    log_p = (logits.float() / temperature).log_softmax(-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    entropy: bool = True,
    cap: float = 0.0,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(log p(target), entropy), float32 [N] in nats, from hidden [N, d] and the head's weight [vocab, d].

    Without `entropy` the second result is undefined. `cap`: logits stay below it, 0: none.
    `bias` [vocab] is added to them.
    """
    if cap or bias is not None:
        chunks = zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
        parts = [checkpoint(_shaped, h, weight, t, temperature, cap, bias, use_reentrant=False) for h, t in chunks]
        return torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts])
    if not torch.is_grad_enabled():  # else logits would be kept for a backward pass that never comes
        weight = weight.detach()
    if ops.multiplies(hidden) and ops.serves(hidden, len(weight)):
        logprobs, entropies = _TiledLogprobs.apply(hidden, weight, targets, temperature)  # type: ignore[no-untyped-call]
    else:
        logprobs, entropies = _TokenLogprobs.apply(hidden, weight, targets, temperature, entropy)  # type: ignore[no-untyped-call]
    return logprobs, entropies


class _Embed(torch.autograd.Function):
    """Rows of a table whose gradient is summed in float32; see `steersman.compute.gradients`."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids, weight)
        ctx.padding = padding
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        ids, weight = ctx.saved_tensors
        total = weight_gradient(weight)
        grad = grad.float()
        if ctx.padding is not None:
            grad[ids == ctx.padding] = 0.0
        total.total.index_add_(0, ids, grad)
        return None, total.rest(), None


def log_sums(hidden: Tensor, weight: Tensor, targets: Tensor, logprobs: Tensor) -> Tensor:
    """log of the sum of exp(logits), float32 [N], from what `token_logprobs` returned for the same arguments."""
    rows = _Embed.apply(targets, weight, None) if sum_of(weight) is not None else F.embedding(targets, weight)  # type: ignore[no-untyped-call]
    chosen: Tensor = (hidden.float() * rows.float()).sum(-1)
    return chosen - logprobs


def embed(module: Any, ids: Tensor) -> Tensor:
    """[T] -> [T, hidden], the same numbers as the transformers module's."""
    known = type(module).__name__ in ("Embedding", "Gemma3TextScaledWordEmbedding")
    if known and sum_of(module.weight) is not None:
        states: Tensor = _Embed.apply(ids, module.weight, module.padding_idx)  # type: ignore[no-untyped-call]
        return states * module.embed_scale.to(states.dtype) if hasattr(module, "embed_scale") else states
    return module(ids)  # type: ignore[no-any-return]


@torch.no_grad()
def grow_embedding(model: Any, folder: Path, size: int, added: Mapping[int, str]) -> None:
    """Add embedding rows, the mean of the others, for tokens that were added to the tokenizer only; printed.

    Raises ValueError with both sizes where the tokenizer is larger for another reason: it is another model's.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if size <= rows:
        return
    new = [name for i, name in sorted(added.items()) if i >= rows]
    if len(new) != size - rows or getattr(model.config, "vocab_size_per_layer_input", None):
        raise ValueError(
            f"{folder}: its tokenizer has {size} tokens and its embedding {rows} rows; expected a row for each token"
        )
    model.resize_token_embeddings(size, mean_resizing=False)
    for part in (model.get_input_embeddings(), model.get_output_embeddings()):
        if part is not None:
            part.weight[rows:] = part.weight[:rows].float().mean(0).to(part.weight.dtype)
    progress.note(
        f"{folder}: {len(new)} tokens were added to its tokenizer ({', '.join(new)[:200]}); the embedding grows from "
        f"{rows} to {size} rows, the new ones the mean of the others until they are trained (LoRA does not)"
    )
