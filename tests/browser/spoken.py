"""The tests of the page in another language: `STEERSMAN_PAGE_LANGUAGE=zh pytest tests/browser` takes the Chinese page.

Tests name what they look for in English. Here names and texts of the page are looked up in web/src/lang and replaced by
what stands in the same places of the other language; whatever is no text of the page stays as it is.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame, FrameLocator, Locator, LocatorAssertions, Page

LANG = Path(__file__).parents[2] / "web/src/lang"
LANGUAGE = os.environ.get("STEERSMAN_PAGE_LANGUAGE", "en")


def _texts(language: str) -> dict[str, str]:
    files = sorted((LANG / language).glob("*.json"))
    return {key: text for file in files for key, text in json.loads(file.read_text(encoding="utf-8")).items()}


@functools.cache
def _forms() -> list[tuple[str, str]]:
    """(English, other) of every text, those without values first."""
    english, other = _texts("en"), _texts(LANGUAGE)
    return sorted({(english[key], other[key]) for key in english}, key=lambda pair: pair[0].count("{"))


def said(text: str) -> list[str]:
    """What the page may say instead: all translations of an English text of it; the text itself where there is none."""
    found = [other for english, other in _forms() if english == text]
    return found or list(dict.fromkeys([*_filled(text), *_labelled(text)])) or [text]


def _labelled(text: str) -> list[str]:
    """'Rename: First', which the page puts together of a text and a name."""
    label, colon, of = text.partition(": ")
    found = said(label) if colon else [label]
    return [f"{one}{mark}{said(of)[0]}" for one in found for mark in (": ", "：")] if found != [label] else []


def _filled(text: str) -> Iterator[str]:
    for english, other in _forms():
        parts = re.split(r"\{(\w+)\}", english)
        if len(parts) == 1 or not "".join(parts[::2]).strip(" :·,.%#"):
            continue
        values = {"n": r"[\d.,]+"}
        pattern = "".join(f"(?P<{p}>{values.get(p, '.+?')})" if i % 2 else re.escape(p) for i, p in enumerate(parts))
        try:
            match = re.fullmatch(pattern, text, re.DOTALL)
        except re.error:  # a value that stands twice
            continue
        if match:
            names = list(match.groupdict())
            found = [said(value) if value != text else [value] for value in match.groups()]
            for put in itertools.product(*found):  # a word may have several translations, each in its place
                filled = other.format_map(dict(zip(names, put, strict=True)))
                # as the page closes the spaces around values that are no names
                yield re.sub(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])", "", filled)


def _without_values(text: str) -> str:
    return re.sub(r"\{\w+\}|\d+", "#", text)


def _pattern(text: Any, whole: bool) -> Any:
    if not isinstance(text, str):
        return text
    found = said(text)
    if found == [text]:
        part = _without_values(text)
        held = [
            other for english, other in _forms() if not whole and len(text) > 11 and part in _without_values(english)
        ]
        if not held:
            return text
        return re.compile("|".join(".+?".join(map(re.escape, re.split(r"\{\w+\}", other))) for other in held))
    either = "|".join(map(re.escape, found))
    return re.compile(f"^\\s*({either})\\s*$" if whole else either)


def _looking(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def look(self: Any, text: Any, **options: Any) -> Any:
        return method(self, _pattern(text, bool(options.get("exact"))), **options)

    return look


def _by_role(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def look(self: Any, role: Any, **options: Any) -> Any:
        if isinstance(options.get("name"), str):
            options["name"] = _pattern(options["name"], bool(options.get("exact")))
        return method(self, role, **options)

    return look


def _having(method: Callable[..., Any], whole: bool) -> Callable[..., Any]:
    @functools.wraps(method)
    def expect(self: Any, expected: Any, **options: Any) -> Any:
        if isinstance(expected, list):
            return method(self, [_pattern(one, whole) for one in expected], **options)
        return method(self, _pattern(expected, whole), **options)

    return expect


def speak() -> None:
    """Look for everything in the language, from now on."""
    for kind in (Page, Frame, FrameLocator, Locator):
        for name in ("get_by_text", "get_by_label", "get_by_placeholder", "get_by_title"):
            setattr(kind, name, _looking(getattr(kind, name)))
        kind.get_by_role = _by_role(kind.get_by_role)  # type: ignore[method-assign]
    for name, whole in (("to_have_text", True), ("to_contain_text", False), ("not_to_contain_text", False)):
        setattr(LocatorAssertions, name, _having(getattr(LocatorAssertions, name), whole))
