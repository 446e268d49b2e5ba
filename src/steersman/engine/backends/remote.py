"""The `openai` backend: an `Engine` over any OpenAI-compatible endpoint (vLLM, llama.cpp, Steersman, OpenAI).

An endpoint returns text: completions have no token ids and no log-probabilities, so nothing can be trained on them.
Where one was cut off by its length and ends in U+FFFD, the endpoint cut it within a character: that is left out.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from steersman.engine.backends.endpoint_request import request_of
from steersman.engine.protocol import EndpointError, Prompt, Refused, alone
from steersman.text.call_form import CallForm
from steersman.types import Completion, Conversation, FinishReason, SamplingParams

if TYPE_CHECKING:
    import torch

ATTEMPTS = 5
"""Tries of a request when the endpoint is overloaded (429, 502, 503, 504)."""
IMAGE_TOKENS = 1445
"""Tokens counted for an image: OpenAI's price at high detail (85 + 8 x 170)."""
LARGEST, LONGEST = 64 << 20, 4 << 20
"""Bytes of a reply, and of a line of a stream; anything longer is an error."""
CALLS = CallForm("json", "<tool_call>", "name", "arguments")
REASONS = {"stop", "length", "content_filter", "tool_calls", "function_call"}


class RemoteEngine:
    """`url` is the base_url of OpenAI's clients, such as http://127.0.0.1:8000/v1.

    The key goes to that host alone: a redirect is followed only within it. Replies are checked; one that is no
    complete answer raises an EndpointError that names the endpoint and the field.
    """

    takes_images = True
    """Images are sent on; the endpoint refuses them if its model does not take images."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str,
        max_context: int,
        parallel: int,
        timeout: float = 600,
        name: str = "",
    ) -> None:
        """`model`: its name there; `name`: what it is called here, where that is another."""
        self.url, self._model, self.max_context = checked(url), model, max_context
        self.model_name = name or model
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise ValueError("api_key: expected printable ASCII characters without spaces")
        self._key = api_key
        self._options: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {api_key or 'none'}"},
            "timeout": httpx.Timeout(timeout, connect=min(timeout, 10)),
            "verify": httpx.create_ssl_context(),
        }
        self._parallel = parallel
        self._version, self._lock = model, threading.Lock()
        self._counts = True
        """Whether it takes the wish for the number of tokens at a stream's end."""

    @property
    def policy_version(self) -> str:
        """The endpoint's latest `system_fingerprint`, or the model's name."""
        return self._version

    def count_tokens(self, prompt: Prompt) -> int:
        """An upper bound, since the endpoint's tokenizer is not here: a token per byte, and some around each turn."""
        if isinstance(prompt, Conversation):
            return sum(len(m.text.encode()) + 8 + len(m.images) * IMAGE_TOKENS for m in prompt.messages)
        return len(prompt.encode()) if isinstance(prompt, str) else len(prompt)

    def call_form(self) -> CallForm:
        """See `WritesCalls`: the endpoint's calls are written into the text in this form."""
        return CALLS

    def token_text(self, token: int) -> str:
        raise ValueError("the openai backend has no tokenizer; expected another backend where tokens matter")

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        raise ValueError("the openai backend has no tokenizer; expected another backend where tokens matter")

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        """See `Engine.generate`; raises Refused with the endpoint's message where it refuses the request."""
        with ThreadPoolExecutor(self._parallel, "remote") as pool:
            asked = [pool.submit(self._ask, p, _seeded(params, i)) for i, p in enumerate(prompts)]
            try:
                return [a.result() for a in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, prompt: Prompt, params: SamplingParams) -> list[Completion]:
        path, body = request_of(self._model, prompt, params)
        answer = self.post_json(path, body)
        choices = [self._choice(c) for c in self._list(answer, "choices")]
        if len(choices) != params.n:
            raise EndpointError(f"{self.url}: reply: expected {params.n} choices, got {len(choices)}")
        version, counted = self._stamp(answer), _counted(answer)
        answers: list[Completion] = []
        for choice in sorted(choices, key=lambda choice: self._index(choice)):
            holder = choice.get("message", choice)
            text = self._text(holder, "content" if "message" in choice else "text")
            text += _calls_text(self._calls({}, holder)) if params.special else ""
            reason = self._reason(choice, text)
            counted = (counted[0], 0) if answers else counted
            answers.append(Completion(_whole_text(text, reason), (), (), reason, version, counted=counted))
        return answers

    def post_json(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The endpoint's reply to any of its calls, with the retries and errors of `generate`."""
        with self._post(path, body) as reply:
            answer = self._json(_whole(reply))
        if "error" in answer:
            raise EndpointError(f"{self.url}: {_message(answer)}")
        return answer

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        """See `Engine.stream`."""
        return alone(self.answers(prompt, dataclasses.replace(params, n=1)))

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """See `Engine.answers`; closing the iterator closes the connection, which cancels at the endpoint.

        Returns when the endpoint has begun to answer; a refusal is raised here.
        """
        path, body = request_of(self._model, prompt, params)
        body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if self._counts else {})
        items = self._answers(path, body, params.n, cancelled or threading.Event())
        try:
            return _begun(next(items), items)
        except Refused as refusal:
            if "stream_options" not in body or "stream_options" not in str(refusal):
                raise
            self._counts = False
            return self.answers(prompt, params, cancelled)

    def _answers(
        self, path: str, body: Mapping[str, Any], n: int, cancelled: threading.Event
    ) -> Generator[tuple[int, str | Completion]]:
        texts, sent, done, counted = [""] * n, [0] * n, False, (0, 0)
        last: list[dict[str, Any]] = [{}] * n
        calls: list[dict[int, list[str]]] = [{} for _ in range(n)]
        with self._post(path, body) as reply:
            for data in _events(reply):
                if cancelled.is_set() or (done := data == "[DONE]"):
                    break
                chunk = self._chunk(data)
                counted = _counted(chunk) if chunk.get("usage") else counted
                for choice in (self._choice(value) for value in self._list(chunk, "choices")):
                    i = self._index(choice)
                    if not 0 <= i < n:
                        continue
                    holder = choice.get("delta", choice)
                    texts[i] += self._text(holder, "content" if "delta" in choice else "text")
                    self._calls(calls[i], holder)
                    last[i] = choice if choice.get("finish_reason") else last[i]
                    if piece := texts[i].rstrip("\ufffd")[sent[i] :]:
                        sent[i] += len(piece)
                        yield i, piece
        for i, text in enumerate(texts):
            if not (last[i] or done or cancelled.is_set()):
                raise EndpointError(f"{self.url}: the stream broke off after {len(text)} characters, without an end")
            text += _calls_text(calls[i])
            reason = self._reason(last[i], text) if last[i] else "stop" if done else "cancelled"
            if rest := (whole := _whole_text(text, reason))[sent[i] :]:
                yield i, rest
            yield i, Completion(whole, (), (), reason, self._version, counted=(counted[0], 0) if i else counted)

    def _chunk(self, data: str) -> dict[str, Any]:
        """One event of a stream."""
        chunk = self._json(data.encode())
        if "error" in chunk:
            raise EndpointError(f"{self.url}: {_message(chunk)}")
        self._stamp(chunk)
        return chunk

    def _stamp(self, reply: Mapping[str, Any]) -> str:
        version = reply.get("system_fingerprint") or reply.get("model") or self._model
        with self._lock:
            self._version = str(version)
        return str(version)

    @contextmanager
    def _post(self, path: str, body: Mapping[str, Any]) -> Iterator[httpx.Response]:
        """An open reply of status 200. EndpointError where the endpoint cannot be reached, fails or sends elsewhere."""
        url, attempt = f"{self.url}{path}", 0
        try:
            while True:
                with httpx.Client(**self._options) as client, client.stream("POST", url, json=body) as reply:
                    if reply.status_code == 200:
                        yield reply
                        return
                    attempt += 1
                    wait = self._turned_away(reply, attempt)
                    url = str(reply.next_request.url) if reply.next_request is not None else url
                time.sleep(wait)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            what = str(error) or type(error).__name__
            connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
            raise EndpointError(f"{self.url} {'broke off' if connected else 'cannot be reached'}: {what}") from None

    def _turned_away(self, reply: httpx.Response, attempt: int) -> float:
        """Seconds to wait before a retry. Raises where a retry is useless."""
        code = reply.status_code
        if reply.next_request is not None:
            there, here = reply.next_request.url, reply.request.url
            if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
                raise EndpointError(
                    f"{self.url}: sends on to {there.scheme}://{there.netloc.decode()}, which gets neither key nor "
                    "words; expected the endpoint's own url"
                )
            if code in (307, 308) and attempt < ATTEMPTS:
                return 0.0
            raise EndpointError(f"{self.url}: {code}: redirects to {there}; expected the endpoint's own url")
        said = _whole(reply)
        try:
            told = _message(json.loads(said))
        except (ValueError, RecursionError):
            told = said[:300].decode("utf-8", "replace")
        told = told.replace(self._key, "...") if self._key else told
        if code in (400, 404, 413, 422):
            raise Refused(f"{self.url}: {told}")
        after = reply.headers.get("retry-after", "")
        wait = min(30.0, float(after)) if after.isdecimal() else 0.5 * 2 ** (attempt - 1)
        if code not in (429, 502, 503, 504) or attempt == ATTEMPTS:
            raise EndpointError(f"{self.url}: {code}: {told}", wait if code in (429, 503) else None)
        return wait

    def _json(self, body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise EndpointError(f"{self.url}: reply: not JSON: {body[:200].decode('utf-8', 'replace')!r}") from None
        return self._is(value, dict, "an object", "reply")  # type: ignore[no-any-return]

    def _is(self, value: Any, kind: type, expected: str, where: str) -> Any:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise EndpointError(f"{self.url}: {where}: expected {expected}, got {str(value)[:100]!r}")
        return value

    def _list(self, reply: Mapping[str, Any], field: str) -> list[Any]:
        # a last event may count tokens and have none
        return self._is(reply.get(field, [] if "usage" in reply else None), list, "a list", field)  # type: ignore[no-any-return]

    def _choice(self, value: Any) -> dict[str, Any]:
        choice: dict[str, Any] = self._is(value, dict, "an object", "choices")
        for field in {"message", "delta"} & choice.keys():
            self._is(choice[field], dict, "an object", f"choices.{field}")
        return choice

    def _calls(self, calls: dict[int, list[str]], holder: Mapping[str, Any]) -> dict[int, list[str]]:
        """Add what a message or a piece of one has of calls: number -> [name, arguments]."""
        for place, call in enumerate(self._is(holder.get("tool_calls") or [], list, "a list", "tool_calls")):
            function = self._is(
                self._is(call, dict, "an object", "tool_calls").get("function") or {}, dict, "an object", "f"
            )
            kept = calls.setdefault(call.get("index", place), ["", ""])
            for i, field in enumerate(("name", "arguments")):
                kept[i] += self._text(function, field)
        return calls

    def _index(self, choice: Mapping[str, Any]) -> int:
        return self._is(choice.get("index", 0), int, "a number", "choices.index")  # type: ignore[no-any-return]

    def _text(self, holder: Mapping[str, Any], field: str) -> str:
        return self._is(holder.get(field) or "", str, "text", f"choices.{field}")  # type: ignore[no-any-return]

    def _reason(self, choice: Mapping[str, Any], text: str) -> FinishReason:
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or reason not in REASONS:
            raise EndpointError(
                f"{self.url}: choices.finish_reason: expected one of {', '.join(sorted(REASONS))} after {len(text)} "
                f"characters, got {str(reason)[:100]!r}"
            )
        return "length" if reason == "length" else "stop"

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        raise ValueError("the openai backend cannot replace an endpoint's weights; expected a local or vllm backend")


def _begun(
    first: tuple[int, str | Completion], rest: Generator[tuple[int, str | Completion]]
) -> Generator[tuple[int, str | Completion]]:
    with closing(rest):
        yield first
        yield from rest


def _counted(reply: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and answers; 0 where the endpoint tells no number."""
    usage = reply.get("usage")
    told = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else [0, 0]
    prompt, answer = (n if isinstance(n, int) and 0 < n < 2**31 else 0 for n in told)
    return prompt, answer


def _seeded(params: SamplingParams, place: int) -> SamplingParams:
    """Parameters with another seed for each prompt, so that equal prompts of one call get different answers."""
    return params if params.seed is None else dataclasses.replace(params, seed=params.seed + place)


def _calls_text(calls: Mapping[int, list[str]]) -> str:
    """Calls as `CALLS` has them; arguments that are no JSON stay what they are, a string."""
    return "".join(
        f"\n{CALLS.marker}\n{json.dumps({'name': name, 'arguments': arguments or '{}'})}\n</tool_call>"
        for name, arguments in calls.values()
    )


def _whole_text(text: str, reason: FinishReason) -> str:
    return text if reason == "stop" else text.rstrip("\ufffd")


def checked(url: str) -> str:
    """ValueError unless it is an address of http or https, without a name or a key in it."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"url '{url}': {error}") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"url '{url}': expected http://... or https://...")
    if parts.userinfo or parts.query or parts.fragment:
        raise ValueError(
            f"url of {parts.host}: expected no name, password, '?' or '#' in it; the key goes into api_key"
        )
    return url.rstrip("/")


def _whole(reply: httpx.Response) -> bytes:
    body = bytearray()
    for part in reply.iter_bytes():
        body += part
        if len(body) > LARGEST:
            raise EndpointError(f"{reply.url}: a reply of more than {LARGEST} bytes")
    return bytes(body)


def _events(reply: httpx.Response) -> Iterator[str]:
    """The data of server-sent events. Lines end in CR, LF or both, and in nothing else."""
    rest, size = b"", 0
    for part in reply.iter_bytes():
        size += len(part)
        if size > LARGEST or len(rest) > LONGEST:
            raise EndpointError(f"{reply.url}: a stream of more than {LARGEST} bytes, or {LONGEST} in a line")
        *lines, rest = (rest + part).replace(b"\r", b"\n").split(b"\n")
        for line in [line for line in lines if line.startswith(b"data:")]:
            yield line[5:].decode("utf-8", "replace").strip(" ")


def _message(reply: Any) -> str:
    """The message of an error reply: {"error": {"message": ...}}, or else the reply's text."""
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
