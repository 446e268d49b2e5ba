"""The `vllm` backend: an `Engine` over vLLM's own engine, the only file that knows vLLM.

Whoever waits for a result drives the steps, one driver at a time, as with the local engine.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steersman.engine.prompts import Prompts
from steersman.engine.protocol import Prompt, PromptTooLong, Refused
from steersman.types import Completion, FinishReason, SamplingParams

if TYPE_CHECKING:
    import torch


class VllmEngine:
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
        **options: Any,
    ) -> None:
        try:
            import vllm
        except ImportError:
            raise ValueError("backend 'vllm' needs the package vllm: pip install 'steersman[vllm]'") from None
        self._vllm, self._prompts = vllm, Prompts(tokenizer, thinking)
        # vLLM restricts a step's logits before it reports log-probabilities only where it is asked to
        options = {"max_num_seqs": max_slots, "logprobs_mode": "processed_logprobs", **options}
        self._llm = vllm.LLM(model=folder, dtype=dtype, **options)
        self._engine = self._llm.llm_engine
        self.model_name, self.policy_version = model_name, version
        self._numbers, self._lock = itertools.count(), threading.RLock()
        self._results: dict[str, Any] = {}

    @property
    def max_context(self) -> int:
        return int(self._engine.model_config.max_model_len)

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._prompts.ids(prompt))

    def token_text(self, token: int) -> str:
        return self._prompts.token_text(token)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """See `Engine.generate`."""
        names = self._add(prompts, params)
        try:
            return [[self._completion(o) for o in self._finished(name).outputs] for name in names]
        finally:
            self._drop(names)

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """See `Engine.stream`."""
        names = self._add([prompt], dataclasses.replace(params, n=1))
        return self._stream(names)

    def _stream(self, names: list[str]) -> Iterator[str | Completion]:
        sent = ""
        try:
            while True:
                result = self._results.get(names[0])
                if result is not None:
                    text = result.outputs[0].text
                    ready = text if result.finished else text.rstrip("\ufffd")
                    if len(ready) > len(sent) and ready.startswith(sent):
                        yield ready[len(sent) :]
                        sent = ready
                    if result.finished:
                        yield self._completion(result.outputs[0])
                        return
                self._step(names[0])
        finally:
            self._drop(names)

    def _add(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[str]:
        every = [self._prompts.ids(p) for p in prompts]
        for ids in every:
            if not 0 < len(ids) < self.max_context:
                raise PromptTooLong(f"prompt: {len(ids)} tokens; expected 1 to {self.max_context - 1}")
        names = [f"steersman-{next(self._numbers)}" for _ in every]
        with self._lock:
            for place, (name, ids) in enumerate(zip(names, every, strict=True)):
                given = {"prompt_token_ids": list(ids)}
                self._engine.add_request(name, given, _translated(self._vllm, params, place))
        return names

    def _finished(self, name: str) -> Any:
        while (result := self._results.get(name)) is None or not result.finished:
            self._step(name)
        return result

    def _step(self, name: str) -> None:
        with self._lock:
            result = self._results.get(name)
            if result is None or not result.finished:  # another driver may have finished it
                for output in self._engine.step():
                    self._results[output.request_id] = output

    def _drop(self, names: list[str]) -> None:
        with self._lock:
            running = [n for n in names if n not in self._results or not self._results[n].finished]
            if running:
                self._engine.abort_request(running)
            for name in names:
                self._results.pop(name, None)

    def _completion(self, output: Any) -> Completion:
        reason: FinishReason = "length" if output.finish_reason == "length" else "stop"
        ids = tuple(output.token_ids)
        steps = output.logprobs or []
        chosen = tuple(float(step[token].logprob) for token, step in zip(ids, steps, strict=True))
        tops = tuple(
            tuple((token, float(entry.logprob)) for token, entry in sorted(step.items(), key=lambda item: item[1].rank))
            for step in steps
        )
        return Completion(output.text, ids, chosen, reason, self.policy_version, tops)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Into vLLM's own process-wide model; needs VLLM_ALLOW_INSECURE_SERIALIZATION=1 where workers are processes."""
        pairs = list(weights)
        with self._lock:
            self._llm.apply_model(lambda model: model.load_weights(iter(pairs)))
            self._llm.reset_prefix_cache()
            self.policy_version = version


def _translated(vllm: Any, params: SamplingParams, place: int) -> Any:
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
        top_k=params.top_k,
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
        # of several answers it reports them one by one as they grow, and all together only at the end
        output_kind=kinds.CUMULATIVE if params.n == 1 else kinds.FINAL_ONLY,
    )
