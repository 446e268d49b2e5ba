"""Tasks for the labeling desk out of files: JSON lines or CSV, one task a line.

    {"prompt": "Where is my parcel?"}                                    a dialogue to write (kind demonstration)
    {"brief": "Play a customer whose lamp broke."}                       the same, with nothing said yet
    {"prompt": ..., "answer": "..."}                                     an edit; with --kind flag or vote, these
    {"prompt": ..., "answers": ["...", "..."]}                           answers to rank

Besides: `messages` in place of `prompt`; `kind`; `assign`, a name or a list; `overlap`; `policy_version`; and `gold`,
the known label ({"ranks": [1, 2]}, {"flags": ["wrong"]}, {"vote": "bad"}). In CSV lists and objects are JSON, lists of
names and answers also have `|` between.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.store import Store
from steersman.store.desk_tasks import NewTask
from steersman.store.desk_values import (
    DEMONSTRATION,
    EDIT,
    KINDS,
    RANKING,
    clean_content,
    clean_gold,
    clean_messages,
    to_messages,
)
from steersman.store.ranking_tasks import task_values
from steersman.types import Candidates, Completion, Conversation

FIELDS = (
    *("kind", "prompt", "messages", "brief", "answer", "answers", "policy_version"),
    *("assign", "overlap", "gold", "comment", "id"),
)
_OF_JSON = ("messages", "gold")
MOST_PEOPLE = 1000
"""Most people that one task is shown to."""
_LISTS = ("answers", "assign")


@dataclass(frozen=True)
class Imported:
    """How many tasks of each kind are new, how many were there already, and which fields no task has a use for."""

    new: Mapping[str, int]
    known: int
    ignored: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"new": dict(self.new), "known": self.known, "ignored": dict(self.ignored)}


@dataclass(frozen=True)
class Defaults:
    """What holds for every line that does not say otherwise."""

    kind: str = ""
    assigned: tuple[str, ...] = ()
    overlap: int = 0
    round: int = 1


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of a file of JSON lines, or of a table where its name ends in .csv."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 ({error})") from None
    if path.suffix.lower() == ".csv":
        for row in (table := csv.DictReader(io.StringIO(text, newline=""), strict=True)):
            where = f"{path}: line {table.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: expected {len(table.fieldnames or ())} fields, as the first line has")
            yield where, {key.strip(): _cell(key.strip(), value, where) for key, value in row.items() if value != ""}
        return
    # split at \n only: a JSON string may contain U+2028
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: {error}; expected one JSON object a line") from None
            yield f"{path}: line {number}", row


def _cell(name: str, value: str, where: str) -> Any:
    if name in _OF_JSON or (name in _LISTS and value.lstrip().startswith("[")):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"{where}: {name}: {error}; expected JSON") from None
    if name in _LISTS:
        return [part.strip() for part in value.split("|")]
    if name == "overlap":
        return int(value) if value.isdecimal() else value
    return value


def people(store: Store, names: Sequence[str]) -> tuple[str, ...]:
    """Labelers as tasks refer to them: with accounts by id, given by id or name. ValueError of who has no account."""
    known = store.accounts.names()
    ids = {name: id_ for id_, name in known.items()}
    wanted = [name.strip() for name in names if name.strip()]
    if known and (strangers := [n for n in wanted if n not in known and n not in ids]):
        raise ValueError(f"nobody here is called {', '.join(strangers)}; expected people with an account")
    return tuple(n if n in known else ids.get(n, n) for n in wanted)


def import_rows(store: Store, rows: Iterator[tuple[str, Any]], given: Defaults) -> Imported:
    """Add the tasks: all that are read without a fault, or none. ValueError names the line."""
    tasks: list[NewTask] = []
    rankings: list[_Ranking] = []
    ignored: Counter[str] = Counter()
    for where, row in rows:
        try:
            if not isinstance(row, Mapping):
                raise ValueError("expected an object")
            ignored.update(key for key in row if key not in FIELDS)
            task = _task(row, given)
            if task.assigned:
                task = dataclasses.replace(task, assigned=people(store, task.assigned))
            if isinstance(task, _Ranking):
                rankings.append(task)
            else:
                tasks.append(task)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    new: Counter[str] = Counter()
    for kind in sorted({task.kind for task in tasks}):
        new[kind] = store.desk.add([task for task in tasks if task.kind == kind])[1]
    for ranking in rankings:
        of = (ranking.gold, ranking.needed, ranking.assigned)
        new[RANKING] += store.desk.add_ranking(given.round, ranking.item, *of)[1]
    return Imported({kind: n for kind, n in new.items() if n}, len(tasks) + len(rankings) - new.total(), ignored)


@dataclass(frozen=True)
class _Ranking:
    item: Candidates
    gold: Mapping[str, Any] | None
    needed: int
    assigned: tuple[str, ...]


def _task(row: Mapping[str, Any], given: Defaults) -> NewTask | _Ranking:
    kind = row.get("kind") or given.kind or (RANKING if "answers" in row else EDIT if "answer" in row else "")
    kind = kind or DEMONSTRATION
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    assigned, needed = _names(row.get("assign"), given.assigned), row.get("overlap", given.overlap)
    if not isinstance(needed, int) or isinstance(needed, bool) or not 0 <= needed <= MOST_PEOPLE:
        raise ValueError(f"overlap: expected a number of people up to {MOST_PEOPLE}, got {str(needed)[:50]!r}")
    if "prompt" in row and "messages" in row:
        raise ValueError("expected either 'prompt' or 'messages', got both")
    messages = [{"role": "user", "content": row["prompt"]}] if "prompt" in row else row.get("messages", [])
    gold = row.get("gold")
    if kind == RANKING:
        item = _candidates(row, messages)
        task_values(given.round, item)
        return _Ranking(item, clean_gold(kind, gold, len(item.completions)), needed, assigned)
    content = {key: row[key] for key in ("answer", "policy_version", "brief") if key in row}
    task = NewTask(kind, {"messages": messages, **content}, gold, needed, assigned)
    clean_content(task.kind, task.content)
    clean_gold(task.kind, task.gold)
    return task


def _names(value: Any, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return otherwise
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise ValueError(f"assign: expected a name or a list of names, got {value!r}")
    return tuple(n.strip() for n in names)


def _candidates(row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Candidates:
    answers = row.get("answers")
    if not isinstance(answers, list) or len(answers) < 2 or not all(isinstance(a, str) for a in answers):
        raise ValueError("answers: expected a list of at least 2 texts")
    turns = clean_messages(messages, "messages")
    version = str(row.get("policy_version", ""))
    prompt = Conversation(str(row.get("id", "")), to_messages(turns), {"source": "desk import"})
    return Candidates(prompt, tuple(Completion(a, (), (), "stop", version) for a in answers))
