"""Changes to one sequence's logits before sampling: bias, penalties, and a grammar's mask.

Rows without such options are not touched, so a trainer's rollouts are the model's own distribution.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from steersman.engine.protocol import Refused
from steersman.types import SamplingParams

COLDEST = 1e-4
"""A lower temperature other than 0 would make logits overflow a float."""


def adjusts(params: SamplingParams) -> bool:
    """Whether `adjust` would change anything."""
    return bool(
        params.logit_bias
        or params.repetition_penalty != 1
        or params.presence_penalty
        or params.frequency_penalty
        or params.json_schema is not None
        or params.regex is not None
        or params.choices
    )


def adjust(
    row: Tensor,
    params: SamplingParams,
    prompt: Sequence[int],
    answer: Sequence[int],
    allowed: Tensor | None = None,
) -> None:
    """Change float logits [vocab] in place. `allowed` bool [vocab]: True for tokens that a grammar allows.

    Order: repetition penalty (prompt and answer), presence and frequency penalties (answer), bias, grammar.
    """
    if params.repetition_penalty != 1:
        seen = torch.tensor(sorted({*prompt, *answer}), device=row.device)
        logits = row[seen]
        row[seen] = torch.where(logits > 0, logits / params.repetition_penalty, logits * params.repetition_penalty)
    if (params.presence_penalty or params.frequency_penalty) and answer:
        counts = Counter(answer)
        tokens = torch.tensor(list(counts), device=row.device)
        times = torch.tensor(list(counts.values()), device=row.device, dtype=row.dtype)
        row[tokens] -= params.presence_penalty + params.frequency_penalty * times
    if params.logit_bias:
        tokens = torch.tensor(list(params.logit_bias), device=row.device)
        row[tokens] += torch.tensor(list(params.logit_bias.values()), device=row.device, dtype=row.dtype)
    if allowed is not None:
        row.masked_fill_(~allowed, float("-inf"))


def bounded(params: SamplingParams, vocabulary: int) -> SamplingParams:
    """`params` limited to numbers that a step's tensors can hold. Refused for a token id outside the vocabulary."""
    for name, tokens in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise Refused(f"sampling.{name}: expected token ids from 0 to {vocabulary - 1}, got {token}")
    coldest = params.temperature and max(params.temperature, COLDEST)
    return dataclasses.replace(params, top_k=min(params.top_k, vocabulary), temperature=coldest)
