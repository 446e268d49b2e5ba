"""One answer in the making, and the request it belongs to."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from steersman.engine.adjust import adjusts
from steersman.engine.choices import Choice
from steersman.engine.detokenize import Growing, Stops, ending_whole, shown
from steersman.engine.grammar import Grammar
from steersman.types import Completion, FinishReason, SamplingParams

AGAIN = ("", -1)


def _last_text(pieces: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return pieces[len(pieces) - pieces[::-1].index(AGAIN) :] if AGAIN in pieces else pieces


def drawn_seed(params: SamplingParams) -> int | float:
    return random.SystemRandom().random() if params.seed is None else params.seed


@dataclass(eq=False)
class Answer:
    """One sequence: its parameters, and the tokens generated so far.

    The thread that steps calls `take`, `finish` and `fail`; the one reader calls the rest.
    """

    prompt: tuple[int, ...]
    params: SamplingParams
    max_tokens: int
    rng: random.Random
    growing: Growing
    grammar: Grammar | Choice | None = None
    streamed: bool = False
    keep: bool = False
    """Keep the cache for later prompts that begin the same way."""
    lends: bool = True
    """Whether its prompt's keys and values are as a prefill by the present weights makes them."""
    faults: list[Exception] = field(default_factory=list)
    """Errors of the answers of one call, which share this list."""
    version: str = ""
    admitted: int = 0
    """Running number of its admission; the youngest is paused first."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    finished: FinishReason | None = None

    def __post_init__(self) -> None:
        p = self.params
        self.plain = not (adjusts(p) or p.top_k or p.top_p < 1 or p.min_p or p.top_logprobs)
        """Sampled from the model's own distribution, at a temperature."""
        self._stops = Stops(p.stop)
        self._stop_ids = frozenset(p.stop_token_ids)
        self._said = 0
        """Number of `ids` that belong to the answer's text: all but the token that ended it."""
        self._read = 0
        self._pieces: list[tuple[str, int]] = []
        """Text, and how many characters at its end may still be taken back; `AGAIN` where the text starts anew."""
        self._cut: int | None = None
        """Index in the text where a stop string begins, which ends the text."""
        self._taken, self._told, self._kept = 0, 0, ""

    @property
    def length(self) -> int:
        """Prompt tokens plus generated ones; the last generated token is not in the cache yet."""
        return len(self.prompt) + len(self.ids)

    @property
    def longest(self) -> int:
        return len(self.prompt) + self.max_tokens

    def take(self, token: int, logprob: float, ends: Collection[int]) -> None:
        """Append a sampled token and see whether the answer ends with it."""
        if math.isnan(logprob):
            raise FloatingPointError("the model's logits are not numbers")
        params = self.params
        self.ids.append(token)
        self.logprobs.append(logprob)
        ended = not params.ignore_end and (token in ends or token in self._stop_ids)
        self._said += not ended
        if params.stop:
            self._grow()
        if ended or self._cut is not None:
            self.finish("stop")
        elif len(self.ids) >= self.max_tokens:
            self.finish("length")

    def finish(self, reason: FinishReason) -> None:
        self.finished = reason

    def fail(self, error: Exception) -> None:
        """End with an error, which is raised by the caller that waits for this call's answers."""
        self.faults.append(error)
        self.keep = False
        self.finish("cancelled")

    def _grow(self) -> None:
        """Decode the new tokens. The reader calls this, to save the stepping thread's time, unless stop strings may end
        the answer."""
        said = self._said
        text = self.growing.grow(self.ids[self._read : said])
        self._read = said
        if self.growing.again:
            self._stops = Stops(self.params.stop)
            self._pieces.append(AGAIN)
        if text:
            self._cut = self._stops.find(text)
            self._pieces.append((text, self._stops.held if self._cut is None else self._stops.length - self._cut))

    def fresh(self) -> str:
        """Text that later tokens cannot change and that was not handed out yet."""
        finished = self.finished
        if isinstance(self.grammar, Choice):  # handed out whole
            ready = self.text[self._told :] if finished else ""
            self._told += len(ready)
            return ready
        if not self.params.stop:
            self._grow()
        pieces = self._pieces[self._taken :]
        self._taken += len(pieces)
        if AGAIN in pieces:
            pieces, self._kept, self._told = _last_text(pieces), "", 0
        text = self._kept + "".join(piece for piece, _ in pieces)
        held = 0 if finished else pieces[-1][1] if pieces else len(self._kept)
        if finished and self._cut is not None:
            text = text[: self._cut - self._told]
        ready = ending_whole(text[: len(text) - held])
        self._kept = text[len(ready) :]
        self._told += len(ready)
        return shown(ready)

    @property
    def text(self) -> str:
        """A finished answer's whole text, without the stop string or token. It ends with a whole character."""
        if not self.params.stop:
            self._grow()
        chosen = self.grammar.texts if isinstance(self.grammar, Choice) and self._cut is None else {}
        return chosen.get(tuple(self.ids[: self._said])) or shown(ending_whole(self._whole[: self._cut]))

    @property
    def _whole(self) -> str:
        return "".join(piece for piece, _ in _last_text(self._pieces))

    @property
    def _stopped(self) -> str:
        """The stop string that ended the answer."""
        cut = self._cut
        return "" if cut is None else next((s for s in self.params.stop if self._whole.startswith(s, cut)), "")

    def completion(self) -> Completion:
        """The finished answer. Raises the answer's error, if any."""
        assert self.finished
        if self.faults:
            raise self.faults[0]
        found = tuple(self.ids), tuple(self.logprobs), self.finished, self.version, tuple(self.tops)
        return Completion(self.text, *found, self._stopped)


@dataclass(eq=False)
class Request:
    """Tokens to prefill and the answers that go on from them."""

    prompt: tuple[int, ...]
    answers: Sequence[Answer]
    reuse: bool = False
    """Whether it may start from an earlier sequence's kept cache."""
    party: str = ""
    """See `protocol.party`."""

    @property
    def adapter(self) -> str | None:
        return self.answers[0].params.adapter

    @property
    def done(self) -> bool:
        return all(a.finished for a in self.answers)
