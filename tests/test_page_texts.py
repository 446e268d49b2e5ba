"""The page's texts: a language is a folder of web/src/lang, and a translator sees at once what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

LANG = Path(__file__).parents[1] / "web/src/lang"
ENGLISH = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(LANG.glob("en/*.json"))}


@pytest.mark.parametrize("language", sorted(folder.name for folder in LANG.iterdir() if folder.name != "en"))
def test_a_language_has_each_text_and_its_values(language: str) -> None:
    for name, texts in ENGLISH.items():
        given = json.loads((LANG / language / name).read_text(encoding="utf-8"))
        assert given.keys() == texts.keys(), name
        for key, text in texts.items():
            assert given[key].strip(), f"{name}: {key} is empty"
            assert set(re.findall(r"\{\w+\}", given[key])) == set(re.findall(r"\{\w+\}", text)), f"{name}: {key}"


def test_no_two_files_have_a_text_of_one_name() -> None:
    keys = [key for texts in ENGLISH.values() for key in texts]
    assert sorted(keys) == sorted(set(keys))
