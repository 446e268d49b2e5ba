"""Computes a row by transformers' own forward pass, a dialogue at a time, for models that cannot take packed rows.

A tree's trunk is computed again for each of its branches. Logits come from the model itself, so they include its
scales, caps and biases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from steersman.compute.packing import Row
from steersman.families.traits import backbone


def _paths(row: Row) -> Iterator[Tensor]:
    """For each dialogue of the row its indices [L]: a trunk with one of its branches, or a trunk alone; padding is left
    out."""
    end = len(row.ids) - row.padding
    for number in torch.unique_consecutive(row.document[:end]).tolist():
        here = (row.document[:end] == number).nonzero()[:, 0]
        branch = row.branch[here]
        trunk = here[branch == -1]
        branches = torch.unique_consecutive(branch[branch >= 0]).tolist()
        for one in branches:
            yield torch.cat([trunk, here[branch == one]])
        if not branches:
            yield trunk


def states(model: Any, row: Row) -> Tensor:
    """[T, hidden]: the last layer's normalised output; zero at padding."""
    body = backbone(model)
    found, places, seen = [], [], torch.zeros(len(row.ids), dtype=torch.bool, device=row.ids.device)
    for path in _paths(row):
        output = body(input_ids=row.ids[path][None], use_cache=False).last_hidden_state[0]
        fresh = ~seen[path]  # a trunk's states are the same in all its branches
        found.append(output[fresh])
        places.append(path[fresh])
        seen[path] = True
    whole = torch.cat(found)
    return whole.new_zeros(len(row.ids), whole.shape[1]).index_copy(0, torch.cat(places), whole)


def target_logprobs(model: Any, row: Row, temperature: float) -> tuple[Tensor, Tensor]:
    """(log p(target), entropy), float32 [N] in nats, of the row's targets in their order."""
    target_at = torch.full((len(row.ids),), -1, device=row.ids.device)
    target_at[row.targets] = torch.arange(len(row.targets), device=row.ids.device)
    seen = torch.zeros_like(target_at, dtype=torch.bool)
    logprobs, entropies, order = [], [], []
    for path in _paths(row):
        at = ((target_at[path] >= 0) & ~seen[path]).nonzero()[:, 0]
        seen[path] = True
        if not len(at):
            continue
        logits = model(input_ids=row.ids[path][None], use_cache=False, logits_to_keep=at - 1).logits[0]
        logits = logits if len(logits) == len(at) else logits[at - 1]  # of a model that knows no logits_to_keep
        log_p = (logits.float() / temperature).log_softmax(-1)
        logprobs.append(log_p.gather(1, row.ids[path][at][:, None])[:, 0])
        entropies.append(-(log_p.exp() * log_p).sum(-1))
        order.append(target_at[path][at])
    if not order:
        empty = torch.zeros(0, device=row.ids.device)
        return empty, empty
    places, count = torch.cat(order), len(row.targets)
    one, other = (torch.cat(x) for x in (logprobs, entropies))
    return one.new_zeros(count).index_copy(0, places, one), other.new_zeros(count).index_copy(0, places, other)
