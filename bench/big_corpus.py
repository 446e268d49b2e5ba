"""Raw text of any size in five forms, for measuring what `steersman corpus build` takes: real documents said again.

    python bench/big_corpus.py 1000 out/ --source a.jsonl.xz --source b.jsonl.xz

Writes out/{plain,lines,tables,pages,notes}: long text files, JSON lines, parquet, HTML, Markdown, a fifth of the size
each.
Every document is made of paragraphs of three real ones with other numbers in them, so that most are new to a
deduplicator; one in twenty repeats an earlier one exactly, one in twenty with a sentence more.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import lzma
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

Doc = tuple[str, str]
BOOK = 3_000_000
"""Characters of a text file: documents one after another, cut again by `corpus build`."""
FOLDER = 500


def real(paths: list[Path], most: int = 40_000) -> list[str]:
    """Documents of files with a field text or content; long ones in pieces of some `most` characters."""
    found: list[str] = []
    for path in paths:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                value = json.loads(line)
                text = next((value[k] for k in ("text", "content", "body") if isinstance(value.get(k), str)), "")
                found += [text[i : i + most] for i in range(0, len(text), most)]
    if not found:
        raise ValueError("--source: expected files with a field text or content, found none")
    return found


def said_again(texts: list[str], seed: int) -> Iterator[Doc]:
    """(title, text) without end."""
    chance = random.Random(seed)
    last: Doc = ("first", texts[0])
    for number in itertools.count():
        if number % 20 == 9:
            yield last
        elif number % 20 == 19:
            yield last[0], f"{last[1]}\n\nNo. {number}."
        else:
            parts = [p for text in chance.choices(texts, k=3) for p in re.split(r"\n\s*\n|\n", text) if p.strip()]
            start = chance.randrange(max(1, len(parts) // 2))
            few = parts[start : start + 4 + chance.randrange(40)]
            chance.shuffle(few)
            last = f"Document {number}", _renumbered("\n\n".join(few), number)
        yield last


def _renumbered(text: str, by: int) -> str:
    return re.sub(r"\d{2,9}", lambda m: str((int(m[0]) * 7 + by) % 10 ** len(m[0])), text)


def _folders(root: Path, ending: str, write: Callable[[Path, Doc], None], size: int, docs: Iterator[Doc]) -> None:
    written = 0
    for number, doc in enumerate(docs):
        folder = root / f"{number // FOLDER:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number % FOLDER:03d}{ending}"
        write(path, doc)
        written += path.stat().st_size
        if written >= size:
            return


def _page(path: Path, doc: Doc) -> None:
    body = "\n".join(f"<p>{html.escape(p)}</p>" for p in doc[1].split("\n\n"))
    menu = "".join(f'<li><a href="/{i}">Menu {i}</a></li>' for i in range(12))
    head = f'<!doctype html><html><head><meta charset="utf-8"><title>{doc[0]}</title></head><body><nav>'
    main_part = f"<main><article><h1>{doc[0]}</h1>\n{body}</article></main>"
    path.write_text(f"{head}<ul>{menu}</ul></nav>{main_part}</body></html>", "utf-8")


def _note(path: Path, doc: Doc) -> None:
    path.write_text(f"# {doc[0]}\n\n{doc[1]}\n", "utf-8")


def _lines(root: Path, size: int, docs: Iterator[Doc]) -> None:
    root.mkdir(parents=True)
    written = 0
    with open(root / "big.jsonl", "w", encoding="utf-8") as file:
        for number, (title, text) in enumerate(docs):
            line = json.dumps({"title": title, "text": text}, ensure_ascii=False)
            written += file.write(f"{line}\n") and len(line.encode())
            if number % 1000 == 999:
                file.write('{"title": "broken", "text": \n')
            if written >= size:
                return


def _tables(root: Path, size: int, docs: Iterator[Doc]) -> None:
    import pyarrow
    import pyarrow.parquet

    root.mkdir(parents=True)
    schema = pyarrow.schema([("title", pyarrow.string()), ("text", pyarrow.string())])
    written = 0
    with pyarrow.parquet.ParquetWriter(root / "big.parquet", schema, compression="snappy") as file:
        while written < size:
            rows = [{"title": title, "text": text} for title, text in itertools.islice(docs, 2_000)]
            written += sum(len(row["text"].encode()) for row in rows)
            file.write_table(pyarrow.Table.from_pylist(rows, schema))


def _plain(root: Path, size: int, docs: Iterator[Doc]) -> None:
    root.mkdir(parents=True)
    written = 0
    for number in itertools.count():
        held, length = [], 0
        while length < min(BOOK, size // 4):
            held.append(next(docs)[1])
            length += len(held[-1])
        written += (root / f"{number:05d}.txt").write_bytes("\n\n".join(held).encode())
        if written >= size:
            return


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("mb", type=float)
    options.add_argument("folder", type=Path)
    options.add_argument("--source", action="append", type=Path, required=True)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    texts, size = real(given.source), int(given.mb * 1e6 / 5)
    docs = [said_again(texts, given.seed * 10 + part) for part in range(5)]
    _plain(given.folder / "plain", size, docs[0])
    _lines(given.folder / "lines", size, docs[1])
    _tables(given.folder / "tables", size, docs[2])
    _folders(given.folder / "pages", ".html", _page, size, docs[3])
    _folders(given.folder / "notes", ".md", _note, size, docs[4])
    for path in sorted(given.folder.iterdir()):
        files = [p for p in path.rglob("*") if p.is_file()]
        print(f"{path}: {len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
