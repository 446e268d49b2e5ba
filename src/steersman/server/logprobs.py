"""Log-probabilities in OpenAI's JSON: megabytes, where alternatives to each token of several answers are asked for.

Written token by token, in a thread: whatever json writes in one call holds Python's lock until it is done, and with it
the event loop and everybody's streams.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from steersman.engine.protocol import Engine
from steersman.types import Completion


def logprobs_json(engine: Engine, completion: Completion) -> str:
    """Every token of the text with its log-probability under the distribution that it was sampled from, and the
    likeliest ones. Together the tokens' bytes are the text: what was cut from its end is left out."""

    @functools.cache
    def named(token: int, part: bytes) -> str:
        return json.dumps({"token": engine.token_text(token), "bytes": list(part)})[:-1]

    def shown(token: int, logprob: float, part: bytes) -> str:
        return f'{named(token, part)},"logprob":{json.dumps(logprob)}'

    tops = completion.top_logprobs or ((),) * len(completion.token_ids)
    content, began, left = [], False, len(completion.text.encode("utf-8", "replace"))
    for token, logprob, top in zip(completion.token_ids, completion.logprobs, tops, strict=True):
        part = engine.token_bytes(token, first=not began)
        if part and left <= 0:
            break
        others = ",".join(f"{shown(other, p, engine.token_bytes(other, first=not began))}}}" for other, p in top)
        content.append(f'{shown(token, logprob, part[:left])},"top_logprobs":[{others}]}}')
        began, left = began or bool(part), left - len(part)
    return f'{{"content":[{",".join(content)}],"refusal":null}}'


def with_raw(value: Mapping[str, Any], **raw: str) -> str:
    """`value`, an object that is not empty, as JSON, with further members that are JSON already."""
    members = "".join(f',"{name}":{text}' for name, text in raw.items())
    return f"{json.dumps(value, separators=(',', ':'))[:-1]}{members}}}"
