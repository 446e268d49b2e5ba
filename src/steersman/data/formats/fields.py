"""A record that tracks which of its fields were read.

A role (question, answer, system, ...) has many names in the wild; `Fields.take` finds the one that a record uses.
A field that no importer read is either repeated in a read field, or metadata, or content that would be lost (`left`).
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from steersman.data.formats.field_names import BODIES, COMMENT_NAME, META, META_NAME, NAMES, SUBJECTS
from steersman.data.pictures import Pictures

ID_LIKE = re.compile(r"[\w.:/@#&+=%-]*")
"""A value of one word: a name or a category, hardly an answer."""
LABELS = (
    *("subset", "source", "dataset", "data_source", "dataset_name", "category", "domain", "section", "task", "topic"),
    *("subject", "lang", "language", "annotator", "labeler", "来源", "类别", "领域", "语言"),
)
"""Fields by which comparisons are grouped when a reward model is scored on them."""
LONGEST_LABEL = 80


def maps(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none of anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


@functools.cache
def plain(name: str) -> str:
    """A field's name in the form for comparison: lower case, words joined by '_', no byte order mark."""
    return re.sub(r"[\s\-./]+", "_", name.strip("\ufeff \t")).casefold()


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


SORTS = ("type", "msg_type", "msgtype", "msgType", "message_type", "messageType")
ONE_KEPT = "requests with several answers, of which the first alone is kept: nothing says which is better"


def alternatives(answer: Any) -> list[Any]:
    """What an API that was asked for several answers gave (`choices`); [] of other values."""
    found = answer.get("choices") if isinstance(answer, Mapping) else None
    return found if isinstance(found, list) else []


