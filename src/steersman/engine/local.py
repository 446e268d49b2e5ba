"""The local engine: continuous batching on one machine.

Requests wait in a queue; each step admits what fits (prompts are prefilled once, however many answers are asked
for), decodes one token for every active sequence and frees those that ended. There is no background thread:
whoever waits for a result drives the steps, one driver at a time, so a trainer's rollouts are deterministic and a
server's requests share batches.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from steersman.engine.decoder import Decoder
from steersman.engine.protocol import Prompt, PromptTooLong
from steersman.engine.sampling import sample
from steersman.text.template import Template
from steersman.types import Completion, Conversation, FinishReason, SamplingParams


@dataclass(eq=False)
class Sequence_:
    """One answer in the making."""

    params: SamplingParams
    max_tokens: int
    length: int
    """Prompt tokens plus generated ones; the last generated token is not in the cache yet."""
    rng: random.Random
    version: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: FinishReason | None = None
    text: str = ""
    """Set when finished; stop strings already cut."""


@dataclass(eq=False)
class Request:
    """One prompt and its n answers."""

    prompt: tuple[int, ...]
    sequences: list[Sequence_]

    @property
    def done(self) -> bool:
        return all(s.finished for s in self.sequences)


class LocalEngine:
    """An `Engine` over `Decoder`. `max_slots` sequences at most are decoded together."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Any,
        *,
        model_name: str,
        version: str = "0",
        max_slots: int = 128,
        prefill_tokens: int = 4096,
    ) -> None:
        self.decoder = decoder
        self.template = Template(tokenizer)
        self.model_name = model_name
        self.policy_version = version
        self.max_slots, self.prefill_tokens = max_slots, prefill_tokens
        ends = {self.template.end_of_turn, tokenizer.eos_token_id}
        self._ends = {e for e in ends if e is not None}
        self._lock = threading.RLock()
        self._waiting: deque[Request] = deque()
        self._active: list[Sequence_] = []

    @property
    def max_context(self) -> int:
        return self.decoder.shape.context

    def _prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, Conversation):
            return self.template.prompt_ids(prompt)
        if isinstance(prompt, str):
            start = self.template.tokenizer(prompt)["input_ids"]
            return tuple(start)
        return tuple(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._prompt_ids(prompt))

    def _request(self, prompt: Prompt, params: SamplingParams, seed: str) -> Request:
        ids = self._prompt_ids(prompt)
        room = self.max_context - len(ids)
        if not ids or room < 1:
            name = f" '{prompt.id}'" if isinstance(prompt, Conversation) and prompt.id else ""
            raise PromptTooLong(f"prompt{name}: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        if params.n > self.max_slots:
            raise ValueError(f"n: expected at most {self.max_slots}, got {params.n}")
        most = min(params.max_tokens, room)
        return Request(ids, [Sequence_(params, most, len(ids), random.Random(f"{seed}/{i}")) for i in range(params.n)])

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        seed = random.SystemRandom().random() if params.seed is None else params.seed
        requests = [self._request(p, params, f"{seed}/{i}") for i, p in enumerate(prompts)]
        with self._lock:
            # similar lengths side by side, so that prefill pads little
            self._waiting.extend(sorted(requests, key=lambda r: -len(r.prompt)))
        try:
            for request in requests:
                while not request.done:
                    with self._lock:
                        if not request.done:
                            self._step()
        except BaseException:
            self._cancel(requests)
            raise
        return [[self._completion(s) for s in r.sequences] for r in requests]

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        seed = random.SystemRandom().random() if params.seed is None else params.seed
        request = self._request(prompt, SamplingParams(**{**_fields(params), "n": 1}), f"{seed}/0")
        return self._stream(request)

    def _stream(self, request: Request) -> Iterator[str | Completion]:
        sequence = request.sequences[0]
        with self._lock:
            self._waiting.append(request)
        sent = ""
        try:
            while not sequence.finished:
                with self._lock:
                    if not sequence.finished:
                        self._step()
                ready = sequence.text if sequence.finished else self._stable_text(sequence)
                if len(ready) > len(sent) and ready.startswith(sent):
                    yield ready[len(sent) :]
                    sent = ready
            yield self._completion(sequence)
        finally:
            self._cancel([request])

    def _cancel(self, requests: Iterable[Request]) -> None:
        with self._lock:
            for request in requests:
                if request in self._waiting:
                    self._waiting.remove(request)
                for sequence in request.sequences:
                    if not sequence.finished:
                        self._finish(sequence, "cancelled")
            self._free()

    def _completion(self, sequence: Sequence_) -> Completion:
        assert sequence.finished
        return Completion(
            sequence.text, tuple(sequence.ids), tuple(sequence.logprobs), sequence.finished, sequence.version
        )

    # one step; the caller holds the lock

    def _step(self) -> None:
        self._admit()
        if self._active:
            ids = torch.tensor([s.ids[-1] for s in self._active], device=self.decoder.device)
            positions = torch.tensor([s.length - 1 for s in self._active], device=self.decoder.device)
            self._extend(self._active, self.decoder.decode(ids, positions))
            self._free()

    def _admit(self) -> None:
        """Prefill waiting prompts, in order, while slots and the token budget of a step last."""
        group: list[Request] = []
        free = self.max_slots - len(self._active)
        backlog = sum(len(r.sequences) for r in self._waiting)
        if self._active and backlog > free and free < self.max_slots // 4:
            return  # prefilling one prompt at a time, as slots trickle in, would waste most of its matrix products
        longest = 0
        while self._waiting:
            request = self._waiting[0]
            longest = max(longest, len(request.prompt))
            if len(request.sequences) > free or (group and longest * (len(group) + 1) > self.prefill_tokens):
                break
            group.append(self._waiting.popleft())
            free -= len(request.sequences)
        if not group:
            return
        needed = max(len(r.prompt) + s.max_tokens for r in group for s in r.sequences)
        answers = sum(len(r.sequences) for r in group)
        first = len(self._active)
        self.decoder.reserve(first + answers, -(-needed // 64) * 64)
        lengths = [len(r.prompt) for r in group]
        ids = torch.zeros(len(group), max(lengths), dtype=torch.long)
        for row, request in enumerate(group):
            ids[row, : lengths[row]] = torch.tensor(request.prompt)
        device = self.decoder.device
        logits = self.decoder.prefill(ids.to(device), torch.tensor(lengths, device=device), first)
        # prompt g was prefilled into slot first + g; spread it to its answers' slots, the last group first so
        # that no prompt is overwritten before it was copied
        starts = list(itertools.accumulate((len(r.sequences) for r in group), initial=first))
        for g in reversed(range(len(group))):
            for copy in range(len(group[g].sequences)):
                if starts[g] + copy != first + g:
                    self.decoder.move(first + g, starts[g] + copy, lengths[g])
        rows = [g for g, r in enumerate(group) for _ in r.sequences]
        sequences = [s for r in group for s in r.sequences]
        for sequence in sequences:
            sequence.version = self.policy_version
        self._active.extend(sequences)
        self._extend(sequences, logits[rows])
        self._free()

    def _extend(self, sequences: list[Sequence_], logits: torch.Tensor) -> None:
        """Sample one token for each sequence and see which of them end."""
        device = logits.device
        params = [s.params for s in sequences]
        ids, logprobs = sample(
            logits,
            torch.tensor([p.temperature for p in params], device=device),
            torch.tensor([p.top_k for p in params], device=device),
            torch.tensor([p.top_p for p in params], device=device),
            torch.tensor([s.rng.random() for s in sequences], device=device),
        )
        for sequence, token, logprob in zip(sequences, ids.tolist(), logprobs.tolist(), strict=True):
            if sequence.finished:
                continue
            sequence.ids.append(token)
            sequence.logprobs.append(logprob)
            sequence.length += 1
            if token in self._ends or (sequence.params.stop and self._cut(sequence) is not None):
                self._finish(sequence, "stop")
            elif len(sequence.ids) >= sequence.max_tokens:
                self._finish(sequence, "length")

    def _cut(self, sequence: Sequence_) -> str | None:
        """The text before the first stop string, if one has appeared."""
        text = self.template.decode(sequence.ids)
        places = [at for stop in sequence.params.stop if (at := text.find(stop)) >= 0]
        return text[: min(places)] if places else None

    def _finish(self, sequence: Sequence_, reason: FinishReason) -> None:
        sequence.finished = reason
        cut = self._cut(sequence) if sequence.params.stop else None
        sequence.text = self.template.decode(sequence.ids) if cut is None else cut

    def _free(self) -> None:
        """Close the gaps that finished sequences leave: the last active one moves into each."""
        slot = 0
        while slot < len(self._active):
            if not self._active[slot].finished:
                slot += 1
                continue
            last = self._active.pop()
            if slot < len(self._active):
                if not last.finished:
                    self.decoder.move(len(self._active), slot, last.length - 1)
                self._active[slot] = last

    def _stable_text(self, sequence: Sequence_) -> str:
        """Text that later tokens cannot change: no half character, no beginning of a stop string at the end."""
        text = self.template.decode(sequence.ids).rstrip("\ufffd")
        hold = 0
        for stop in sequence.params.stop:
            for size in range(1, len(stop)):
                if text.endswith(stop[:size]):
                    hold = max(hold, size)
        return text[: len(text) - hold] if hold else text

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        with self._lock:
            self.decoder.load(weights)
            self.policy_version = version


def _fields(params: SamplingParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in SamplingParams.__slots__}
