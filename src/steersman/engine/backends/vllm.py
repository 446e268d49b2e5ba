"""The `vllm` backend: an `Engine` over vLLM's own engine, the only file that knows vLLM.

A caller that waits for a result runs the steps, one caller at a time.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steersman import installed
from steersman.engine.choices import regex_of
from steersman.engine.prompts import Prompted, Prompts
from steersman.engine.protocol import Prompt, PromptTooLong, Refused, alone
from steersman.engine.sequence import Answer
from steersman.types import Completion, SamplingParams

if TYPE_CHECKING:
    import torch


@dataclass
class _Asked:
    """The answers to one request, and whether vLLM has finished all of them."""

    answers: list[Answer]
    finished: bool = False


class VllmEngine(Prompted):
    """`options` go to vLLM's LLM class, such as tensor_parallel_size and gpu_memory_utilization."""

    def __init__(
        self,
        folder: str,
        tokenizer: Any,
        *,
        dtype: str,
        model_name: str,
        version: str,
        max_slots: int,
        thinking: str = "keep",
        today: bool = True,
        **options: Any,
    ) -> None:
        try:
            import vllm
        except ImportError:
            raise ValueError(f"backend 'vllm' needs the package vllm: {installed.command('vllm')}") from None
        self._vllm, self._prompts = vllm, Prompts(tokenizer, thinking=thinking, today=today)
        # vLLM restricts a step's logits before it reports log-probabilities only where it is asked to
        options = {"max_num_seqs": max_slots, "logprobs_mode": "processed_logprobs", **options}
        self._llm = vllm.LLM(model=folder, dtype=dtype, **options)
        self._engine = self._llm.llm_engine
        self.model_name, self.policy_version = model_name, version
        self._numbers, self._lock = itertools.count(), threading.RLock()
        self._asked: dict[str, _Asked] = {}

    @property
    def max_context(self) -> int:
        return int(self._engine.model_config.max_model_len)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """See `Engine.generate`."""
        names = self._add(prompts, params, streamed=False)
        try:
            for name in names:
                while not self._asked[name].finished:
                    self._step(name)
            return [[answer.completion() for answer in self._asked[name].answers] for name in names]
        finally:
            self._drop(names)

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """See `Engine.stream`."""
        return alone(self.answers(prompt, dataclasses.replace(params, n=1)))

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """See `Engine.answers`."""
        (name,) = self._add([prompt], params, streamed=True)
        return self._answers(name, cancelled or threading.Event())

    def _answers(self, name: str, cancelled: threading.Event) -> Generator[tuple[int, str | Completion]]:
        left = dict(enumerate(self._asked[name].answers))
        try:
            while left:
                for i, answer in list(left.items()):
                    if cancelled.is_set() and not answer.finished:
                        answer.finish("cancelled")
                    finished = answer.finished
                    if piece := answer.fresh():
                        yield i, piece
                    if finished:
                        del left[i]
                        yield i, answer.completion()
                if left:
                    self._step(name)
        finally:
            self._drop([name])

    def _add(self, prompts: Sequence[Prompt], params: SamplingParams, *, streamed: bool) -> list[str]:
        every = [self._prompts.ids(p) for p in prompts]
        for ids in every:
            if len(ids) >= self.max_context:
                raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        names = [f"steersman-{next(self._numbers)}" for _ in every]
        asked = [_translated(self._vllm, params, place, streamed) for place in range(len(every))]
        with self._lock:
            try:
                for name, prompt, ids, how in zip(names, prompts, every, asked, strict=True):
                    self._engine.add_request(name, {"prompt_token_ids": list(ids)}, how)
                    self._asked[name] = _Asked([self._answer(prompt, ids, params) for _ in range(params.n)])
            except ValueError as error:  # vLLM refused a prompt; the call's other prompts must not run on
                self._drop([name for name in names if name in self._asked])
                raise Refused(str(error)) from None
        return names

    def _answer(self, prompt: Prompt, ids: tuple[int, ...], params: SamplingParams) -> Answer:
        """An answer that turns vLLM's tokens into text, the same way as the local engine."""
        growing = self._prompts.growing(params.special, prompt)
        answer = Answer(ids, params, params.max_tokens, random.Random(), growing)
        answer.version = self.policy_version
        return answer

    def _step(self, name: str) -> None:
        with self._lock:
            if not self._asked[name].finished:  # another driver may have finished it
                for told in self._engine.step():
                    asked = self._asked.get(told.request_id)
                    if asked is not None:
                        # a step may report one request several times, each time with some of its answers
                        for output in told.outputs:
                            self._read(asked.answers[output.index], output)
                        asked.finished = told.finished

    def _read(self, answer: Answer, output: Any) -> None:
        """Take in an answer's new tokens."""
        steps = output.logprobs or []
        for at in range(len(answer.ids), len(output.token_ids)):
            if answer.finished:
                return
            token, step = output.token_ids[at], steps[at]
            ranked = sorted(step.items(), key=lambda item: item[1].rank)
            answer.tops.append(tuple((other, float(entry.logprob)) for other, entry in ranked))
            answer.take(token, float(step[token].logprob), self._prompts.ends)
        if output.finish_reason is not None and not answer.finished:
            answer.finish("length" if output.finish_reason == "length" else "stop")

    def _drop(self, names: list[str]) -> None:
        with self._lock:
            running = [n for n in names if not self._asked[n].finished]
            if running:
                self._engine.abort_request(running)
            for name in names:
                del self._asked[name]

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Load into vLLM's process-wide model; worker processes need VLLM_ALLOW_INSECURE_SERIALIZATION=1."""
        pairs = list(weights)
        with self._lock:
            self._llm.apply_model(lambda model: model.load_weights(iter(pairs)))
            self._llm.reset_prefix_cache()
            self.policy_version = version


def _translated(vllm: Any, params: SamplingParams, place: int, streamed: bool) -> Any:
    """vLLM's parameters. Every prompt of a call has its own seed, so that equal prompts get different answers."""
    if params.adapter is not None:
        raise Refused("sampling.adapter: the vllm backend has no adapters here; expected None")
    structured = None
    if params.json_schema is not None or regex_of(params) is not None:
        structured = vllm.sampling_params.StructuredOutputsParams(
            json=None if params.json_schema is None else dict(params.json_schema), regex=regex_of(params)
        )
    kinds = vllm.sampling_params.RequestOutputKind
    return vllm.SamplingParams(
        n=params.n,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_k=min(params.top_k, 2**31 - 1),
        top_p=params.top_p,
        min_p=params.min_p,
        seed=None if params.seed is None else (params.seed + place) % 2**63,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=dict(params.logit_bias) or None,
        logprobs=params.top_logprobs,
        ignore_eos=params.ignore_end,
        structured_outputs=structured,
        output_kind=kinds.CUMULATIVE if streamed else kinds.FINAL_ONLY,
    )
