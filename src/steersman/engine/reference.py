"""The reference engine: transformers' own forward pass, one sequence at a time, for any decoder.

Slow and plain. It is what the local engine is tested against, and what serves models that the local one does
not compute.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from steersman.engine.protocol import Prompt, PromptTooLong
from steersman.engine.sampling import sample
from steersman.text.template import Template
from steersman.types import Completion, Conversation, FinishReason, SamplingParams


class ReferenceEngine:
    """An `Engine` over a transformers causal model."""

    def __init__(self, model: Any, tokenizer: Any, *, model_name: str, version: str) -> None:
        self.model, self.template = model, Template(tokenizer)
        self.model_name, self.policy_version = model_name, version
        self._lock = threading.Lock()

    @property
    def max_context(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def _prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, Conversation):
            return self.template.prompt_ids(prompt)
        return tuple(self.template.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else tuple(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._prompt_ids(prompt))

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        seed = random.SystemRandom().random() if params.seed is None else params.seed
        results: list[list[Completion]] = []
        for i, prompt in enumerate(prompts):
            ids = self._prompt_ids(prompt)
            answers = [list(self._one(ids, params, f"{seed}/{i}/{j}"))[-1] for j in range(params.n)]
            results.append([a for a in answers if isinstance(a, Completion)])
        return results

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        seed = random.SystemRandom().random() if params.seed is None else params.seed
        return self._one(self._prompt_ids(prompt), params, f"{seed}/0/0")

    def _one(self, ids: tuple[int, ...], params: SamplingParams, seed: str) -> Iterator[str | Completion]:
        room = self.max_context - len(ids)
        if not ids or room < 1:
            raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        rng, cache = random.Random(seed), None
        out: list[int] = []
        logprobs: list[float] = []
        fresh = torch.tensor([ids], device=self.model.device)
        version, text, reason = self.policy_version, "", "length"
        for _ in range(min(params.max_tokens, room)):
            with self._lock, torch.inference_mode():
                result = self.model(fresh, past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                one = torch.ones(1, device=fresh.device)
                chosen, logprob = sample(
                    result.logits[:, -1],
                    one * params.temperature,
                    one.long() * params.top_k,
                    one * params.top_p,
                    one * rng.random(),
                )
            fresh = chosen[:, None]
            out.append(int(chosen))
            logprobs.append(float(logprob))
            if out[-1] in (self.template.end_of_turn, self.template.tokenizer.eos_token_id):
                reason = "stop"
                break
            whole = self.template.decode(out)
            places = [at for stop in params.stop if (at := whole.find(stop)) >= 0]
            if places:
                whole, reason = whole[: min(places)], "stop"
            ready = whole.rstrip("\ufffd")
            if ready.startswith(text) and len(ready) > len(text):
                yield ready[len(text) :]
                text = ready
            if reason == "stop":
                break
        final: FinishReason = "stop" if reason == "stop" else "length"
        yield Completion(text, tuple(out), tuple(logprobs), final, version)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        with self._lock:
            self.model.load_state_dict(dict(weights), strict=False)
            self.policy_version = version
