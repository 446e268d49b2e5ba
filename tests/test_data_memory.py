"""Imports hold no records: what a file of any size needs in memory, and that nothing else differs by it."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from steersman.cold.legacy import stripped
from steersman.data.clean import Known, cleaned
from steersman.data.dataset import write_dataset
from steersman.data.importing import parse_file
from steersman.data.shelves import Numbers, Shelf, in_order
from steersman.data.split import planned

TEXT = 4_000
"""Characters of a record."""
FEW, MANY = 150, 600
KINDS = ("messages.jsonl", "rows.csv", "scored.jsonl", "tree.jsonl", "mails.mbox")


def write(path: Path, records: int) -> Path:
    """A file of records whose texts differ from each other; one in ten repeats an earlier one."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=7)) for _ in range(2_000)]
    lines: list[str] = ["conversation_id,role,text,created_at\n"] if path.name == "rows.csv" else []
    asked = said = ""
    for i in range(records):
        if i % 10 != 9:
            asked, said = (" ".join(chance.choices(words, k=TEXT // 16)) for _ in range(2))
        name = f"r{i - i % 3}"
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        if path.name == "messages.jsonl":
            lines.append(json.dumps({"id": name, "messages": turns}) + "\n" if i % 50 else "{broken\n")
        elif path.name == "rows.csv":
            at = f"2026-01-{i % 28 + 1:02} 10:00"
            lines += [f"c{i},user,{asked},{at}\n", f"c{i},agent,{said},{at}:30\n"]
        elif path.name == "scored.jsonl":
            lines += [json.dumps({"prompt": asked, "response": f"{said} {n}", "score": n}) + "\n" for n in (1, 2)]
        elif path.name == "tree.jsonl":
            for who, text, parent in (("prompter", asked, None), ("assistant", said, f"{i}a")):
                name = f"{i}{'b' if parent else 'a'}"
                lines.append(json.dumps({"message_id": name, "parent_id": parent, "text": text, "role": who}) + "\n")
        else:
            for own, text in (("a", asked), ("b", said)):
                who, to = ("ann@x.example", "desk@firm.example")[:: 1 if own == "a" else -1]
                head = f"From {who} Sat Jan  3 01:05:34 2026\nFrom: {who}\nTo: {to}\nSubject: matter {i}\n"
                head += f"In-Reply-To: <{i}a@x>\n" if own == "b" else ""
                lines.append(f"{head}Date: Sat, 3 Jan 2026 01:05:34 +0000\nMessage-ID: <{i}{own}@x>\n\n{text}\n\n")
    path.write_text("".join(lines))
    return path


def peak(folder: Path, kind: str, records: int) -> tuple[int, int]:
    """(bytes of the file, most bytes that were held while it was read, cleaned and written)."""
    source = write(folder / kind, records)
    options = {"speakers": "*,@firm.example"} if kind == "mails.mbox" else {}
    tracemalloc.start()
    try:
        found = parse_file(source, skip_bad=True, make=Shelf, **options)
        of: Any = found.records if kind == "messages.jsonl" else stripped(found.records, make=Shelf)[0]  # type: ignore[arg-type]
        kept = Shelf(cleaned(of, Counter(), Counter(), Known(Numbers(), Numbers())))
        plan = planned(kept, {"train": 0.9, "test": 0.1})
        info = write_dataset(folder, f"d{records}", found.kind, "train", plan.of(kept, "train"), "test", {})
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert info.count > records / 2
    return source.stat().st_size, most


@pytest.mark.parametrize("kind", ["messages.jsonl"])
def test_memory_does_not_grow_with_a_file(tmp_path: Path, kind: str) -> None:
    peak(tmp_path, kind, 10)  # modules and tables of patterns
    (small, held), (large, held_more) = peak(tmp_path, kind, FEW), peak(tmp_path, kind, MANY)
    assert large - small > 1_500_000
    assert held_more - held < 0.3 * (large - small)  # a file that is held costs more than its own size


def test_memory_does_not_grow_with_a_workbook(tmp_path: Path) -> None:
    def most(rows: int) -> int:
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("s")
        for i in range(rows):
            sheet.append([f"{i} question {'?' * TEXT}", f"answer {'.' * TEXT} {i}"] if i else ["question", "answer"])
        book.save(tmp_path / f"{rows}.xlsx")
        tracemalloc.start()
        try:
            found = parse_file(tmp_path / f"{rows}.xlsx", make=Shelf)
            assert (len(found.records), found.records[0].messages[1].text[:7]) == (rows - 1, "answer ")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(20)  # modules
    few, more = most(100), most(500)
    assert more - few < 0.3 * 400 * 2 * TEXT


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_on_disk_is_what_lies_in_memory(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path / kind, 20)
    options = {"speakers": "*,@firm.example"} if kind == "mails.mbox" else {}
    wanted = "rankings" if kind == "scored.jsonl" else None
    held = parse_file(source, wanted, skip_bad=True, **options)
    kept = parse_file(source, wanted, skip_bad=True, make=Shelf, **options)
    assert list(kept.records) == held.records
    assert list(kept.rejected) == held.rejected
    assert (kept.read, kept.formats, kept.changed, kept.left_out) == (
        held.read,
        held.formats,
        held.changed,
        held.left_out,
    )


def test_shelves_are_lists_that_only_grow() -> None:
    shelf = Shelf(["b", "a"])
    assert list(shelf) == ["b", "a"]
    shelf.append("ä" * 100_000)
    assert (len(shelf), shelf[-1][:2], shelf[0], shelf[0:2]) == (3, "ää", "b", ["b", "a"])
    with pytest.raises(IndexError):
        shelf[3]
    assert [len(s) for s in in_order(shelf, len, Shelf)] == [1, 1, 100_000]
    assert list(in_order([(2, "a"), (1, "b"), (2, "c")], lambda p: p[0], list)) == [(1, "b"), (2, "a"), (2, "c")]


def test_numbers_are_a_dictionary() -> None:
    numbers = Numbers[str]()
    assert (numbers.get_or("a", 3), numbers.get_or("a", 4), "b" in numbers) == (3, 3, False)
    numbers["a"] = 5
    numbers["\0ä"] = 1
    assert dict(numbers.items()) == {"a": 5, "\0ä": 1}
    del numbers["a"]
    assert (list(numbers), len(numbers)) == (["\0ä"], 1)
    with pytest.raises(KeyError):
        numbers["a"]
