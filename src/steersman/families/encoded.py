"""What models with heads compute of texts: logits of labels, of the ends of spans, and vectors. Padded passes.

A decoder's classifier reads its last token's state, as transformers' does; its vectors are means too, or that state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute.padding import mask_of, padded
from steersman.families import encoder
from steersman.text.marked import Marked

MIXING = {"canine", "convbert", "fnet", "mobilebert", "nystromformer", "yoso"}
"""Model types whose tokens meet otherwise than by masked attention, so that padding would change them."""
OUTPUTS = ("last_hidden_state", "logits", "start_logits", "end_logits")


def run(model: Any, rows: Sequence[Marked]) -> tuple[Any, Tensor]:
    """(transformers' output, mask [B, L]) of texts padded behind; one by one where padding would change the states."""
    if model.config.model_type not in MIXING or len({len(row.ids) for row in rows}) < 2:
        return _padded(model, rows)
    made = [_padded(model, [row]) for row in rows]
    parts, longest, found = [part for part, _ in made], max(mask.shape[1] for _, mask in made), {}
    for name in OUTPUTS:
        if getattr(parts[0], name, None) is not None:
            some = [getattr(part, name) for part in parts]
            found[name] = torch.cat(some if name == "logits" else [_lengthened(x, longest) for x in some])
    return SimpleNamespace(**found), torch.cat([_lengthened(mask, longest) for _, mask in made])


def _lengthened(x: Tensor, length: int) -> Tensor:
    """[1, L, ...] -> [1, length, ...], zeros behind."""
    return torch.cat([x, x.new_zeros(1, length - x.shape[1], *x.shape[2:])], dim=1)


def _padded(model: Any, rows: Sequence[Marked]) -> tuple[Any, Tensor]:
    ids, device = [row.ids for row in rows], model.device
    mask = mask_of(ids, device)
    given = {"input_ids": padded(ids, model.config.pad_token_id or 0, device), "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1 and all(row.types is not None for row in rows):
        given["token_type_ids"] = padded([row.types or () for row in rows], 0, device)
    if model.config.model_type == "longformer" and any(row.asked for row in rows):
        given["global_attention_mask"] = padded(
            [[int(i < row.asked) for i in range(len(row.ids))] for row in rows], 0, device
        )
    if (short := getattr(model.config, "downsampling_rate", 1) - mask.shape[1]) > 0:  # CANINE computes none so short
        given = {name: F.pad(x, (0, short)) for name, x in given.items()}
        mask = given["attention_mask"]
    with _averaged(model, mask) if encoder.averages(model.config) else contextlib.nullcontext():
        return model(**given), mask


@contextlib.contextmanager
def _averaged(model: Any, mask: Tensor) -> Iterator[None]:
    """Behind the last layer the first state is the mean of the text's: what transformers' heads then read."""

    def hook(_layer: Any, _given: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        pooled = mean(states.float(), mask).to(states.dtype)
        states = torch.cat([pooled[:, None], states[:, 1:]], dim=1)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = encoder.layers(model)[-1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """[B, L, width] -> [B, width]: over the tokens that are there."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def logits(model: Any, rows: Sequence[Marked]) -> Tensor:
    """[B, labels] float32."""
    found: Tensor = run(model, rows)[0].logits
    return found.float()


def ends(model: Any, rows: Sequence[Marked]) -> tuple[Tensor, Tensor]:
    """(start, end) [B, L] float32 logits; -inf behind a row's end."""
    output, mask = run(model, rows)
    outside = mask == 0
    return tuple(x.float().masked_fill(outside, -torch.inf) for x in (output.start_logits, output.end_logits))


def vectors(
    model: Any, rows: Sequence[Marked], pooling: str, dense: Sequence[Callable[[Tensor], Tensor]] = ()
) -> Tensor:
    """[B, hidden] float32 of length 1. `pooling`: mean, cls (the first token's state) or last; `dense`: what is
    computed of that."""
    output, mask = run(model, rows)
    states = output.last_hidden_state.float()
    if pooling == "cls":
        pooled = states[:, 0]
    elif pooling == "last":
        pooled = states[torch.arange(len(rows), device=states.device), mask.sum(1) - 1]
    else:
        pooled = mean(states, mask)
    for layer in dense:
        pooled = layer(pooled)
    return F.normalize(pooled, dim=-1)
