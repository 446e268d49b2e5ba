"""Lists of one writer's messages, which some systems group by writer: no dialogue, whose turns would alternate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.fields import Fields, plain, shown

WRITER = re.compile(r"(?:person|user|sender|author|creator)(?:_?(?:id|name))?")
"""Pattern of fields by which a record may name the writer of all its messages."""


def refuse_one_writer(turns: list[Any], field: str, fields: Fields) -> None:
    """ValueError where the record and each of its messages name the same writer."""
    for key in turns[0] if all(isinstance(turn, Mapping) for turn in turns) else ():
        same = {str(turn.get(key)) for turn in turns} == {str(fields.record.get(key))}
        if same and key in fields.record and WRITER.fullmatch(plain(str(key))):
            raise ValueError(
                f"{field}: expected a dialogue, got messages of one writer alone ('{key}' is "
                f"{shown(fields.record[key])} in each and beside them); write a dialogue as one record, or "
                "its messages as rows that name conversation, writer and text: --map conversation=FIELD,sender=FIELD,"
                "message=FIELD"
            )
