"""The local engine: continuous batching on one machine.

One thread runs the scheduler's steps (`driver.py`), over the requests of all callers, so that a server's requests
share batches. One call's prompts are queued together, so that a trainer's rollouts are deterministic.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman.engine.adjust import bounded
from steersman.engine.backends.local.adapters import load_adapter
from steersman.engine.backends.local.driver import Driver, release_cores
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.backends.local.prefixes import Prefixes
from steersman.engine.backends.local.prompt_scores import mean_state, prompt_scores
from steersman.engine.backends.local.scheduler import Scheduler
from steersman.engine.backends.local.working import CHUNK_TOKENS, PREFILL_TOKENS, working_bytes
from steersman.engine.choices import Choice
from steersman.engine.grammar import Grammar, Grammars
from steersman.engine.prompts import Prompted, Prompts
from steersman.engine.protocol import DoesNotFit, Prompt, PromptScores, PromptTooLong, Refused, alone, party
from steersman.engine.room import Room
from steersman.engine.sequence import Answer, Request, drawn_seed
from steersman.engine.serving import Serving
from steersman.text.template import Template
from steersman.types import Completion, Conversation, SamplingParams

PIECE_SECONDS = 0.03
"""Seconds between pieces of a stream, at least: each piece wakes its reader, which takes a core from the step."""
PIECES = 500
"""Most pieces per second of all streams together."""


def _over(faults: list[Exception], left: list[Request]) -> bool:
    """Whether all requests ended, or one failed. Called after each step: pops finished requests off `left`."""
    if faults:
        return True
    while left and left[-1].done:
        left.pop()
    return not left


@dataclass(frozen=True)
class _Call:
    """Shared by the answers of one call: their parameters, the grammar they begin with, and errors."""

    params: SamplingParams
    grammar: Grammar | Choice | None
    faults: list[Exception]


class LocalEngine(Prompted):
    """An `Engine` over `Decoder`.

    `reuse` says which finished sequences stay cached for prompts with the same beginning: 'streams' (dialogues without
    a seed: the default), 'all', or 'off'. Reuse changes the last digits in bfloat16, depending on earlier requests;
    by default `generate` and seeded requests are not affected.

    In bfloat16 the last digits of a prompt's states depend on the chunks it is prefilled in and on the prompts
    prefilled with it where PyTorch computes; by our kernels on neither. With `independent` every prompt is prefilled
    alone, in chunks of one size, so that (with `reuse` off) a sequence's result is the same to the bit in any batch, at
    the price of slower prefill and, without matrix tiles, of slower decoding of few sequences.
    """

    def __init__(self, decoder: Decoder, tokenizer: Any, serving: Serving) -> None:
        self.decoder = decoder
        size = decoder.shape.vocabulary
        self._prompts = Prompts(tokenizer, size, serving.thinking, serving.today, ends=serving.ends)
        self.model_name, self.reuse, self.max_slots = serving.name, serving.reuse, serving.max_slots
        self._grammars = Grammars(tokenizer, self._prompts.ends, decoder.shape.vocabulary, self._prompts.said)
        self.prefixes = Prefixes(decoder.cache.budget // 4)
        self.scheduler = Scheduler(
            decoder,
            self._prompts.ends,
            self.prefixes,
            max_slots=serving.max_slots,
            prefill_tokens=PREFILL_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            independent=serving.independent,
        )
        self.scheduler.version = serving.version
        if serving.independent and decoder.native is not None:
            decoder.native.use_one_kind()
        self._driver = Driver(self.scheduler)
        self._asked: list[Request] = []
        release_cores()

    @property
    def template(self) -> Template:
        """How conversations are rendered. ValueError where the tokenizer has no chat template."""
        if self._prompts.template is None:
            raise ValueError("the tokenizer has no chat template; this model was never taught to chat")
        return self._prompts.template

    @property
    def max_context(self) -> int:
        return self.decoder.shape.context

    @property
    def kernel(self) -> str:
        """What computes steps of few sequences: 'native' (step.c), 'graphs' (captured on a GPU) or 'torch'."""
        if self.decoder.native is not None:
            return "native"
        return "torch" if self.decoder.graphs is None else "graphs"

    @property
    def room(self) -> Room:
        """What its cache holds."""
        cache = self.decoder.cache
        working = working_bytes(cache.shape, cache.dtype, cache.device, cache.int8)
        return Room(cache.token_bytes, cache.budget, self.max_context, self.max_slots, cache.int8, working)

    @property
    def policy_version(self) -> str:
        return self.scheduler.version

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams, first: int = 0) -> list[list[Completion]]:
        """See `Engine.generate`. Raises DoesNotFit where the answers' cache passes the memory budget.

        `first`: the first prompt's number, where several engines share one call's prompts and its seed.
        """
        (answers,) = self.generate_parts([prompts], params, first)
        return answers

    def generate_parts(
        self, parts: Sequence[Sequence[Prompt]], params: SamplingParams, first: int = 0
    ) -> Iterator[list[list[Completion]]]:
        """As `generate` of all prompts, part by part: a part is yielded once it and all earlier parts are answered, so
        that the caller works on it while the others are answered. The answers are the same as from `generate`.
        """
        seed, numbers = drawn_seed(params), itertools.count(first)
        call = self._call(params)
        asked = [[self._request(p, call, f"{seed}/{next(numbers)}", streamed=False) for p in part] for part in parts]
        # similar lengths side by side, so that prefill pads little
        queue = [r for requests in asked for r in sorted(requests, key=lambda r: -len(r.prompt))]
        self._asked = queue
        try:
            run = self._driver.add(queue)
            for requests in asked:
                release_cores()  # the caller's computing between parts has started OpenMP threads
                left = list(reversed(requests))
                self._driver.wait(run, functools.partial(_over, call.faults, left))
                if call.faults:
                    raise call.faults[0]
                yield [[a.completion() for a in r.answers] for r in requests]
        finally:
            self._asked = []
            if not all(r.done for r in queue):
                self._driver.cancel(a for r in queue for a in r.answers)

    def answered(self) -> int:
        """Number of prompts answered so far in the running call of `generate`; any thread may call this."""
        return sum(r.done for r in self._asked)

    def prompt_logprobs(self, prompt: Prompt, top: int = 0) -> PromptScores:
        """See `ScoresPrompts`; one prompt at a time, between the steps of running answers."""
        ids = self._prompts.ids(prompt)
        if len(ids) > self.max_context:
            raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context}")
        return prompt_scores(self.decoder, self._driver, ids, top)

    def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[tuple[list[float], int]]:
        """See `Embeds`."""
        every = [self._prompts.ids(prompt) for prompt in prompts]
        for ids in every:
            if len(ids) > self.max_context:
                raise PromptTooLong(f"input: {len(ids)} tokens; expected 1 to {self.max_context}")
        return [(mean_state(self.decoder, self._driver, ids), len(ids)) for ids in every]

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return tuple(self.scheduler.adapters)

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """See `Engine.stream`."""
        return alone(self.answers(prompt, dataclasses.replace(params, n=1)))

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """See `Engine.answers`."""
        request = self._request(prompt, self._call(params), f"{drawn_seed(params)}/0", streamed=True)
        return self._answers(request, cancelled or threading.Event())

    def _answers(self, request: Request, cancelled: threading.Event) -> Generator[tuple[int, str | Completion]]:
        left, read, due = dict(enumerate(request.answers)), [0] * len(request.answers), 0.0

        def has_more() -> bool:
            if cancelled.is_set() or any(a.finished for a in left.values()):
                return True
            return time.monotonic() >= due and any(len(a.ids) > read[i] for i, a in left.items())

        try:
            run = self._driver.add([request])
            while left:
                self._driver.wait(run, has_more)
                if cancelled.is_set():
                    self._driver.cancel(request.answers)
                due = time.monotonic() + max(PIECE_SECONDS, len(self.scheduler.active) / PIECES)
                for i, answer in list(left.items()):
                    finished, read[i] = answer.finished, len(answer.ids)
                    if piece := answer.fresh():
                        yield i, piece
                    if finished:
                        del left[i]
                        yield i, answer.completion()
        finally:
            if left:  # or nothing is to be freed, and a step need not be waited for
                self._driver.cancel(request.answers)

    def _call(self, params: SamplingParams) -> _Call:
        """The state shared by one call's answers. Raises Refused for parameters that cannot be followed."""
        if params.n > self.max_slots:
            raise Refused(f"n: expected at most {self.max_slots}, got {params.n}")
        if params.adapter is not None and params.adapter not in self.scheduler.adapters:
            known = ", ".join(sorted(self.scheduler.adapters)) or "none is loaded"
            raise Refused(f"sampling.adapter: expected one of those loaded ({known}), got '{params.adapter}'")
        params = bounded(params, self.decoder.shape.vocabulary)
        return _Call(params, self._grammars.of(params), [])

    def _request(self, prompt: Prompt, call: _Call, seed: str, *, streamed: bool) -> Request:
        ids, params = self._prompts.ids(prompt), call.params
        room = self.max_context - len(ids)
        name = f" '{prompt.id}'" if isinstance(prompt, Conversation) and prompt.id else ""
        if room < 1:
            raise PromptTooLong(f"prompt{name}: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        most = min(params.max_tokens, room)
        cache = self.decoder.cache
        if not cache.fits(params.n, len(ids) + most):
            needed = params.n * (len(ids) + most) * cache.token_bytes
            raise DoesNotFit(
                f"prompt{name}: {params.n} x {len(ids) + most} tokens of keys and values need {needed >> 20} MiB; the "
                f"budget is {cache.budget >> 20} MiB. Expected a shorter prompt, fewer max_tokens or a larger cache_mib"
            )
        kept = self.reuse == "all" or (self.reuse == "streams" and streamed)
        answers = [
            Answer(
                ids,
                params,
                most,
                random.Random(f"{seed}/{i}"),
                self._prompts.growing(params.special, prompt),
                call.grammar and call.grammar.copy(),
                streamed,
                keep=kept and i == 0,
                faults=call.faults,
            )
            for i in range(params.n)
        ]
        # a kept cache changes the last digits: with a seed, an answer must not depend on earlier requests
        return Request(ids, answers, kept and (params.seed is None or self.reuse == "all"), party.get())

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Replace weights between two steps; running sequences use the new ones but keep their old version."""
        with self._driver.between_steps():
            self.decoder.load(weights)
            self.prefixes.clear()
            if self.scheduler.partial is not None:
                self.scheduler.partial.done = 0  # nothing was said yet: its prompt is read again
            for answer in self.scheduler.active:
                answer.keep = answer.lends = False  # its keys and values are the old weights'
            self.scheduler.version = version

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Read a LoRA folder that peft wrote; `SamplingParams(adapter=name)` then uses it. The base is not copied."""
        adapter = load_adapter(Path(folder), self.decoder.shape, self.decoder.dtype, self.decoder.device)
        with self._driver.between_steps():
            if self.scheduler.uses(name):
                raise ValueError(f"adapter '{name}' is in use; expected a new name, or no answers in the making")
            self.scheduler.adapters[name] = adapter
            self.prefixes.clear()

    def unload_adapter(self, name: str) -> None:
        with self._driver.between_steps():
            if self.scheduler.uses(name):
                raise ValueError(f"adapter '{name}' is in use")
            self.scheduler.adapters.pop(name, None)
            self.prefixes.clear()
