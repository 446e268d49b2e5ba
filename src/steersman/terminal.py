"""Text from data, made safe to print.

Names, prompts and answers come from anywhere. A terminal obeys escape sequences in them (colours, titles, the
clipboard), and characters that change the direction of writing make a line read as another one.
"""

from __future__ import annotations

import json
import re
from typing import Any

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Controls but tab and line feed, what hides or turns text, lone surrogates, invisible tags. Joiners stay: scripts need
them."""


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe(text: str) -> str:
    """`text` with everything that a terminal would act on shown as an escape, such as \\x1b; lines stay lines."""
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def line(text: str) -> str:
    """`safe`, on one line."""
    return " ".join(safe(text).split())


def dumps(value: Any) -> str:
    """One line of JSON, for a pipe or a terminal: equal to what was given, without a character that acts on one.

    NaN and infinity become null, since JSON has neither.
    """
    text = json.dumps(finite(value), ensure_ascii=False, default=str)
    return _UNSAFE.sub(lambda m: json.dumps(m[0])[1:-1], text)


def finite(value: Any) -> Any:
    """`value` with NaN and infinities in it replaced by None."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
