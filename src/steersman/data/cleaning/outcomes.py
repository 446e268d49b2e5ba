"""What a step says of a record, and the counts and examples of what all steps said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from steersman.data.clean import words_of
from steersman.data.formats import Parsed

EXAMPLES, SHOWN = 3, 160
"""Examples kept of each reason, and characters of each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record after a step: as it is now, or None where it was dropped; and why."""

    record: Parsed | None
    dropped: str = ""
    """The reason, where it was dropped."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """What was changed -> number of places."""
    flagged: tuple[str, ...] = ()
    """What people should know of it."""
    of: str = ""
    """The record that it repeats, or the test prompt that it holds."""
    counted: str = ""
    """What it is counted as, though nothing was done: its language."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What its marks stand for, where they shall be kept under a key."""


Judge = Callable[[int, Parsed], Outcome]
"""A step at work: place of a record among those that reach the step, and the record."""


@dataclass
class Counts:
    """What one step did: records in = records out + those dropped."""

    name: str
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    """What was changed -> places."""
    changed_records: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> beginnings of records."""

    @property
    def kept(self) -> int:
        return self.read - self.dropped.total()

    def add(self, before: Parsed, outcome: Outcome, shown: Callable[[str], str]) -> None:
        self.read += 1
        if outcome.dropped:
            self.dropped[outcome.dropped] += 1
            self._show(outcome.dropped, before, shown, outcome.of)
        if outcome.changed:
            self.changed_records += 1
            self.changed.update(outcome.changed)
            for what in outcome.changed:
                self._show(what, outcome.record or before, shown)
        for flag in outcome.flagged:
            self.flagged[flag] += 1
            self._show(flag, before, shown)
        if outcome.counted:
            self.counted[outcome.counted] += 1

    def _show(self, what: str, record: Parsed, shown: Callable[[str], str], of: str = "") -> None:
        known = self.examples.setdefault(what, [])
        if len(known) < EXAMPLES:
            text = " ".join(words_of(record).split())
            mark = text.find(f"[{what.partition(' ')[0].upper()}_")
            start = max(0, mark - SHOWN // 2)
            text = shown(text[start : start + 2 * SHOWN])
            text = ("…" if start else "") + (text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")
            known.append(f"{text} (as {of})" if of else text)

    def to_json(self) -> dict[str, Any]:
        def most(counts: Counter[str]) -> dict[str, int]:
            return dict(counts.most_common())

        return {
            "step": self.name,
            "read": self.read,
            "kept": self.kept,
            "dropped": most(self.dropped),
            "changed": most(self.changed),
            "changed_records": self.changed_records,
            "flagged": most(self.flagged),
            "counted": most(self.counted),
            "examples": self.examples,
        }


class Ledger:
    """A line for everything that was done to a record, by the record's number in the original set, from 1 on."""

    def __init__(self, file: IO[str] | None) -> None:
        self.file = file

    def add(self, number: int, record: Parsed, step: str, outcome: Outcome) -> None:
        if self.file is None:
            return
        line: dict[str, Any] = {"record": number}
        if not isinstance(record, str):
            line["id"] = record.id
        if outcome.dropped:
            self._write(line | {"step": step, "dropped": outcome.dropped} | ({"of": outcome.of} if outcome.of else {}))
        if outcome.changed:
            self._write(line | {"step": step, "changed": dict(outcome.changed)})
        if outcome.flagged:
            self._write(line | {"step": step, "flagged": list(outcome.flagged)})

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self.file is not None
        self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
