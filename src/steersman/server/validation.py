"""Errors of a request in the API's terms: pydantic's problems, without pydantic's names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.server.instead import instead

_KINDS = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
"""The value is of another type than these."""

_BOUNDS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer of fewer digits",
    "string_too_short": "a length of at least {min_length}",
    "string_too_long": "a length of at most {max_length}",
    "string_pattern_mismatch": "a string that matches {pattern}",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "literal_error": "{expected}",
    "union_tag_invalid": "a 'type' of {expected_tags}",
    "union_tag_not_found": "an object with 'type'",
    "text": "{expected}",
}
_JSON_NAMES = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def first_problem(problems: Sequence[Any], body: object) -> tuple[str, str | None, str | None]:
    """(message, parameter, code) of the first invalid field; the request's content is not quoted."""
    if problems[0]["type"] == "json_invalid":
        why = problems[0].get("ctx", {}).get("error", "it cannot be parsed")
        return f"The body is not valid JSON: {why}", None, None
    named = [(_path(problem, body), problem) for problem in problems]
    field = named[0][0].split(".")[0].split("[")[0]
    # among a field's alternative forms, each with its first problem, the one nearest to the request
    firsts: dict[tuple[str, ...], str] = {}
    for p, problem in named:
        firsts.setdefault(tuple(part for part in problem["loc"] if isinstance(part, str)), p)
    path = max((p for p in firsts.values() if p.split(".")[0].split("[")[0] == field), key=_depth)
    if all(problem["type"] in _KINDS for p, problem in named if p == path):  # or a list of the right things is too long
        lists = (p for p, problem in named if problem["type"] == "too_long" and path.startswith(f"{p}["))
        path = next(lists, path)
    here = [problem for p, problem in named if p == path]
    if all(problem["type"] == "missing" for problem in here):  # from an object of another kind
        objects = [(*problem["loc"][:-1], "type") for problem in here]
        path = next((p for p, q in named if q["type"] == "literal_error" and q["loc"] in objects), path)
        here = [problem for p, problem in named if p == path]
    if not path:
        return "The body: expected a JSON object, sent as application/json", None, None
    if any(problem["type"] == "extra_forbidden" for problem in here):
        return f"{path}: this parameter is not known here{instead(path.rpartition('.')[2])}", path, "unknown_parameter"
    if all(problem["type"] == "missing" for problem in here):
        return f"{path}: expected, and not there", path, "missing_required_parameter"
    bounds = [problem for problem in here if problem["type"] not in _KINDS]
    expected = " or ".join(dict.fromkeys(map(_expected, bounds or here)))
    got = "" if bounds else f", got {_kind(here[0]['input'])}"
    return f"{path}: expected {expected}{got}", path, None


def _depth(path: str) -> tuple[int, list[int]]:
    """How far a form went before its problem: into what there is, and along lists."""
    return len(path), [int(number) for number in re.findall(r"\[(\d+)\]", path)]


def _path(problem: Mapping[str, Any], body: object) -> str:
    """messages[0].content: the parts of the location that are in the request, not those that name a validator."""
    where, *parts = problem["loc"]
    if where != "body":
        return ".".join(str(part) for part in parts)
    path, value = "", body
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(value, dict) and part == value.get("type") and not last and parts[i + 1] in value:
            continue  # the discriminator of several kinds of objects
        if isinstance(value, dict) and part == value.get("type") and _absent(problem) and _is_there(value, parts[i:]):
            continue  # the same, where the object has a field of that name
        if isinstance(value, dict) and isinstance(part, str) and (part in value or (last and _absent(problem))):
            path += f".{part}" if path else part
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path += f"[{part}]"
            value = value[part]
    return path


def _is_there(value: Mapping[str, Any], parts: Sequence[Any]) -> bool:
    """Whether the second of these parts is in the first, so that a problem of its absence is one of `value`."""
    inner = value.get(parts[0])
    return len(parts) == 2 and isinstance(inner, dict) and parts[1] in inner


def _absent(problem: Mapping[str, Any]) -> bool:
    return bool(problem["type"] == "missing")


def _expected(problem: Mapping[str, Any]) -> str:
    kind = problem["type"]
    if problem["loc"][-1] == "[key]":
        return "integers of digits alone as names"
    return _KINDS.get(kind) or _BOUNDS.get(kind, "another value").format(**problem.get("ctx", {}))


def _kind(value: object) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), "an object")
