"""The language of a text, among those that people chat in; py3langid's model, which its wheel holds."""

from __future__ import annotations

import functools
import re
from typing import Any

_CODES = """
    af ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sr sv sw ta th
    tl tr uk ur vi zh
"""
CODES = _CODES.split()
UNSURE = "unsure"
SURE = 0.5
READ = 1500
"""Characters that are looked at."""
LETTER = re.compile(r"[^\W\d_]")
NOISE = re.compile(r"https?://\S+|\S+@\S+|\[[A-Z]+_\d+\]|```[\s\S]*?```|`[^`]*`")
"""Addresses, marks of masking and code: no language."""


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    known = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known.set_languages([code for code in CODES if code in known.labels])
    return known


def tongue(text: str) -> str:
    """ISO 639 code of the text's language; UNSURE where it has too few letters or looks like several."""
    text = NOISE.sub(" ", text[:READ])
    if len(text.encode()) < 6 or not LETTER.search(text):
        return UNSURE
    code, sure = _identifier().classify(text)
    return code if sure >= SURE else UNSURE


def check(codes: list[str]) -> None:
    if unknown := [code for code in codes if code not in CODES]:
        raise ValueError(f"--languages {','.join(unknown)}: expected codes of {', '.join(CODES)}")
