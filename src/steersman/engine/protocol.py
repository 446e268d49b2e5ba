"""The `Engine` seam: the interface of everything that generates text. Imports no torch, so that the server need not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from steersman.types import Completion, Conversation, SamplingParams

if TYPE_CHECKING:
    import torch

    from steersman.text.call_form import CallForm

Prompt = Conversation | str | Sequence[int]
"""A conversation that ends with the user, plain text to be continued, or token ids."""


party: ContextVar[str] = ContextVar("steersman.party", default="")
"""Whose requests are made here: those of one party wait in one line, beside others'. '': nobody's in particular."""

Reuse = Literal["streams", "all", "off"]
"""Which finished sequences stay cached for later prompts with the same beginning."""


class Refused(ValueError):
    """The request cannot be answered as it is; the message is meant for the caller."""


class PromptTooLong(Refused):
    """The prompt and `max_tokens` do not fit into the model's context."""


class DoesNotFit(Refused):
    """The request's keys and values would pass the engine's memory budget even if it ran alone."""


class EndpointError(RuntimeError):
    """A remote engine cannot be reached, fails, or returns something that is not an answer.

    `busy`: seconds until a retry, where the engine was overloaded; else None.
    """

    def __init__(self, message: str, busy: float | None = None) -> None:
        super().__init__(message)
        self.busy = busy


@dataclass(frozen=True, slots=True)
class PromptScores:
    """The tokens of a prompt, T, and how likely the model finds each after those before it, at temperature 1."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """[T - 1], in nats: of every token but the first."""
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    """[T - 1] likeliest tokens in each place, as many as were asked for."""


@runtime_checkable
class ScoresPrompts(Protocol):
    """An engine that can also say how likely a prompt is; not every `Engine` can."""

    def prompt_logprobs(self, prompt: Prompt, top: int = 0) -> PromptScores:
        """Raises PromptTooLong, or Refused where the model has no such thing (an encoder-decoder)."""
        ...


@runtime_checkable
class WritesCalls(Protocol):
    """An engine whose answers may contain calls of tools."""

    def call_form(self) -> CallForm | None:
        """How they are written in the text of an answer with `SamplingParams.special`; None where this is not known."""
        ...


@runtime_checkable
class StopsThinking(Protocol):
    """An engine that may know how to ask its model for an answer without thoughts."""

    def stops_thinking(self) -> bool:
        """Whether a Conversation that says `think=False` is asked differently, or none is asked for thoughts at all."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """An engine that can also turn texts into vectors."""

    def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[tuple[list[float], int]]:
        """(the mean of the last layer's states after the final norm, of length 1; the number of tokens) of each prompt.

        Raises PromptTooLong, or Refused where the model has no such thing."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """An engine that gives texts labels."""

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Label -> probability of each text, cut where it is too long; where labels exclude each other they
        sum to 1."""
        ...


def alone(answers: Generator[tuple[int, str | Completion]]) -> Iterator[str | Completion]:
    """The items of `Engine.stream`, from `Engine.answers` for a single answer."""
    with contextlib.closing(answers):
        for _, item in answers:
            yield item


class Engine(Protocol):
    """Generates. Thread-safe: `generate` and `stream` may be called from several threads."""

    @property
    def model_name(self) -> str:
        """The model's name in the API."""
        ...

    @property
    def policy_version(self) -> str:
        """Stamped on every completion; changes with `load_weights`."""
        ...

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and answer together."""
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the rendered prompt."""
        ...

    def token_text(self, token: int) -> str:
        """One token as text, special tokens by their name, bytes that are no whole character as \\xe4."""
        ...

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """The UTF-8 bytes that one token adds to an answer's text, maybe part of a character; none for a special token.

        `first`: the token begins the answer, where some tokenizers drop the first word's space.
        """
        ...

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """`params.n` completions for each prompt, in the order given. Raises PromptTooLong."""
        ...

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """One answer: pieces of text as they come, then the whole Completion as the last item. Closing the iterator
        cancels."""
        ...

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """`params.n` answers to one prompt as they come, the same as from `generate` with the same seed.

        Yields (answer's number, piece of text), and last for each answer (number, Completion).

        Once `cancelled` is set, all answers end soon, with the text so far. Closing the iterator cancels too.
        """
        ...

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Replace weights in place by transformers' parameter names and stamp later completions with `version`."""
        ...
