"""The `vllm` backend: an `Engine` over vLLM's own engine, the only file that knows vLLM.

Whoever waits for a result drives the steps, one driver at a time, as with the local engine.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steersman.engine.prompts import Prompts
from steersman.engine.protocol import Prompt, PromptTooLong, Refused, alone
from steersman.types import Completion, FinishReason, SamplingParams

if TYPE_CHECKING:
    import torch


@dataclass
class _Result:
    """What vLLM has told of one request; its answers by their number."""

    outputs: dict[int, Any] = field(default_factory=dict)
    finished: bool = False


class VllmEngine:
    """`options` go to vLLM's LLM class, such as tensor_parallel_size and gpu_memory_utilization."""

    def __init__(
        self, folder: str, tokenizer: Any, *, dtype: str, model_name: str, version: str, max_slots: int, **options: Any
    ) -> None:
        try:
            import vllm
        except ImportError:
            raise ValueError("backend 'vllm' needs the package vllm: pip install 'steersman[vllm]'") from None
        self._vllm, self._prompts = vllm, Prompts(tokenizer)
        # vLLM restricts a step's logits before it reports log-probabilities only where it is asked to
        options = {"max_num_seqs": max_slots, "logprobs_mode": "processed_logprobs", **options}
        self._llm = vllm.LLM(model=folder, dtype=dtype, **options)
        self._engine = self._llm.llm_engine
        self.model_name, self.policy_version = model_name, version
        self._numbers, self._lock = itertools.count(), threading.RLock()
        self._results: dict[str, _Result] = {}

    @property
    def max_context(self) -> int:
        return int(self._engine.model_config.max_model_len)

    def count_tokens(self, prompt: Prompt) -> int:
        return self._prompts.count(prompt)

    def token_text(self, token: int) -> str:
        return self._prompts.token_text(token)

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        return self._prompts.token_bytes(token, first)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """See `Engine.generate`."""
        names = self._add(prompts, params, streamed=False)
        try:
            for name in names:
                while not self._results[name].finished:
                    self._step(name)
            return [[self._completion(self._results[name].outputs[i]) for i in range(params.n)] for name in names]
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
        return self._answers(name, params.n, cancelled or threading.Event())

    def _answers(self, name: str, n: int, cancelled: threading.Event) -> Generator[tuple[int, str | Completion]]:
        sent, left, result = [""] * n, set(range(n)), self._results[name]
        try:
            while left:
                for i in sorted(left):
                    output = result.outputs.get(i)
                    ended = cancelled.is_set() or (output is not None and output.finish_reason is not None)
                    text = "" if output is None else self._whole(output) if ended else output.text.rstrip("\ufffd")
                    if len(text) > len(sent[i]) and text.startswith(sent[i]):
                        yield i, text[len(sent[i]) :]
                        sent[i] = text
                    if ended:
                        left.remove(i)
                        yield i, self._completion(output)
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
                for name, ids, how in zip(names, every, asked, strict=True):
                    self._engine.add_request(name, {"prompt_token_ids": list(ids)}, how)
                    self._results[name] = _Result()
            except ValueError as error:  # what vLLM does not take; the call's other prompts must not run on
                self._drop([name for name in names if name in self._results])
                raise Refused(str(error)) from None
        return names

    def _step(self, name: str) -> None:
        with self._lock:
            if not self._results[name].finished:  # another driver may have finished it
                for told in self._engine.step():
                    result = self._results.get(told.request_id)
                    if result is not None:
                        # a step may tell of one request several times, each time of some of its answers
                        result.outputs |= {output.index: output for output in told.outputs}
                        result.finished = told.finished

    def _drop(self, names: list[str]) -> None:
        with self._lock:
            running = [n for n in names if not self._results[n].finished]
            if running:
                self._engine.abort_request(running)
            for name in names:
                del self._results[name]

    def _whole(self, output: Any) -> str:
        """An answer's text, without a character that it was cut within."""
        text: str = output.text
        cut = text.rstrip("\ufffd")
        real = b"".join(map(self._prompts.token_bytes, output.token_ids)).endswith("\ufffd".encode())
        return text if real else cut

    def _completion(self, output: Any) -> Completion:
        """`output` is None where it was cancelled before it began."""
        if output is None:
            return Completion("", (), (), "cancelled", self.policy_version)
        told = output.finish_reason
        reason: FinishReason = "cancelled" if told is None else "length" if told == "length" else "stop"
        ids = tuple(output.token_ids)
        steps = output.logprobs or []
        chosen = tuple(float(step[token].logprob) for token, step in zip(ids, steps, strict=True))
        tops = tuple(
            tuple((token, float(entry.logprob)) for token, entry in sorted(step.items(), key=lambda item: item[1].rank))
            for step in steps
        )
        return Completion(self._whole(output), ids, chosen, reason, self.policy_version, tops)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Into vLLM's own process-wide model; needs VLLM_ALLOW_INSECURE_SERIALIZATION=1 where workers are processes."""
        pairs = list(weights)
        with self._lock:
            self._llm.apply_model(lambda model: model.load_weights(iter(pairs)))
            self._llm.reset_prefix_cache()
            self.policy_version = version


def _translated(vllm: Any, params: SamplingParams, place: int, streamed: bool) -> Any:
    """vLLM's parameters. Every prompt of a call has its own seed, as equal prompts want different answers."""
    if params.adapter is not None:
        raise Refused("sampling.adapter: the vllm backend has no adapters here; expected None")
    structured = None
    if params.json_schema is not None or params.regex is not None:
        structured = vllm.sampling_params.StructuredOutputsParams(
            json=None if params.json_schema is None else dict(params.json_schema), regex=params.regex
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
