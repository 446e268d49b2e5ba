"""What a file was read as, in short."""

from __future__ import annotations

from typing import Any

from steersman.data.importing import Imported
from steersman.types import Conversation


def turns(record: Any) -> list[tuple[str, Any]]:
    """(role, content) of a dialogue's messages."""
    assert isinstance(record, Conversation)
    return [(m.role, m.content) for m in record.messages]


def said(found: Imported) -> list[list[tuple[str, Any]]]:
    """The turns of each dialogue among the records."""
    return [turns(record) for record in found.records if isinstance(record, Conversation)]
