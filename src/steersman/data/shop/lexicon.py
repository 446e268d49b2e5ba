"""Reads the template blocks of `templates_en.py` and `templates_zh.py`.

A block is plain text: a header `[section key]`, then lines `train:`, `validation:` and `test:`, each followed by
its templates, one a line. The id of a template is `language.section.key.split.index`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from steersman.data.shop import templates_en, templates_zh
from steersman.data.shop.world import SPLITS, Language, Split

TURN = " || "
"""Separates the turns of a multi-turn template: customer, assistant, customer."""


@dataclass(frozen=True, slots=True)
class Template:
    """One line of a block, with an id of its block, split and line."""

    id: str
    text: str


Tables = dict[tuple[str, str, str], tuple[Template, ...]]


def parse(source: str, language: str) -> Tables:
    """(section, key, split) -> templates. Raises ValueError with the line number of a bad line."""
    found: dict[tuple[str, str, str], list[Template]] = {}
    section = key = split = ""
    for number, raw in enumerate(source.splitlines(), 1):
        line = raw.strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            section, _, key = line[1:-1].partition(" ")
            split = ""
        elif line.endswith(":") and line[:-1] in SPLITS:
            split = line[:-1]
        elif section and split:
            rows = found.setdefault((section, key, split), [])
            rows.append(Template(f"{language}.{section}.{key or '-'}.{split}.{len(rows)}", line))
        else:
            raise ValueError(f"templates_{language}, line {number}: expected a [section] and a split before {line!r}")
    return {where: tuple(rows) for where, rows in found.items()}


@functools.cache
def tables(language: Language) -> Tables:
    return parse(templates_en.TEXT if language == "en" else templates_zh.TEXT, language)


def templates(language: Language, section: str, key: str, split: Split) -> tuple[Template, ...]:
    """The templates of `key`, or those of the intent before its dot where the variant has none of its own."""
    table = tables(language)
    for name in (key, key.partition(".")[0]):
        if (section, name, split) in table:
            return table[section, name, split]
    raise ValueError(f"templates_{language}: no [{section} {key}] for split {split}")
