"""Log-probabilities in OpenAI's JSON: megabytes, where alternatives to each token of several answers are asked for.

Written token by token, in a thread: whatever json writes in one call holds Python's lock until it is done, and with it
the event loop and everybody's streams.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.engine.protocol import Engine
from steersman.types import Completion


def logprobs_json(engine: Engine, completion: Completion) -> str:
    """Every token with its log-probability under the distribution that it was sampled from, and the likeliest ones."""

    @functools.cache
    def named(token: int) -> str:
        text = engine.token_text(token)
        return json.dumps({"token": text, "bytes": list(text.encode("utf-8", "replace"))})[:-1]

    def shown(token: int, logprob: float) -> str:
        return f'{named(token)},"logprob":{json.dumps(logprob)}'

    def told(token: int, logprob: float, top: Sequence[tuple[int, float]]) -> str:
        others = ",".join(f"{shown(*pair)}}}" for pair in top)
        return f'{shown(token, logprob)},"top_logprobs":[{others}]}}'

    tops = completion.top_logprobs or ((),) * len(completion.token_ids)
    content = map(told, completion.token_ids, completion.logprobs, tops)
    return f'{{"content":[{",".join(content)}],"refusal":null}}'


def with_raw(value: Mapping[str, Any], **raw: str) -> str:
    """`value`, an object that is not empty, as JSON, with further members that are JSON already."""
    members = "".join(f',"{name}":{text}' for name, text in raw.items())
    return f"{json.dumps(value, separators=(',', ':'))[:-1]}{members}}}"
