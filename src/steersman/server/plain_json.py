"""Values of a request's body that JSON's grammar, or Python's reading of it, admits and nothing behind it can take.

Fields of text and numbers check theirs. A body also has places without a form of their own (a tool's parameters, a
draft, a row of a table), and what is kept from there must be writable, and readable for as long as it is kept.

Why so: decision 112 in docs/LOG.md.
"""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from steersman.server.errors import ApiError

MOST_DEPTH = 100
"""Most lists and objects within each other; answers can be written up to 255 deep."""
AT_ONCE = 1 << 14
"""Bytes of a body that the event loop itself looks through; a megabyte would hold up everybody's streams for 0.1 s."""
_Place = tuple[Any, str | int] | None
"""(the place around it, the name or number in that)."""


async def plain(request: Request) -> None:
    """A dependency of every route: ApiError 400 where the body has numbers that are none (NaN, 1e999), halves of
    characters, more depth than anybody needs, or a name twice, of which Python keeps the last and others the first."""
    body = getattr(request, "_json", None)  # as FastAPI has just read it; bodies that are no JSON have none
    if not isinstance(body, dict | list):
        return
    text = await request.body()
    halves = b"\\u" in text  # they cannot be written otherwise
    if len(text) > AT_ONCE:
        await run_in_threadpool(_look, text, body, halves)
    else:
        _look(text, body, halves)


def _look(text: bytes, body: Any, halves: bool) -> None:
    _check(body, halves)
    json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs if len(pairs) > 1 else ():
        if name in seen:
            raise ApiError(400, f"{name[:100]}: expected once in an object, got it twice", param=name[:100])
        seen.add(name)


def _check(body: Any, halves: bool) -> None:
    left: list[tuple[Any, int, _Place]] = [(body, 1, None)]
    while left:
        value, depth, place = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise _refusal(place, "a finite number")
        if halves and isinstance(value, str) and _broken(value):
            raise _refusal(place, "valid Unicode, got an unpaired surrogate")
        if not isinstance(value, dict | list):
            continue
        if depth > MOST_DEPTH:
            raise _refusal(place, f"at most {MOST_DEPTH} lists and objects within each other", shown=3)
        if isinstance(value, dict):
            if halves and any(map(_broken, value)):
                raise _refusal(place, "names in valid Unicode, got an unpaired surrogate")
            left += [(one, depth + 1, (place, name)) for name, one in reversed(value.items())]
        else:
            left += [(one, depth + 1, (place, i)) for i, one in reversed([*enumerate(value)])]


def _broken(text: str) -> bool:
    try:
        return not text.isascii() and not text.encode()
    except UnicodeEncodeError:
        return True


def _refusal(place: _Place, expected: str, shown: int = 20) -> ApiError:
    parts: list[str | int] = []
    while place is not None:
        place, part = place[0], place[1]
        parts.append(part)
    where = ""
    for part in parts[: -shown - 1 : -1]:
        where += f"[{part}]" if isinstance(part, int) else f".{part[:100]}" if where else part[:100]
    return ApiError(400, f"{where or 'The body'}: expected {expected}", param=where or None)
