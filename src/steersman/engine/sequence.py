"""One answer in the making, and the request it belongs to."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from steersman.engine.adjust import adjusts
from steersman.engine.grammar import Grammar
from steersman.types import Completion, FinishReason, SamplingParams

Decode = Callable[[list[int]], str]


class GrowingText:
    """Text of a growing list of tokens; a step decodes the last few tokens only."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self.text = ""
        self._settled, self._read = 0, 0

    def grow(self, ids: list[int]) -> None:
        """Take in what `ids` has gained. A character whose bytes are not all there yet waits."""
        before = self._decode(ids[self._settled : self._read])
        after = self._decode(ids[self._settled :])
        if after.endswith("\ufffd"):
            return
        self.text += after[len(before) :]
        # one settled step stays as context, since a tokenizer may write a word's first space only after another word
        self._settled, self._read = self._read, len(ids)


@dataclass(eq=False)
class Answer:
    """One sequence: what was asked for, and what has been generated."""

    prompt: tuple[int, ...]
    params: SamplingParams
    max_tokens: int
    rng: random.Random
    decode: Decode
    grammar: Grammar | None = None
    streamed: bool = False
    keep: bool = False
    """Keep the cache for later prompts that begin the same way."""
    version: str = ""
    admitted: int = 0
    """Running number of its admission; the youngest is paused first."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    finished: FinishReason | None = None
    text: str = ""
    """Set when finished; stop strings already cut."""

    def __post_init__(self) -> None:
        self.growing = GrowingText(self.decode)
        p = self.params
        self.plain = not (adjusts(p) or p.top_k or p.top_p < 1 or p.min_p or p.top_logprobs)
        """Sampled from the model's own distribution, at a temperature."""

    @property
    def length(self) -> int:
        """Prompt tokens plus generated ones; the last generated token is not in the cache yet."""
        return len(self.prompt) + len(self.ids)

    @property
    def longest(self) -> int:
        return len(self.prompt) + self.max_tokens

    def take(self, token: int, logprob: float, ends: Collection[int]) -> None:
        """Append a sampled token and see whether the answer ends with it."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        params = self.params
        ended = not params.ignore_end and (token in ends or token in params.stop_token_ids)
        if params.stop:
            self.growing.grow(self.ids)
        if ended or (params.stop and self._stop_at(self.growing.text) is not None):
            self.finish("stop")
        elif len(self.ids) >= self.max_tokens:
            self.finish("length")

    def finish(self, reason: FinishReason) -> None:
        stopped = reason == "stop" and self.ids and self.ids[-1] in self.params.stop_token_ids
        text = self.decode(self.ids[:-1] if stopped else self.ids)
        cut = self._stop_at(text)
        self.text = text if cut is None else text[:cut]
        self.finished = reason  # last: a reader in another thread looks at it first

    def _stop_at(self, text: str) -> int | None:
        places = [at for stop in self.params.stop if (at := text.find(stop)) >= 0]
        return min(places) if places else None

    def stable_text(self) -> str:
        """Text that later tokens cannot change: no beginning of a stop string at the end. For one reader."""
        if not self.params.stop:
            self.growing.grow(self.ids[:])  # here, since the thread that steps has no time for it
        text = self.growing.text
        hold = 0
        for stop in self.params.stop:
            for size in range(1, len(stop)):
                if text.endswith(stop[:size]):
                    hold = max(hold, size)
        return text[: len(text) - hold] if hold else text

    def completion(self) -> Completion:
        assert self.finished
        return Completion(
            self.text, tuple(self.ids), tuple(self.logprobs), self.finished, self.version, tuple(self.tops)
        )


@dataclass(eq=False)
class Request:
    """Tokens to prefill and the answers that go on from them."""

    prompt: tuple[int, ...]
    answers: Sequence[Answer]
    reuse: bool = False
    """May begin from the kept cache of an earlier sequence."""

    @property
    def done(self) -> bool:
        return all(a.finished for a in self.answers)
