"""Personal data in Chinese, English and German: found by recognisers without a model, and masked.

Why so: decision 71 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from steersman.data.pii import addresses, beside, firms, handles, numbers_found, persons
from steersman.data.pii.finding import HAN, KINDS, Span, settled
from steersman.data.pii.titles import in_title

__all__ = ["KINDS", "Span", "find", "language"]

GERMAN = re.compile(
    r"[äöüßÄÖÜ]|\b(?:ich|und|der|die|das|nicht|ist|bitte|mein|meine|meiner|wie|sie|ihre|auf|mit|für|haben|habe|eine|einen|noch|wurde|wird|zu|vom|zur|kann|guten|hallo|danke|lautet)\b",
    re.I,
)
ENGLISH = re.compile(
    r"\b(?:the|and|is|my|to|you|for|your|please|have|was|of|it|can|with|this|that|are|on|at|not|hello|thanks|i'm)\b",
    re.I,
)


def language(text: str) -> str:
    """'zh', 'de' or 'en': whose forms of numbers and addresses to expect first."""
    han = len(re.findall(f"[{HAN}]", text))
    if 3 * han >= len(re.findall("[A-Za-z]", text)) and han:
        return "zh"
    return "de" if len(GERMAN.findall(text)) > len(ENGLISH.findall(text)) else "en"


def find(text: str, before: str = "", kinds: Iterable[str] = KINDS, of: str = "") -> list[Span]:
    """Personal data in `text`, in its order. `before`: what was said before it; `of`: the dialogue's language."""
    tongue, wanted, found = of or language(text), set(kinds), list[Span]()
    if any(c.isdigit() for c in text):
        found += numbers_found.ibans(text, before)
        found += numbers_found.identities(text, before)
        found += numbers_found.cards(text, before)
        found += numbers_found.phones(text, tongue, before)
        found += numbers_found.orders(text, before)
        found += numbers_found.plates(text)
        found += firms.hotlines(text, tongue, before)
    elif re.search(r"[A-Z]{5}", text):
        found += numbers_found.orders(text, before)
    found += numbers_found.emails(text)
    found += handles.accounts(text)
    found += addresses.addresses(text, tongue)
    found += persons.names(text, before, tongue)
    found += beside.beside(text, tongue)
    found = [
        s for s in found if not firms.is_ware(text, s) and not (s.kind == "name" and in_title(text, s.start, s.end))
    ]
    found += firms.brands(text, [span for span in found if span.kind == "name"])
    return [span for span in settled(found) if span.kind in wanted]
