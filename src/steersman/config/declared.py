"""How a field of the settings is declared: its default, its meaning, its bounds, its flat name."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")

LONG = ("skip", "cut", "error")
LONG_DOC = "What to do with {} longer than the model's context: leave it out, cut the prompt's beginning, end the run."


def opt(
    default: T,
    doc: str,
    choices: tuple[str, ...] = (),
    low: float | None = 0,
    high: float | None = None,
    several: bool = False,
    was: str = "",
    late: bool = False,
) -> T:
    """A dataclass field with a default, a one-line explanation and the allowed strings or numbers (bounds included).

    With `several` the value may be any number of the choices, comma-separated. `was` is the field's flat name, where
    that is another: `kl_coef` of [ppo] for `coef` of [ppo.kl]. A `late` one is recorded only where it is set, so that
    artifacts which were made before it existed are still of the same settings.
    """
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high, "several": several, "was": was, "late": late}
    return dataclasses.field(default=default, metadata=metadata)


def later(declared: T, before: T) -> T:
    """`opt(...)` of a setting that is always recorded and yet came later than others: what runs did `before` it. An
    unfinished run of that time goes on where this is set."""
    made: Any = declared
    found: T = dataclasses.field(default=made.default, metadata={**made.metadata, "before": before})
    return found


def weights(doc: str) -> dict[str, float]:
    """A field that holds a table of names and weights, empty by default."""
    metadata = {"doc": doc, "choices": (), "was": "", "late": False}
    made: dict[str, float] = dataclasses.field(default_factory=dict, metadata=metadata)
    return made


def names(doc: str) -> list[str]:
    """A late field that holds a list of names, empty by default."""
    metadata = {"doc": doc, "choices": (), "was": "", "late": True}
    made: list[str] = dataclasses.field(default_factory=list, metadata=metadata)
    return made


def tables(doc: str) -> list[Any]:
    """A late field that holds a list of tables, each a dataclass, empty by default."""
    metadata = {"doc": doc, "choices": (), "was": "", "late": True}
    made: list[Any] = dataclasses.field(default_factory=list, metadata=metadata)
    return made
