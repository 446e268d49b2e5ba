"""Log-probabilities in OpenAI's JSON: megabytes, where alternatives to each token of several answers are asked for.

Written token by token, in a thread: a single call of json would hold Python's lock throughout, and so block the event
loop and all streams.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.engine.protocol import Engine
from steersman.parts import ToolCall
from steersman.server.errors import ApiError
from steersman.types import Completion


def check_tokens(engine: Engine) -> None:
    """Refuse log-probabilities where the engine is a remote endpoint without tokens."""
    try:
        engine.token_text(0)
    except ValueError as error:
        raise ApiError(400, f"logprobs: {error}", param="logprobs") from None


def logprobs_json(engine: Engine, completion: Completion) -> str:
    """Of the whole answer, as chats tell them."""
    return f'{{"content":{tokens_json(engine, completion, completion.text)},"refusal":null}}'


def tokens_json(engine: Engine, completion: Completion, text: str) -> str:
    """Every token of `text`, which the answer has, with its log-probability under the distribution that it was sampled
    from, and the likeliest ones. Together the tokens' bytes are the text: what was cut from its end is left out."""
    return Told(engine, completion).json(text)


class Told:
    """An answer's tokens, told text by text, in their order."""

    def __init__(self, engine: Engine, completion: Completion) -> None:
        self._engine, self._completion = engine, completion
        self._parts: list[bytes] = []
        for token in completion.token_ids:
            self._parts.append(engine.token_bytes(token, first=not any(self._parts)))
        self._said = b"".join(self._parts)
        self._after = 0 if self._begins(completion.text) else max(0, self._said.rfind(_bytes(completion.text)))

    def _begins(self, text: str) -> bool:
        return self._said.startswith(_bytes(text))

    def passed(self, call: ToolCall) -> None:
        """What is told next comes after this call."""
        for text in (call.name, call.arguments):
            at = self._said.find(_bytes(text), self._after)
            self._after = at + len(_bytes(text)) if at >= 0 else self._after

    def json(self, text: str, last: bool = True) -> str:
        """See `tokens_json`. `last`: nothing of the answer comes after this text."""
        engine, completion, parts = self._engine, self._completion, self._parts

        @functools.cache
        def named(token: int, part: bytes) -> str:
            return json.dumps({"token": engine.token_text(token), "bytes": list(part)})[:-1]

        def shown(token: int, logprob: float, part: bytes) -> str:
            return f'{named(token, part)},"logprob":{json.dumps(logprob)}'

        tops = completion.top_logprobs or ((),) * len(completion.token_ids)
        begins = next((at for at, part in enumerate(parts) if part), len(parts))
        content = []
        for at, part in self._of_text(_bytes(text), last):
            each = ((other, p, engine.token_bytes(other, first=at <= begins)) for other, p in tops[at])
            others = ",".join(f"{shown(*one)}}}" for one in each)
            told = shown(completion.token_ids[at], completion.logprobs[at], part)
            content.append(f'{told},"top_logprobs":[{others}]}}')
        return f"[{','.join(content)}]"

    def _of_text(self, text: bytes, last: bool) -> Iterator[tuple[int, bytes]]:
        """(place, bytes) of the tokens that the text is made of, without thoughts before it and what was cut from its
        end; of all further tokens where the text is not found in their bytes, since some are invalid UTF-8."""
        said, begin = self._said, self._after
        if not said.startswith(text, begin):
            begin = said.rfind(text, begin) if last else said.find(text, begin)
        begin, end = (begin, begin + len(text)) if begin >= 0 else (self._after, len(said))
        self._after, at = end, 0
        for place, part in enumerate(self._parts):
            inside = part[max(0, begin - at) : max(0, end - at)]
            if inside or (not part and begin <= at <= end):
                yield place, inside
            at += len(part)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def with_raw(value: Mapping[str, Any], **raw: str) -> str:
    """`value`, an object that is not empty, as JSON, with further members that are serialised already."""
    members = "".join(f',"{name}":{text}' for name, text in raw.items())
    return f"{json.dumps(value, separators=(',', ':'))[:-1]}{members}}}"
