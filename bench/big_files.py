"""Large files of dialogues for measuring what imports hold in memory: real texts said again with other numbers.

    python bench/big_files.py 1000 out/ --source FILE.jsonl.xz [--source ...] --kinds jsonl,csv,xlsx,parquet,mbox,gz

One record in twenty repeats an earlier one, one in five hundred of the JSON lines is broken, ids clash now and then.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import lzma
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

Pair = tuple[str, str]


def pairs_of(paths: list[Path]) -> list[Pair]:
    """Questions and answers of files with instruction/output, prompt/response or messages."""
    found: list[Pair] = []
    for path in paths:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in itertools.islice(file, 20_000):
                value = json.loads(line)
                asked = value.get("instruction") or value.get("prompt") or value.get("question")
                said = value.get("output") or value.get("response") or value.get("answer")
                if isinstance(asked, str) and isinstance(said, str) and asked.strip() and said.strip():
                    found.append((f"{asked}\n{value.get('input') or ''}".strip(), said))
    if not found:
        raise ValueError("--source: expected files with questions and answers, found none")
    return found


def said_again(pairs: list[Pair], seed: int) -> Iterator[tuple[str, Pair]]:
    """(id, question and answer) without end."""
    chance, last = random.Random(seed), ("r-0", pairs[0])
    for number in itertools.count():
        if number % 20 == 19:
            yield last
            continue
        asked, said = chance.choice(pairs)
        order = chance.randrange(10**9)
        last = f"r-{number - number % 7}", (f"{asked} [{order}]", f"{said} (no. {order + number})")
        yield last


def write(path: Path, kind: str, size: int, records: Iterator[tuple[str, Pair]]) -> None:
    """Records until `size` bytes of them are written."""
    if kind in ("parquet", "xlsx"):
        {"parquet": _parquet, "xlsx": _xlsx}[kind](path, size, records)
        return
    opener = gzip.open if kind == "gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        written, number = _head(file, kind), 0
        while written < size:
            number += 1
            name, (asked, said) = next(records)
            written += _write_one(file, kind, number, name, (asked, said))


def _head(file: TextIO, kind: str) -> int:
    names = {"csv": ["id", "question", "answer"], "rows": ["conversation_id", "role", "text", "created_at"]}
    if kind in names:
        csv.writer(file).writerow(names[kind])
    return 0


def _write_one(file: TextIO, kind: str, number: int, name: str, pair: Pair) -> int:
    asked, said = pair
    at = f"2026-{number // 40_000 % 12 + 1:02}-{number // 1440 % 28 + 1:02} {number // 60 % 24:02}:{number % 60:02}"
    if kind == "csv":
        csv.writer(file).writerow([name, asked, said])
    elif kind == "rows":
        csv.writer(file).writerows([[f"c{number}", "user", asked, at], [f"c{number}", "agent", said, at]])
    elif kind == "mbox":
        for who, to, text, ref in (("ann", "desk", asked, ""), ("desk", "ann", said, f"In-Reply-To: <{number}a@x>\n")):
            side = "x" if who == "ann" else "firm"
            head = f"From {who}@{side}.example Sat Jan  3 01:05:34 2026\nFrom: {who}{number % 997}@{side}.example\n"
            head += f"To: {to}@example\nSubject: matter {number}\nDate: Sat, 3 Jan 2026 01:{number % 60:02}:34 +0000\n"
            head += f"Message-ID: <{number}{'a' if who == 'ann' else 'b'}@x>\n{ref}"
            file.write(f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}\n\n")
        return len(asked.encode()) + len(said.encode()) + 500
    elif number % 500 == 0:
        file.write('{"id": "broken", "messages": [\n')
    else:
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        file.write(json.dumps({"id": name, "messages": turns}, ensure_ascii=False) + "\n")
    return len(asked.encode()) + len(said.encode()) + 80


def _parquet(path: Path, size: int, records: Iterator[tuple[str, Pair]]) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(n, pyarrow.string()) for n in ("id", "question", "answer")])
    written = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="snappy") as file:
        while written < size:
            rows: list[dict[str, Any]] = []
            for name, (asked, said) in itertools.islice(records, 5_000):
                rows.append({"id": name, "question": asked, "answer": said})
                written += len(asked.encode()) + len(said.encode()) + 20
            file.write_table(pyarrow.Table.from_pylist(rows, schema))


def _xlsx(path: Path, size: int, records: Iterator[tuple[str, Pair]]) -> None:
    import openpyxl
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE as NO_CELL

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("tickets")
    sheet.append(["id", "question", "answer"])
    written = 0
    while written < size:
        name, (asked, said) = next(records)
        sheet.append([NO_CELL.sub("", text) for text in (name, asked, said)])
        written += len(asked.encode()) + len(said.encode()) + 20
    book.save(path)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("mb", type=float)
    options.add_argument("folder", type=Path)
    options.add_argument("--source", action="append", type=Path, required=True)
    options.add_argument("--kinds", default="jsonl")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    pairs = pairs_of(given.source)
    for kind in given.kinds.split(","):
        ending = {"gz": "jsonl.gz", "rows": "rows.csv"}.get(kind, kind)
        path = given.folder / f"big.{ending}"
        write(path, kind, int(given.mb * 1e6), said_again(pairs, 0))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
