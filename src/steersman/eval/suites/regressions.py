"""Regression suites: answers that people disliked must not come back.

A line of the file: the prompt (`messages`, or `prompt` as text), and what is wrong: `not_like`, answers that were
disliked; `must` and `must_not`, texts or /regular expressions/ that an answer must or must not hold.

None of it may fail, but for lines that `steersman regressions` made of dislikes and such as say `"compared": true`:
answers are drawn, so some of many come back by chance, and a model is held to how often the served one gives them.
Why so: decision 107 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, hash_json
from steersman.eval.suites.measures import HAN
from steersman.eval.suites.suite import Item, Spec, last
from steersman.text.folding import plain
from steersman.types import Conversation, Message

NEAR = 0.8
"""Dice coefficient of character trigrams from which on an answer is a copy of another."""
LISTS = ("not_like", "must", "must_not")
Json = Mapping[str, Any]
MARKS = re.compile(r"[^\w\s]+|_+")
HAN_SIGNS = re.compile(f"[{HAN}]")
"""Chinese characters, which count twice: six of them say as much as twelve letters."""


def similarity(a: str, b: str) -> float:
    """Dice coefficient of the multisets of character trigrams, case, marks and white space aside: 1 for the same words.

    0 where the numbers differ: the right answer is often the wrong one with another number."""
    if re.findall(r"\d+", plain(a)) != re.findall(r"\d+", plain(b)):
        return 0.0
    left, right = _trigrams(a), _trigrams(b)
    total = sum(left.values()) + sum(right.values())
    return 2 * sum((left & right).values()) / total if total else 1.0


def _trigrams(text: str) -> Counter[str]:
    text = f"  {' '.join(MARKS.sub(' ', _even(text)).split()) or _even(text)} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def _even(text: str) -> str:
    return " ".join(plain(text).casefold().split())


def faults(answer: str, record: Json) -> list[str]:
    """What is wrong with an answer; [] where nothing is."""
    out = []
    for bad in record.get("not_like", ()):
        inside = _even(bad).rstrip(".!?。！？ ")
        holds = len(inside) + len(HAN_SIGNS.findall(inside)) >= 12 and inside in _even(answer)
        if holds or similarity(answer, bad) >= NEAR:
            out.append(f"like a disliked answer: {bad[:60]!r}")
    out += [f"lacks {want!r}" for want in record.get("must", ()) if not _found(want, answer)]
    out += [f"has {ban!r}" for ban in record.get("must_not", ()) if _found(ban, answer)]
    return out


def _found(pattern: str, answer: str) -> bool:
    """A text is found whatever its case and width; /between slashes/ is a regular expression."""
    if (expression := _expression(pattern)) is not None:
        return expression.search(answer) is not None
    return _even(pattern) in _even(answer)


@functools.lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str] | None:
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):
        return re.compile(pattern[1:-1], re.I)
    return None


def conversation_of(record: Json, name: str, where: str) -> Conversation:
    """The prompt of a record. ValueError where there is none, or it ends with the assistant."""
    if isinstance(record.get("prompt"), str):
        return Conversation(name, (Message("user", record["prompt"]),))
    given = record.get("messages") or (record.get("prompt") or {}).get("messages")
    found = Conversation.from_json({"id": name, "messages": given}, where)
    if not found.is_prompt:
        raise ValueError(f"{where}: expected a prompt that ends with the user")
    return found


def checked(record: Json, where: str) -> Json:
    """The same record. ValueError where a list or a regular expression is none, or nothing is checked."""
    for key in LISTS:
        values = record.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise ValueError(f"{where}.{key}: expected a list of texts, got {str(values)[:80]!r}")
        for value in values:
            try:
                _expression(value)
            except re.error as error:
                raise ValueError(f"{where}.{key}: {value!r} is no regular expression: {error}") from None
    if not any(record.get(key) for key in LISTS):
        raise ValueError(f"{where}: expected at least one of {', '.join(LISTS)}")
    return record


def of_records(records: list[tuple[int, Json]], spec: Spec, path: Path, folder: Path | None) -> list[Item | str]:
    out: list[Item | str] = []
    for line, value in records:
        where = f"{path}:{line}"
        record = checked(value, where)
        name = str(value.get("id") or f"{path.name.partition('.')[0]}-{line}")
        scorer = last(lambda answer, record=record: float(not faults(answer, record)))  # type: ignore[misc]
        compared = value.get("compared", str(value.get("source", "")).startswith("feedback "))
        if not isinstance(compared, bool):
            raise ValueError(f"{where}.compared: expected true or false, got {str(compared)[:40]!r}")
        prompt, group = conversation_of(value, name, where), str(value.get("group", ""))
        out.append(Item(name, prompt, scorer, group, compared=compared))
    return out


def add(path: Path, items: Sequence[Json]) -> int:
    """Append to a suite what it does not have yet, whole or not at all; returns how many were new.

    Two lines are one where id, or prompt and texts, are the same.
    """
    old = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    records = [json.loads(line) for line in old if line.strip()]
    known = {key for record in records for key in _keys(record)}
    fresh = []
    for number, item in enumerate(items, 1):
        record = dict(checked(item, f"item {number}"))
        conversation_of(record, "", f"item {number}")
        if known.isdisjoint(keys := _keys(record)):
            fresh.append(record)
            known |= keys
    if fresh:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [*filter(str.strip, old), *(json.dumps(record, ensure_ascii=False) for record in fresh)]
        with atomic_write(path, words=True) as file:
            file.writelines(f"{line}\n" for line in lines)
    return len(fresh)


def _keys(record: Json) -> set[str]:
    content = {key: record.get(key) for key in ("prompt", "messages", *LISTS) if record.get(key)}
    return {hash_json(content)} | ({f"id:{record['id']}"} if record.get("id") else set())
