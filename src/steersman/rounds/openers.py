"""Questions that an empty chat offers: the workspace's own, as people asked them in its validation data."""

from __future__ import annotations

import functools
import hashlib
import itertools
from pathlib import Path

from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.data.formats import from_steersman
from steersman.data.written import read_jsonl
from steersman.types import Conversation

SHOWN = 4
READ = 400
"""Records that are looked at: a set may be large, and the page waits."""
SHORTEST, LONGEST = 4, 160
"""Characters of a question that fits a button and says something."""


def openers(space: Workspace) -> list[str]:
    """`serve.examples`, or first questions of the validation sets; none where there is neither."""
    if space.config.serve.examples:
        return list(space.config.serve.examples)
    paths = [path for kind in ("prompts", "demonstrations") for path in dataset.find(space, kind, "validation")]
    return list(_chosen(tuple((path, path.stat().st_mtime_ns) for path in paths)))


@functools.lru_cache(4)
def _chosen(files: tuple[tuple[Path, int], ...]) -> tuple[str, ...]:
    """Short first questions, in an order that depends on nothing but their words; read again when a file changes."""
    found: set[str] = set()
    for path, _ in files:
        for _, value in itertools.islice(read_jsonl(path), READ):
            record = from_steersman(value) if "messages" in value else None
            question = _first(record) if isinstance(record, Conversation) else ""
            if SHORTEST <= len(question) <= LONGEST:
                found.add(question)
        if len(found) >= SHOWN:
            break
    return tuple(sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())[:SHOWN])


def _first(record: Conversation) -> str:
    """The question that a dialogue begins with; '' where it begins otherwise, or has more than text."""
    said = next((message for message in record.messages if message.role != "system"), None)
    return " ".join(said.text.split()) if said is not None and said.role == "user" else ""
