"""The reference engine: transformers' own forward pass, one sequence at a time, for any model that generates.

Slow and plain. The local engine is tested against it, and it serves models that the local engine does not support,
such as encoder-decoders.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import random
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from steersman.engine.adjust import adjust, adjusts, bounded
from steersman.engine.grammar import Grammars
from steersman.engine.prompts import Prompted, Prompts
from steersman.engine.protocol import Prompt, PromptScores, PromptTooLong, Refused, alone
from steersman.engine.sampling import sample, top_logprobs
from steersman.engine.sequence import Answer, drawn_seed
from steersman.families.family import Beginning
from steersman.families.known import family_of
from steersman.families.rope import switch_of
from steersman.types import Completion, SamplingParams

CACHES = ("past_key_values", "cache_params", "state")
"""What models keep of the tokens before, by transformers' names; where nothing is kept, all is computed again."""


class ReferenceEngine(Prompted):
    """An `Engine` over a transformers model, causal or encoder-decoder."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        model_name: str,
        version: str,
        thinking: str = "keep",
        today: bool = True,
        ends: Collection[int] = (),
    ) -> None:
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        apart = bool(model.config.is_encoder_decoder)
        counts = any(hasattr(part, "create_position_ids_from_input_ids") for part in model.modules())  # RoBERTa: from 2
        self._places = not (apart or counts) and "position_ids" in inspect.signature(model.forward).parameters
        self._switch = switch_of([getattr(model.config, "rope_parameters", None) or {}])
        self.model, self._prompts = model, Prompts(tokenizer, self._vocabulary, thinking, today, apart, ends)
        self.model_name, self.policy_version = model_name, version
        self._grammars = Grammars(tokenizer, self._prompts.ends, self._vocabulary, self._prompts.said)
        self._lock = threading.Lock()

    @property
    def max_context(self) -> int:
        return family_of(self.model).context(self.model.config)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        return next(self.generate_parts([prompts], params))

    def generate_parts(
        self, parts: Sequence[Sequence[Prompt]], params: SamplingParams, first: int = 0
    ) -> Iterator[list[list[Completion]]]:
        """As `LocalEngine.generate_parts`."""
        params, seed = bounded(params, self._vocabulary), drawn_seed(params)
        numbers = itertools.count(first)

        def answers_to(prompt: Prompt) -> list[Answer]:
            mine = f"{seed}/{next(numbers)}"
            return [self._answer(prompt, params, f"{mine}/{j}") for j in range(params.n)]

        asked = [[answers_to(prompt) for prompt in part] for part in parts]
        for part in asked:
            for answers in part:
                begun: dict[tuple[int, ...], Beginning] = {}
                for answer in answers:
                    for _ in self._run(answer, begun):
                        pass
            yield [[a.completion() for a in answers] for answers in part]

    def prompt_logprobs(self, prompt: Prompt, top: int = 0) -> PromptScores:
        """See `ScoresPrompts`."""
        ids = self._prompts.ids(prompt)
        if getattr(self.model.config, "is_encoder_decoder", False):
            raise Refused("echo: an encoder-decoder's prompt has no log-probabilities; expected a model of a decoder")
        if len(ids) > self.max_context:
            raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context}")
        with self._lock, torch.inference_mode():
            scores = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0, :-1].float()
        sums = scores.logsumexp(dim=-1)
        chosen = scores.gather(1, torch.tensor(ids[1:], device=scores.device, dtype=torch.long)[:, None])[:, 0]
        tops = [tuple(top_logprobs(one, of, top)) for one, of in zip(scores, sums, strict=True)] if top else []
        return PromptScores(ids, tuple((chosen - sums).tolist()), tuple(tops))

    def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[tuple[list[float], int]]:
        """See `Embeds`; an encoder-decoder's are its encoder's states."""
        every = [self._prompts.ids(prompt) for prompt in prompts]
        for ids in every:
            if len(ids) > self.max_context:
                raise PromptTooLong(f"input: {len(ids)} tokens; expected 1 to {self.max_context}")
        seq2seq = getattr(self.model.config, "is_encoder_decoder", False)
        model = self.model.get_encoder() if seq2seq else self.model.base_model
        out = []
        for ids in every:
            with self._lock, torch.inference_mode():
                states = model(input_ids=torch.tensor([ids], device=self.model.device)).last_hidden_state[0]
            total = states.double().sum(0)
            out.append(((total / total.norm().clamp_min(1e-12)).tolist(), len(ids)))
        return out

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        return alone(self.answers(prompt, dataclasses.replace(params, n=1)))

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """See `Engine.answers`. Computes one token of each answer in turn."""
        params, seed = bounded(params, self._vocabulary), drawn_seed(params)
        answers = [self._answer(prompt, params, f"{seed}/0/{j}", streamed=True) for j in range(params.n)]
        return self._answers(answers, cancelled or threading.Event())

    def _answers(self, answers: list[Answer], cancelled: threading.Event) -> Generator[tuple[int, str | Completion]]:
        begun: dict[tuple[int, ...], Beginning] = {}
        runs = {i: self._run(answer, begun) for i, answer in enumerate(answers)}
        while runs:
            for i, run in list(runs.items()):
                if cancelled.is_set():
                    answers[i].finish("cancelled")
                else:
                    next(run)
                if piece := answers[i].fresh():
                    yield i, piece
                if answers[i].finished:
                    del runs[i]
                    yield i, answers[i].completion()

    def _answer(self, prompt: Prompt, params: SamplingParams, seed: str, streamed: bool = False) -> Answer:
        ids = self._prompts.ids(prompt)
        room = family_of(self.model).room(self.model.config, len(ids))
        if len(ids) >= self.max_context:
            raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        if params.adapter is not None:
            raise Refused("sampling.adapter: the reference backend has no adapters; expected None")
        grammar = self._grammars.of(params)
        most = min(params.max_tokens, room)
        growing = self._prompts.growing(params.special, prompt)
        return Answer(ids, params, most, random.Random(seed), growing, grammar, streamed)

    def _run(self, answer: Answer, begun: dict[tuple[int, ...], Beginning]) -> Iterator[None]:
        """One token per iteration, until the answer is finished. `begun`: the state shared by answers to one prompt."""
        answer.version = self.policy_version
        with self._lock, torch.inference_mode():
            if answer.prompt not in begun:
                prompt = torch.tensor([answer.prompt], device=self.model.device)
                begun[answer.prompt] = family_of(self.model).begin(self.model, prompt)
            start = begun[answer.prompt]
        whole, fresh = start.ids, start.ids
        kept: dict[str, Any] = {}
        while not answer.finished:
            if whole.shape[1] == self._switch + 1:
                fresh, kept = whole, {}
            with self._lock, torch.inference_mode():
                if self._places:  # some models count from 0 in every pass that is not told where it is (Bamba)
                    kept["position_ids"] = torch.arange(whole.shape[1], device=whole.device)[None, -fresh.shape[1] :]
                result = self.model(**{start.name: fresh}, **start.given, **kept, use_cache=True)
                kept = {name: result[name] for name in CACHES if result.get(name) is not None}
                token = self._choose(answer, result.logits[:, -1])
            last = torch.tensor([[token]], device=self.model.device)
            whole = torch.cat([whole, last], 1)
            fresh = last if kept else whole
            yield

    def _choose(self, answer: Answer, logits: Tensor) -> int:
        """Sample from logits [1, vocab] and hand the token to the answer."""
        params = answer.params
        if adjusts(params):
            logits = logits.float().clone()
            allowed = answer.grammar.allowed(logits.shape[1], logits.device) if answer.grammar is not None else None
            adjust(logits[0], params, answer.prompt, answer.ids, allowed)
        one = torch.ones(1, device=logits.device)
        chosen, logprob, (scores, logsumexp) = sample(
            logits,
            one * params.temperature,
            one.long() * params.top_k,
            one * params.top_p,
            one * answer.rng.random(),
            one * params.min_p,
        )
        token = int(chosen)
        if params.top_logprobs:
            answer.tops.append(tuple(top_logprobs(scores[0], logsumexp[0], params.top_logprobs)))
        answer.take(token, float(logprob), self._prompts.ends)
        if answer.grammar is not None and not answer.finished:
            answer.grammar.accept(token)
        return token

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """See `Engine.load_weights`. ValueError where the model has no weight of a name."""
        with self._lock:
            unknown = self.model.load_state_dict(dict(weights), strict=False).unexpected_keys
            if unknown:
                raise ValueError(f"unknown weight '{unknown[0]}'")
            self.policy_version = version
