"""Log-probabilities of a prompt's own tokens, in a cache of their own, chunk by chunk between the steps of answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from steersman.engine.backends.local.cache import Cache
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


def prompt_scores(decoder: Decoder, driver: Driver, ids: Sequence[int], top: int) -> PromptScores:
    """See `ScoresPrompts.prompt_logprobs`. DoesNotFit where the prompt's cache alone passes the memory budget."""
    of = decoder.cache
    with _one:
        cache = Cache(of.layers, of.kv_heads, of.head_dim, of.dtype, of.device, of.budget)
        if not cache.fits(1, room(len(ids))):
            raise DoesNotFit(f"prompt: the keys and values of {len(ids)} tokens need more than {of.budget >> 20} MiB")
        cache.reserve(1, room(len(ids)), 0, 1)
        logprobs: list[float] = []
        tops: list[tuple[tuple[int, float], ...]] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            with driver.between_steps(), decoder.beside(cache), torch.inference_mode():
                decoder.adapter = None  # the next step sets its own
                states = decoder.states([chunk], 0, [start])[0][: len(chunk)]
                for row in range(0, len(chunk), ROWS):
                    targets = ids[start + row + 1 : start + min(row + ROWS, len(chunk)) + 1]
                    if not targets:
                        continue
                    scores = decoder.logits(states[row : row + len(targets)]).float()
                    sums = scores.logsumexp(dim=-1)
                    chosen = scores.gather(1, torch.tensor(targets, device=scores.device)[:, None])[:, 0]
                    logprobs += (chosen - sums).tolist()
                    if top:
                        tops += [tuple(top_logprobs(one, total, top)) for one, total in zip(scores, sums, strict=True)]
    return PromptScores(tuple(ids), tuple(logprobs), tuple(tops))
