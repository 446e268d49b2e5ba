"""Fields that no role took: an import stops where one looks like something said, and where --map names none."""

from __future__ import annotations

import difflib
from array import array
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from steersman.data.formats.field_names import MAPPABLE
from steersman.data.formats.fields import plain

CATEGORY = 20
"""A field of at least this many records with at most a fifth as many distinct values is a category, not content."""


@dataclass(frozen=True)
class Content:
    """An unused field whose values look like content: where it first came, and hashes of all values."""

    line: int
    sample: str
    hashes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, text: str) -> None:
        self.hashes.append(hash(text))

    @property
    def is_category(self) -> bool:
        import numpy as np

        n = len(self.hashes)
        return n >= CATEGORY and len(np.unique(np.frombuffer(self.hashes, np.int64))) <= n / 5


def check_mapping(path: Path, mapping: Mapping[str, str], seen: Set[str]) -> None:
    """ValueError where a field that --map names is in no record; `seen`: all fields' names, for comparison."""
    if not seen:
        return
    for role, columns in mapping.items():
        for column in columns.split(","):
            if plain(column) not in seen:
                near = difflib.get_close_matches(plain(column), sorted(seen), n=1, cutoff=0.0)
                raise ValueError(
                    f"{path}: --map {role}={column}: no record has such a field; did you mean '{''.join(near)}'?"
                )


def check_content(path: Path, content: Mapping[str, Content], taken: Mapping[str, str]) -> None:
    """ValueError where unused fields look like content; `taken`: role -> field that was read."""
    fields = {name: found for name, found in content.items() if not found.is_category}
    if not fields:
        return
    name, found = next(iter(fields.items()))
    more = f" (likewise: {', '.join(list(fields)[1:])})" if len(fields) > 1 else ""
    read = ", ".join(f"{role} = {key}" for role, key in taken.items()) or "nothing"
    sample = " ".join(found.sample.split())
    raise ValueError(
        f"{path}:{found.line}: field '{name}' looks like something said ({sample[:40]!r}) and would be lost{more}; "
        f"read so far: {read}; say what it is, such as --map answer={name} (or {', '.join(MAPPABLE[:7])}), or leave it "
        f"out: --map ignore={name}"
    )
