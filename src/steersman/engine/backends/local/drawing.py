"""Draws a token for each running sequence, by native code where a row has no options that it does not know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steersman.engine.backends.local.compiled import NativeStep
from steersman.engine.sampling import sample, top_logprobs
from steersman.types import SamplingParams


def draw(
    native: NativeStep | None, logits: Tensor, params: Sequence[SamplingParams], uniform: Tensor
) -> tuple[Tensor, Tensor, dict[int, tuple[tuple[int, float], ...]]]:
    """(ids, logprobs, row -> its likeliest tokens, if requested).

    A row does not depend on other rows' options: native code samples the rows without options.
    """
    device = logits.device
    temperature = torch.tensor([p.temperature for p in params], device=device)
    shaped = [i for i, p in enumerate(params) if p.top_k or p.top_p < 1 or p.min_p or p.top_logprobs]
    if native is not None and not shaped:
        return *native.sample(logits.float().contiguous(), temperature, uniform), {}
    ids, logprobs = torch.empty(len(params), dtype=torch.long, device=device), uniform.clone()
    rest = sorted({*range(len(params))} - {*shaped})
    if native is None:
        shaped, rest = list(range(len(params))), []
    if native is not None and rest:
        ids[rest], logprobs[rest] = native.sample(logits[rest].float(), temperature[rest], uniform[rest])
    mine = [params[i] for i in shaped]
    ids[shaped], logprobs[shaped], (scores, logsumexp) = sample(
        logits if native is None else logits[shaped],
        temperature[shaped],
        torch.tensor([p.top_k for p in mine], device=device),
        torch.tensor([p.top_p for p in mine], device=device),
        uniform[shaped],
        torch.tensor([p.min_p for p in mine], device=device),
    )
    asked = [(at, i, p.top_logprobs) for at, (i, p) in enumerate(zip(shaped, mine, strict=True)) if p.top_logprobs]
    return ids, logprobs, {i: tuple(top_logprobs(scores[at], logsumexp[at], k)) for at, i, k in asked}
