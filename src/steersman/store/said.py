"""Messages with more than text: the column `parts`, and finding images that nothing names any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from steersman.messages import read_said
from steersman.parts import IMAGE_PATH, Image, Said, Text
from steersman.store.schema import MessageRow, TaskRow


def read(row: MessageRow) -> tuple[Said, ...]:
    """A stored message's content."""
    return tuple(read_said(row.content if row.parts is None else row.parts, f"message {row.id!r}"))


def column(said: Sequence[Said]) -> list[Any] | None:
    """The value of `MessageRow.parts`; None for text only."""
    return None if all(isinstance(part, Text) for part in said) else [part.to_json() for part in said]


def images_of(session: Session, conversation_id: str) -> list[Image]:
    rows = session.scalars(
        sa.select(MessageRow).where(MessageRow.parts.is_not(None), MessageRow.conversation_id == conversation_id)
    )
    return [part for row in rows for part in read(row) if isinstance(part, Image)]


def without_named(session: Session, images: Iterable[Image]) -> list[Image]:
    """The subset of `images` that no message and no ranking task names."""
    left = {image.path: image for image in images}
    for named in (MessageRow.parts, TaskRow.prompt) if left else ():
        for value in session.scalars(sa.select(named).where(sa.cast(named, sa.Text).like("%image_url%"))):
            for found in IMAGE_PATH.finditer(json.dumps(value)):
                left.pop(found[0], None)
    return list(left.values())
