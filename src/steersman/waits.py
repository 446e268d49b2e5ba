"""Seconds per unit that activities took the last time on this machine.

So the first unit of the next time has a time to go, and so has what cannot be counted. Kept by name in the cache
folder when a command ends; what cannot be read or written there is done without.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

SETTING = "STEERSMAN_MEASURE"
"""The environment variable that turns off what this machine's speed decides, here and in `train.speed`."""
LEAST = 1.0
"""Seconds of an activity that are worth remembering."""
KEPT = 300
"""Names kept; the longest unseen go first."""

_new: dict[str, float] = {}
_known: dict[str, float] | None = None


def place() -> Path:
    return Path.home() / ".cache" / "steersman" / "waits.json"


def off() -> bool:
    """Whether nothing may be measured or remembered, as in tests."""
    return os.environ.get(SETTING) == "off"


def last(title: str) -> float:
    """Seconds per unit of the activity when it was last finished; 0 where unknown."""
    global _known
    if _known is None:
        _known = _read()
    return _new.get(title, _known.get(title, 0.0))


def took(title: str, seconds: float, units: int) -> None:
    """The activity was finished."""
    if seconds >= LEAST and not off():
        _new[title] = seconds / max(1, units)


def count(title: str, units: int) -> None:
    """Keep a number of another kind; only where it is another by a tenth, so that most commands write nothing."""
    if abs(units - last(title)) > 0.1 * units and not off():
        _new[title] = float(units)


def keep() -> None:
    """Write what this process has learned; another process's are kept beside."""
    global _known
    if not _new or off():
        return
    known = _read()
    merged = {**{k: v for k, v in known.items() if k not in _new}, **_new}
    text = json.dumps(dict(list(merged.items())[-KEPT:]), ensure_ascii=False, indent=0)
    with contextlib.suppress(OSError):
        place().parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place().parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(place())
    _new.clear()
    _known = None


def _read() -> dict[str, float]:
    if off():
        return {}
    try:
        read = json.loads(place().read_text(encoding="utf-8"))
        return {str(title): float(seconds) for title, seconds in read.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
