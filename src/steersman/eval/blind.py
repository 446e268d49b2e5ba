"""People as judges of two runs, blind: a sheet with the answers in random order, and what they wrote into it.

The sheet is a CSV file for any spreadsheet; which answer is whose lies in `SHEET.key.json` beside it.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, read_object, write_json
from steersman.data.sheets import filled_in
from steersman.eval.rubric import AXES
from steersman.eval.runs import Key, Run
from steersman.text.folding import folded

VOTES = {"1": 1.0, "2": 0.0, "=": 0.5, "tie": 0.5, "0": 0.5, "平": 0.5, "一样": 0.5}
COLUMNS = ("better", *AXES)
"""Columns that people fill in: 1, 2, = or nothing. `better` is all in all."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet would compute."""


def _key_file(sheet: Path) -> Path:
    return sheet.with_name(f"{sheet.name}.key.json")


def write(sheet: Path, a: Run, b: Run, keys: Sequence[Key], seed: int) -> int:
    """Write the sheet and its key; equal answers are left out. Returns the number of rows.

    ValueError where a file of the name exists: people may have voted in it.
    """
    for path in (sheet, _key_file(sheet)):
        if path.exists():
            raise ValueError(
                f"{path} exists, and people may have written in the sheet; expected the name of a new file"
            )
    rng, rows, order = random.Random(seed), [], {}
    for number, key in enumerate(keys):
        ours, theirs = a.answers[key][0], b.answers[key][0]
        swapped = rng.random() < 0.5
        if ours.answer == theirs.answer:
            continue
        name = f"{number + 1:04d}"
        order[name] = {"key": list(key), "swapped": swapped}
        prompt = ours.prompt or theirs.prompt
        asked = "\n".join(f"{m.role}: {m.spelled}" for m in prompt.messages) if prompt else "/".join(key)
        first, second = (theirs, ours) if swapped else (ours, theirs)
        rows.append([name, *map(_plain, (asked, first.answer, second.answer)), *[""] * len(COLUMNS)])
    rng.shuffle(rows)
    out = io.StringIO()
    csv.writer(out).writerows([["number", "dialogue", "answer 1", "answer 2", *COLUMNS], *rows])
    with atomic_write(sheet, "wb", words=True) as file:
        file.write(b"\xef\xbb\xbf" + out.getvalue().encode())  # a mark, by which spreadsheets know UTF-8
    write_json(_key_file(sheet), {"a": a.name, "b": b.name, "rows": order})
    return len(rows)


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def read(sheets: Sequence[Path], a: Run, b: Run) -> tuple[dict[str, dict[Key, float]], dict[str, Any]]:
    """(column -> prompt -> mean vote for `a`, how far people agree). Each sheet is one person's.

    ValueError names the sheet and row of a vote that is none.
    """
    votes: dict[str, dict[Key, list[float]]] = {column: {} for column in COLUMNS}
    for sheet in sheets:
        key = read_object(_key_of(sheet, sheets), "the key of a blind sheet")
        if {key["a"], key["b"]} != {a.name, b.name}:
            raise ValueError(f"{sheet}: is of {key['a']} and {key['b']}, not of {a.name} and {b.name}")
        turned = key["a"] != a.name
        for line, row in filled_in(sheet, ("number", *COLUMNS[:1])):
            if not any(cell.strip() for cell in row.values()):
                continue  # spreadsheets leave empty rows at the end
            of = key["rows"].get(row["number"].strip().zfill(4))
            if of is None:
                raise ValueError(f"{sheet}:{line}: number {row['number']!r} is not in the key")
            for column in COLUMNS:
                # input methods of Chinese write digits and signs of full width
                if said := folded(row.get(column, "")).strip():
                    if said not in VOTES:
                        raise ValueError(f"{sheet}:{line}.{column}: expected 1, 2, = or nothing, got {said!r}")
                    vote = 1 - VOTES[said] if of["swapped"] else VOTES[said]
                    place = (str(of["key"][0]), str(of["key"][1]))
                    votes[column].setdefault(place, []).append(1 - vote if turned else vote)
    means = {c: {k: sum(v) / len(v) for k, v in of.items()} for c, of in votes.items() if of}
    if not means:
        raise ValueError(f"{', '.join(map(str, sheets))}: nobody has written a vote into {', '.join(COLUMNS)}")
    return means, {column: _between(of) for column, of in votes.items() if of}


def _key_of(sheet: Path, sheets: Sequence[Path]) -> Path:
    """The sheet's key, or that of the first sheet: copies of one sheet go to several people."""
    own = _key_file(sheet)
    return own if own.is_file() else _key_file(sheets[0])


def _between(votes: Mapping[Key, Sequence[float]]) -> dict[str, Any]:
    """Share of pairs of people's votes on one prompt that are equal."""
    pairs = [(x, y) for of in votes.values() for i, x in enumerate(of) for y in of[:i]]
    return {
        "prompts": len(votes),
        "votes": sum(map(len, votes.values())),
        "people_agree": sum(x == y for x, y in pairs) / len(pairs) if pairs else None,
    }
