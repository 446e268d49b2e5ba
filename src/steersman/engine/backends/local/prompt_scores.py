"""What a model makes of a prompt's own tokens: their log-probabilities, or the mean of their states (an embedding). In
a cache of their own, chunk by chunk between the steps of answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from steersman.engine.backends.local.driver import Driver
from steersman.engine.backends.local.forward import Decoder, room
from steersman.engine.protocol import DoesNotFit, PromptScores
from steersman.engine.sampling import top_logprobs

CHUNK = 512
"""Tokens between two steps of running answers; a multiple of what prompts are padded to."""
ROWS = 64
"""Places whose logits over the vocabulary are in memory together."""
_one = threading.Lock()
"""One prompt at a time: each takes a cache."""


def _read(decoder: Decoder, driver: Driver, ids: Sequence[int], see: Callable[[int, Tensor], None]) -> None:
    """Call `see` with the start of each chunk and its states [tokens, hidden] of the last layer. DoesNotFit where the
    prompt's cache alone passes the memory budget."""
    of = decoder.cache
    with _one:
        cache = of.beside()
        if not cache.fits(1, room(len(ids))):
            raise DoesNotFit(f"prompt: the keys and values of {len(ids)} tokens need more than {of.budget >> 20} MiB")
        cache.reserve(1, room(len(ids)), 0, 1)
        cache.turn(0, len(ids))
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            with driver.between_steps(), decoder.beside(cache), torch.inference_mode():
                decoder.adapter = None  # the next step sets its own
                see(start, decoder.states([chunk], 0, [start])[0][: len(chunk)])


def prompt_scores(decoder: Decoder, driver: Driver, ids: Sequence[int], top: int) -> PromptScores:
    """See `ScoresPrompts.prompt_logprobs`."""
    logprobs: list[float] = []
    tops: list[tuple[tuple[int, float], ...]] = []

    def see(start: int, states: Tensor) -> None:
        for row in range(0, len(states), ROWS):
            targets = ids[start + row + 1 : start + min(row + ROWS, len(states)) + 1]
            if not targets:
                continue
            scores = decoder.logits(states[row : row + len(targets)]).float()
            sums = scores.logsumexp(dim=-1)
            chosen = scores.gather(1, torch.tensor(targets, device=scores.device)[:, None])[:, 0]
            logprobs.extend((chosen - sums).tolist())
            if top:
                tops.extend(tuple(top_logprobs(one, total, top)) for one, total in zip(scores, sums, strict=True))

    _read(decoder, driver, ids, see)
    return PromptScores(tuple(ids), tuple(logprobs), tuple(tops))


def mean_state(decoder: Decoder, driver: Driver, ids: Sequence[int]) -> list[float]:
    """See `Embeds.embed`."""
    sums: list[Tensor] = []
    _read(decoder, driver, ids, lambda _, states: sums.append(decoder.normed(states).double().sum(0)))
    total = torch.stack(sums).sum(0)
    return [float(x) for x in total / total.norm().clamp_min(1e-12)]
