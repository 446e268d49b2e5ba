"""One form for texts that are compared: full-width letters and digits as narrow ones, capitals as small letters."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """Full-width digits and letters as ASCII, letters and their accents as one character (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def folded(text: str) -> str:
    """`plain`, without case."""
    return plain(text).casefold()
