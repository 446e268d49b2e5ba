"""The `openai` backend: an `Engine` over any OpenAI-compatible endpoint (vLLM, llama.cpp, Steersman, OpenAI).

An endpoint returns text: completions have no token ids and no log-probabilities, so nothing can be trained on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from steersman.engine.protocol import Prompt, Refused
from steersman.types import Completion, Conversation, FinishReason, SamplingParams

if TYPE_CHECKING:
    import torch

ATTEMPTS = 5
"""Of a request that the endpoint was too busy for (429, 502, 503, 504)."""


class RemoteEngine:
    """`url` is what OpenAI's clients call base_url, such as http://127.0.0.1:8000/v1."""

    def __init__(
        self, url: str, model: str, *, api_key: str, max_context: int, parallel: int, timeout: float = 600
    ) -> None:
        self.url, self.model_name, self.max_context = url.rstrip("/"), model, max_context
        self._key, self._parallel, self._timeout = api_key, parallel, timeout
        self._version, self._lock = model, threading.Lock()

    @property
    def policy_version(self) -> str:
        """What the endpoint called its version last (`system_fingerprint`), or the model's name."""
        return self._version

    def count_tokens(self, prompt: Prompt) -> int:
        """An upper bound, since the endpoint's tokenizer is not here: a token per byte, and some around each turn."""
        if isinstance(prompt, Conversation):
            return sum(len(m.content.encode()) + 8 for m in prompt.messages)
        return len(prompt.encode()) if isinstance(prompt, str) else len(prompt)

    def token_text(self, token: int) -> str:
        raise ValueError("the openai backend has no tokenizer; expected another backend where tokens matter")

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """See `Engine.generate`; raises Refused with what the endpoint said where it does not take the request."""
        with ThreadPoolExecutor(self._parallel, "remote") as pool:
            asked = [pool.submit(self._ask, p, _seeded(params, i)) for i, p in enumerate(prompts)]
            try:
                return [a.result() for a in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, prompt: Prompt, params: SamplingParams) -> list[Completion]:
        path, body = _request(self.model_name, prompt, params)
        with self._post(path, body) as reply:
            answer = json.load(reply)
        version = self._stamp(answer)
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        texts = [c["message"]["content"] if "message" in c else c["text"] for c in choices]
        return [
            Completion(text or "", (), (), _reason(choice.get("finish_reason")), version)
            for text, choice in zip(texts, choices, strict=True)
        ]

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """See `Engine.stream`; closing the iterator closes the connection, which cancels at the endpoint."""
        path, body = _request(self.model_name, prompt, params)
        body |= {"stream": True, "n": 1}
        text, reason = "", None
        with self._post(path, body) as reply:
            for chunk in _events(reply):
                if "error" in chunk:
                    raise RuntimeError(f"{self.url}: {chunk['error'].get('message', chunk['error'])}")
                self._stamp(chunk)
                for choice in chunk.get("choices", ()):
                    piece = (choice["delta"].get("content") if "delta" in choice else choice.get("text")) or ""
                    reason = choice.get("finish_reason") or reason
                    if piece:
                        text += piece
                        yield piece
        yield Completion(text, (), (), _reason(reason), self._version)

    def _stamp(self, reply: Mapping[str, Any]) -> str:
        version = reply.get("system_fingerprint") or reply.get("model") or self.model_name
        with self._lock:
            self._version = str(version)
        return str(version)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """An open reply. RuntimeError where the endpoint cannot be reached or fails."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key or 'none'}"}
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        for attempt in range(ATTEMPTS):
            try:
                return urllib.request.urlopen(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                with error:
                    said = _message(error.read())
                if error.code in (400, 404, 413, 422):
                    raise Refused(f"{self.url}: {said}") from None
                if error.code not in (429, 502, 503, 504) or attempt == ATTEMPTS - 1:
                    raise RuntimeError(f"{self.url}: {error.code}: {said}") from None
            except urllib.error.URLError as error:
                raise RuntimeError(f"{self.url} cannot be reached: {error.reason}") from None
            time.sleep(0.5 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        raise ValueError("the openai backend cannot replace an endpoint's weights; expected a local or vllm backend")


def _seeded(params: SamplingParams, place: int) -> SamplingParams:
    """The same words for two equal prompts of one call would be no sample."""
    return params if params.seed is None else dataclasses.replace(params, seed=params.seed + place)


def _request(model: str, prompt: Prompt, params: SamplingParams) -> tuple[str, dict[str, Any]]:
    """(path, body). What the endpoint need not change is not named, so that strict endpoints take it."""
    body: dict[str, Any] = {"model": model, "max_tokens": params.max_tokens, "temperature": params.temperature}
    default = SamplingParams()
    for name in ("n", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed"):
        if getattr(params, name) != getattr(default, name):
            body[name] = getattr(params, name)
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    if params.stop_token_ids:
        body["stop_token_ids"] = list(params.stop_token_ids)
    if params.ignore_end:
        body["ignore_eos"] = True
    if params.json_schema is not None:
        schema = {"name": "answer", "schema": dict(params.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if params.regex is not None:
        body["regex"] = params.regex
    if params.adapter is not None:
        body["adapter"] = params.adapter
    if params.top_logprobs:
        raise Refused("sampling.top_logprobs: an endpoint names tokens by their text; expected 0 with this backend")
    if isinstance(prompt, Conversation):
        return "/chat/completions", body | {"messages": [m.to_json() for m in prompt.messages]}
    return "/completions", body | {"prompt": prompt if isinstance(prompt, str) else list(prompt)}


def _reason(told: str | None) -> FinishReason:
    return "length" if told == "length" else "stop"


def _events(reply: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of server-sent events, up to [DONE]."""
    for line in reply:
        field, _, value = line.decode("utf-8").strip().partition(":")
        if field == "data":
            if value.strip() == "[DONE]":
                return
            yield json.loads(value)


def _message(body: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["message"])
    return body[:300].decode("utf-8", "replace")
