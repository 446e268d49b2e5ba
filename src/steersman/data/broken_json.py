"""What is nearly JSON: an object that breaks in its middle, as of a file that was cut off, or in Python's form."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

MARK = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{},]', re.S)
"""Pattern of a text in JSON, which may not end, or of a sign that orders values."""


def until_break(text: str) -> list[str]:
    """A broken object up to its last whole item, closed: by the items of its outermost open list, and by its own
    fields; first as a list directly in the object says."""
    open_, ends = [], {0: 0}
    for found in MARK.finditer(text):
        sign = found.group()
        if sign in "[{":
            open_.append(sign)
            ends[len(open_)] = found.end()
        elif sign in "]}" and open_:
            open_.pop()
            ends[len(open_)] = found.end()
        elif sign == ",":
            ends[len(open_)] = found.start()
    depth = open_.index("[") + 1 if "[" in open_ else 0
    out = []
    for at in dict.fromkeys([depth, 1] if depth == 2 else [1, depth]):
        if open_ and at:
            closing = "".join("]" if sign == "[" else "}" for sign in reversed(open_[:at]))
            out.append(text[: ends[at]] + closing)
    return out


def literal(text: str) -> Any:
    """An object as Python writes it, with single quotes (Amazon's sets); None for any other text."""
    if not is_literal(text):
        return None
    try:
        value = ast.literal_eval(text.strip())
        return json.loads(json.dumps(value))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def is_literal(text: str) -> bool:
    return re.match(r"\s*\{\s*'", text) is not None
