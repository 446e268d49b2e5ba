"""Tools and their calls in data sets' various forms -> OpenAI's form."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.fields import parsed_json, shown
from steersman.types import Json

QUOTED_ARGUMENTS = re.compile(r"""("arguments"\s*:\s*)'(.*)'(\s*})\s*$""", re.DOTALL)
"""Glaive writes the arguments as JSON between single quotes, so the whole is not valid JSON."""


def call_of(value: Any, field: str) -> Json:
    """One call as {"id", "type": "function", "function": {"name", "arguments"}}, arguments as a string of JSON."""
    value = parsed_json(value)
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else inner if isinstance(inner, str) else None
    if not isinstance(name, str) or not isinstance(value, Mapping):
        raise ValueError(f"{field}: expected a call with the name of a function and its arguments, got {shown(value)}")
    holder = inner if isinstance(inner, Mapping) else value
    given: Any = next(
        (holder[k] for k in ("arguments", "parameters", "input", "args") if holder.get(k) is not None), {}
    )
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    own = value.get("id") or value.get("toolUseId")
    return ({"id": str(own)} if own else {}) | {"type": "function", "function": {"name": name, "arguments": arguments}}


def calls_in(value: Any, field: str) -> list[Json]:
    """The calls in a turn of role function_call, which is JSON of one call or a list."""
    if isinstance(value, str):
        value = _loose_json(value, field)
    items = value if isinstance(value, list) else [value]
    return [call_of(item, field) for item in items]


def _loose_json(text: str, field: str) -> Any:
    text = text.strip().removeprefix("<tool_call>").removesuffix("</tool_call>").strip()
    quoted = QUOTED_ARGUMENTS.sub(lambda m: m[1] + json.dumps(m[2].replace("\\'", "'")) + m[3], text)
    for candidate in (text, quoted):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{field}: expected a call as JSON, got {shown(text)}") from None


def tools_of(value: Any, field: str) -> tuple[Json, ...]:
    """The assistant's tools: a list (or a string of JSON) of functions, as {"type": "function", "function"}."""
    if isinstance(value, str) and not value.strip():
        return ()
    value = parsed_json(value)
    if isinstance(value, Mapping):
        value = value.get("functionDeclarations", value.get("function_declarations", [value]))
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise ValueError(f"{field}: expected a list of objects that describe tools, got {shown(value)}")
    out: list[Json] = []
    for tool in value:
        nested = tool.get("functionDeclarations", tool.get("function_declarations"))
        for one in nested if isinstance(nested, list) else [tool]:
            out.append(dict(one) if "function" in one else {"type": "function", "function": dict(one)})
    return tuple(out)


def result_text(value: Any) -> str:
    """A tool's result as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
