"""One form for texts that are compared: full-width letters and digits as narrow ones, capitals as small letters."""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Full-width digits and letters as ASCII, letters and their accents as one character (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def folded(text: str) -> str:
    """`plain`, without case."""
    return plain(text).casefold()


WIDE = re.compile("[\uff00-\uffef]+")
SPACE = r"[^\S\x1c-\x1f]"


def squeezed(text: str) -> str:
    """A text by which two that differ in width, case and white space alone are the same; 2² and 2 2 are not 22."""
    narrow = WIDE.sub(lambda wide: plain(wide[0]), text).lower()
    return re.sub(rf"(?<!\d){SPACE}|{SPACE}(?!\d)", "", re.sub(rf"(?<=\d){SPACE}+(?=\d)", " ", narrow))
