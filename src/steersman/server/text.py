"""Text in requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StrictStr

from steersman.store.errors import clean_text


def _valid(value: str) -> str:
    return clean_text(value, "text", empty=True)


Text = Annotated[StrictStr, AfterValidator(_valid)]
"""A string without unpaired surrogates, which JSON admits and UTF-8 does not, and without NUL characters."""
