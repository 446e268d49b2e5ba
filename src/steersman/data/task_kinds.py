"""Kinds of tasks: what a record of a kind must have, how it is asked, what the answer is and how it is scored.

They are told by TOML files: `task_kinds.toml` beside this file, and `tasks/*.toml` of a workspace, whose kinds take the
place of ours of the same name. The form is at the top of our file.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILT_IN = Path(__file__).with_name("task_kinds.toml")
METRICS = ("accuracy", "f1", "span", "entities", "rouge", "sari")
LANGUAGES = ("zh", "en")
KEYS = ("title", "fields", "target", "metric", "labels", "copy", "lead", "within", *LANGUAGES)
OPTIONS = "options"
PLACE = re.compile(r"\{(\w+)\}")
JOINT = {"zh": "，", "en": ", "}
"""Between the label set's words in a prompt."""
ITEMS = {"zh": "、", "en": "; "}
"""Between the items of an answer that is a list."""


@dataclass(frozen=True)
class Kind:
    """A kind of task; `templates` and `words` are by language."""

    name: str
    title: Mapping[str, str]
    fields: tuple[str, ...]
    target: str
    metric: str
    templates: Mapping[str, tuple[str, ...]]
    labels: str = ""
    """'': free answers; 'data': the set is what the data has; 'words': it is `words`; a field's name: each record's
    own list."""
    words: Mapping[str, Mapping[str, str]] | None = None
    """Value in the data -> word of the answer."""
    copy: str = ""
    lead: str = ""
    within: tuple[str, ...] = ()
    """(field, the one that its text is found in): that one is cut around it, never without it."""

    @property
    def closed(self) -> bool:
        return bool(self.labels)

    @property
    def answer_field(self) -> str:
        """The field that the answer is read from; '' where the target is of several."""
        found = PLACE.fullmatch(self.target)
        return found[1] if found else ""

    def asked(self, language: str) -> str:
        """The language of its prompts for texts of this language."""
        return language if language in self.templates else next(iter(self.templates))


def kinds(folder: Path | None = None) -> dict[str, Kind]:
    """All kinds by name; `folder`: a workspace's tasks/. ValueError names file, kind and key."""
    found = _read(BUILT_IN)
    for path in sorted(folder.glob("*.toml")) if folder is not None and folder.is_dir() else ():
        found |= _read(path)
    return found


def kind_of(name: str, known: Mapping[str, Kind]) -> Kind:
    if name not in known:
        raise ValueError(f"--kind {name}: expected one of {', '.join(known)}, or a kind of your own in tasks/NAME.toml")
    return known[name]


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its fields; braces around other words stay."""
    return PLACE.sub(lambda m: values.get(m[1], m[0]), template)


def with_labels(kind: Kind, labels: Mapping[str, str]) -> Kind:
    """The kind with a label set of the user's own: value in the data -> word."""
    return dataclasses.replace(kind, labels="words", words=dict.fromkeys(LANGUAGES, labels)) if labels else kind


def _read(path: Path) -> dict[str, Kind]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected TOML with a table for each kind of task") from None
    return {name: _kind(name, table, f"{path}: [{name}]") for name, table in tables.items()}


def _kind(name: str, table: Any, where: str) -> Kind:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table of a kind of task")
    if unknown := [key for key in table if key not in KEYS]:
        raise ValueError(f"{where}: {unknown[0]}: expected one of {', '.join(KEYS)}")
    fields = tuple(_texts(table.get("fields"), f"{where}: fields"))
    templates = {code: tuple(_texts(table[code], f"{where}: {code}")) for code in LANGUAGES if code in table}
    if not templates:
        raise ValueError(f"{where}: expected prompts, zh = [...] or en = [...]")
    metric = table.get("metric")
    if metric not in METRICS:
        raise ValueError(f"{where}: metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    title = table.get("title", {})
    title = dict.fromkeys(LANGUAGES, title) if isinstance(title, str) else title
    labels, words = _labels(table.get("labels", ""), fields, where)
    within = table.get("within", [])
    if not isinstance(within, list) or len(within) not in (0, 2) or not set(within) <= set(fields):
        raise ValueError(f"{where}: within: expected two of {', '.join(fields)}, got {within!r}")
    kind = Kind(
        name,
        {code: str(title.get(code, name)) for code in LANGUAGES},
        fields,
        str(table.get("target", f"{{{fields[-1]}}}")),
        metric,
        templates,
        labels,
        words,
        str(table.get("copy", "")),
        str(table.get("lead", "")),
        tuple(within),
    )
    if metric == "span" and not within and kind.answer_field:
        kind = dataclasses.replace(kind, within=(kind.answer_field, fields[0]))
    for text in (kind.target, kind.copy, f"{{{kind.lead}}}" if kind.lead else "", *sum(templates.values(), ())):
        named = set(PLACE.findall(text)) - ({OPTIONS} if kind.closed else set())
        if unknown := sorted(named - set(fields)):
            raise ValueError(f"{where}: {text!r}: no field {', '.join(unknown)}; expected some of {', '.join(fields)}")
    if metric == "sari" and not kind.copy:
        raise ValueError(f"{where}: copy: expected the text that is rewritten, which sari compares with")
    if kind.closed and not kind.answer_field:
        raise ValueError(f"{where}: target: expected one field, whose words the label set has, got {kind.target!r}")
    return kind


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{where}: expected a list of texts, got {value!r}")
    return value


def _labels(value: Any, fields: tuple[str, ...], where: str) -> tuple[str, dict[str, dict[str, str]] | None]:
    if value in ("", "data"):
        return value, None
    if isinstance(value, str) and value.startswith("each:") and value[5:] in fields:
        return value[5:], None
    if isinstance(value, list):
        value = dict.fromkeys(LANGUAGES, value)
    if not isinstance(value, dict) or not value or not set(value) <= set(LANGUAGES):
        raise ValueError(
            f'{where}: labels: expected "data", "each:FIELD", a list of words, or zh and en with words, got {value!r}'
        )
    words = {}
    for code, of in value.items():
        pairs = dict.fromkeys(of) if isinstance(of, list) else of
        if not isinstance(pairs, dict) or len(pairs) < 2:
            raise ValueError(f"{where}: labels.{code}: expected two words or more, got {of!r}")
        words[code] = {str(k): str(k if v is None else v) for k, v in pairs.items()}
    return "words", words
