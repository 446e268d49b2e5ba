"""How a record that no person wrote as it stands came to be: in its prompt's `meta`, under "made".

    {"how": "augmented", "method": "typing", "from": "a-17", "of": "where is my order", "seed": 3}
    {"how": "distilled", "model": "...", "host": "api.example.com", "date": "2026-11-28T09:00:00Z", "settings": {...}}

Augmented records are for training alone: nothing is measured on them, and none is learned whose original is held out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from steersman.types import Conversation, Feedback, Ranking

KEY = "made"
AUGMENTED, DISTILLED, INVENTED, SPREAD = "augmented", "distilled", "self-instruct", "spread"
Record = Conversation | Ranking | Feedback | str


def made(record: Record) -> Mapping[str, Any]:
    """How a record came to be; empty where nothing is said."""
    if isinstance(record, str):
        return {}
    about = (record if isinstance(record, Conversation) else record.prompt).meta.get(KEY)
    return about if isinstance(about, Mapping) else {}


def is_augmented(record: Record) -> bool:
    return made(record).get("how") == AUGMENTED


def origin_key(record: Record) -> str | None:
    """The split's key of what an augmented record was made of; None for any other."""
    key = made(record).get("of")
    return key if is_augmented(record) and isinstance(key, str) else None


def marked(record: Conversation, how: str, **about: Any) -> Conversation:
    """The dialogue with how it came to be; what was known of that before is kept under "before"."""
    before = {"before": dict(made(record))} if made(record) else {}
    return dataclasses.replace(record, meta={**record.meta, KEY: {"how": how, **about, **before}})