def parsed_json(value: Any) -> Any:
    """A string with a JSON list or object (tables, exports) parsed; any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def said_within(value: Any) -> Any:
    """The words of a message that is JSON of them and their kind alone (WeCom, Feishu); any other value unchanged."""
    found = parsed_json(value) if isinstance(value, str) else None
    if not isinstance(found, Mapping) or not found.keys() <= {"content", "text", "msg", *SORTS}:
        return value
    words = [found[k] for k in ("content", "text", "msg") if isinstance(found.get(k), str)]
    return words[0] if len(words) == 1 else value


def turns_in(value: Any) -> Any:
    """A string of JSON that lists turns as the list; any other value unchanged, even JSON in a message."""
    found = parsed_json(value)
    good = (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(t, Mapping) and {"role", "from"} & t.keys() for t in found)
    )
    return found if good else value


def trimmed(text: str) -> str:
    """A text without blank lines around, white space at its end and one space at its start; indentation stays."""
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", text.rstrip())
    return text[1:] if re.match(r" (?=\S)", text) else text


def empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}


@functools.lru_cache(maxsize=4096)
def _present(role: str, names: frozenset[str]) -> tuple[str, ...]:
    """The names of a role among those of a record; the records of a file have few sets of names."""
    return tuple(name for name in NAMES.get(role, (role,)) if name in names)


class Fields:
    """A record, by roles: the field of each role (`mapping`: role -> field, given by the user), and unread fields."""

    def __init__(
        self,
        record: Mapping[str, Any],
        *,
        mapping: Mapping[str, str] | None = None,
        speakers: Mapping[str, str] | None = None,
        ordered: str = "",
        notes: Counter[str] | None = None,
        pictures: Pictures | None = None,
        labels: dict[str, list[dict[str, str]]] | None = None,
    ) -> None:
        self.record, self.pictures, self.labels = record, pictures, labels
        self.mapping = {role: tuple(map(plain, value.split(","))) for role, value in (mapping or {}).items()}
        self.ignored = {key for key in record if plain(str(key)) in self.mapping.get("ignore", ())}
        self.keys = {plain(str(key)): key for key in reversed(list(record)) if key not in self.ignored}
        self.speakers = speakers or {}
        self.ordered = ordered
        self.notes: Counter[str] = Counter() if notes is None else notes
        """Description of a change or guess -> number."""
        self.taken: dict[str, str] = {}
        """Role -> the field read for it."""
        self.used: set[str] = set(self.ignored)

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.keys)

    def names(self, role: str) -> tuple[str, ...]:
        """Names of a role; a mapped role has only the mapped names, which then serve no other role."""
        if role in self.mapping:
            return self.mapping[role]
        names = NAMES.get(role, (role,)) + self._beside.get(role, ())
        spoken_for = {name for names in self.mapping.values() for name in names}
        return tuple(n for n in names if n not in spoken_for) if spoken_for else names

    @functools.cached_property
    def _beside(self) -> Mapping[str, tuple[str, ...]]:
        """Names that have a role only if other fields exist: parts of a ticket with an answer and without the usual
        names of a question; `content` beside thoughts."""
        if "reasoning_content" in self.keys:
            return {"answer": ("content",)}
        asked = any(
            not empty(self.record.get(self.keys.get(name, "")))
            for role in ("question", "context", "messages", "text")
            for name in NAMES[role]
        )
        answered = "answer" in self.mapping or any(name in self.keys for name in NAMES["answer"])
        if asked or not answered or "question" in self.mapping:
            return {}
        if any(name in self.keys for name in SUBJECTS):
            return {"question": SUBJECTS, "context": BODIES}
        return {"question": BODIES}

    def find(self, role: str) -> str | None:
        """The field that plays a role (its own name in this record), or None. Null counts as absent, and numbers
        (such as the number of turns) are no turns."""
        names = self.names(role) if self.mapping else _present(role, self._names) + self._beside.get(role, ())
        keys = (self.keys[name] for name in names if name in self.keys)
        bad = (type(None), int, float) if role == "messages" else (type(None),)
        return next((key for key in keys if not isinstance(self.record[key], bad) and key not in self.used), None)

    def has(self, role: str) -> bool:
        return self.find(role) is not None

    def take(self, role: str, key: str | None = None) -> tuple[str, Any]:
        """(field, value) of a role, now read. ValueError where the record has none."""
        key = key or self.find(role)
        if key is None:
            name = next((self.keys[n] for n in self.names(role) if n in self.keys), self.names(role)[0])
            fields = ", ".join(map(str, self.record)) or "none"
            got = "None" if name in self.record else f"no such field (fields: {fields})"
            raise ValueError(f"{name}: expected a string, got {got}")
        self.used.add(key)
        self.taken.setdefault(role, key)
        return key, self.record[key]

    def note(self, what: str, times: int = 1) -> None:
        if times:
            self.notes[what] += times

    def keep_labels(self, name: str) -> None:
        """Keep what the record says it belongs to (LABELS) under the name of what was made of it."""
        if self.labels is not None:
            found = {n: self.record[self.keys[n]] for n in LABELS if n in self.keys}
            kept = {
                n: str(v) for n, v in found.items() if isinstance(v, str | int) and 0 < len(str(v)) <= LONGEST_LABEL
            }
            self.labels.setdefault(name, []).append(kept)

    def left(self) -> Iterable[tuple[str, Any]]:
        """Unread fields that are not empty."""
        return ((k, v) for k, v in self.record.items() if k not in self.used and not empty(v))


def texts_in(value: Any, depth: int = 0) -> list[str]:
    """The strings of a value, those inside lists and objects too."""
    if isinstance(value, str):
        return [value]
    if depth > 8:
        return []
    if isinstance(value, Mapping):
        return [t for item in value.values() for t in texts_in(item, depth + 1)]
    if isinstance(value, list | tuple):
        return [t for item in value for t in texts_in(item, depth + 1)]
    return []


def squeezed(text: str) -> str:
    return "".join(text.split())


def said_in(value: Any) -> list[str]:
    """The strings of a value that may be content: not single words, such as names of roles and categories."""
    texts = texts_in(parsed_json(value))
    return [t for t in texts if not (ID_LIKE.fullmatch(t) and t.isascii() and not t.endswith((".", "!", "?")))]


def is_said(value: Any, least: int) -> bool:
    """Whether a value looks like content: at least `least` words, a Chinese character counting for a half."""
    for text in said_in(value):
        words = len(re.findall(r"[^\W\d_]+", re.sub(r"[\u3400-\u9fff]", "", text)))
        if words + len(re.findall(r"[\u3400-\u9fff]", text)) / 2 >= least:
            return True
    return False


def lost(fields: Fields, words: str, answered: bool) -> tuple[list[str], list[str]]:
    """(fields with content that would be lost, other unused fields), after the importer read the record.

    `words`: all that was read. A field whose text is contained in them, or that repeats all of it, is not lost. A
    record without an answer is checked more strictly: any unknown text may be the answer.
    """
    content: list[str] = []
    others: list[str] = []
    read = squeezed(words)
    for key, value in fields.left():
        texts = [squeezed(t) for t in said_in(value)]
        if texts and all(t in read for t in texts):
            continue
        pieces = [squeezed(piece) for piece in words.split("\n") if piece.strip()]
        if pieces and any(all(piece in t for piece in pieces) for t in texts):
            continue  # a rendering of the whole record
        name = plain(str(key))
        known = name in META or bool(META_NAME.fullmatch(name)) or (answered and bool(COMMENT_NAME.fullmatch(name)))
        known = known or ("rejected" in fields.taken and name in NAMES["answers"])
        said = is_said(value, 4 if answered else 1) if not known else name == "label" and is_said(value, 4)
        (content if said else others).append(str(key))
    return content, others
