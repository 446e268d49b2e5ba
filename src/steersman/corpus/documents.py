"""Reads documents of raw text one by one.

A file of text, Markdown or HTML is one document; in JSON lines, tables and parquet each record is one. Files may be
packed; archives and folders are searched, and dumps (`steersman.corpus.dumps`) split into documents. Memory grows with
the longest document alone. A text file of more than PIECE characters is cut into several documents, at empty lines.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.corpus import dumps, page_text
from steersman.data.clean import normalise
from steersman.data.containers import Part, hidden, parts
from steersman.data.markdown import front_matter
from steersman.data.readers import lines_of
from steersman.data.reading import Reading
from steersman.data.sources import KNOWN, is_recognised, scan, scan_part

TEXT, MARKDOWN, PAGES = (".txt", ".text", ".rst", ".tex"), (".md", ".markdown", ".mdx"), (".html", ".htm", ".xhtml")
DUMPS = (".raw", ".tokens", ".warc", ".wet")
PLAIN = (*TEXT, *MARKDOWN, *DUMPS, ".log", *dumps.SUBTITLES)
CODE = (
    *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".java", ".kt", ".scala", ".go", ".rs", ".rb", ".php"),
    *(".pl", ".lua", ".r", ".jl", ".swift", ".js", ".mjs", ".ts", ".jsx", ".tsx", ".css", ".sh", ".sql"),
    *(".yml", ".yaml", ".toml", ".ini"),
)
"""Read as text where the file itself is named; in folders and archives counted."""
WIKI = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<mediawiki\b")
EXTRACTED = re.compile(r"wiki_\d+")
"""Names that WikiExtractor gives its files."""
FIELDS = (
    *("text", "content", "raw_content", "body", "article", "maintext", "document", "markdown", "passage"),
    *("正文", "内容"),
)
"""Names of the field that holds a record's text; the first that holds words is taken."""
_DOC_HEAD = re.compile(rb"<doc id=")
XML = re.compile(rb"<(?:\?xml\b|!DOCTYPE\b|[A-Za-z_][\w.:-]*[\s/>])")
LATEX = re.compile(rb"\\document(?:class|style)\b|\\begin\{document\}")
PIECE = 1_000_000
LITTLE = 1 << 16
"""Bytes of a part below which its `head` is all of it."""
EXAMPLES = 3
FIELDS_SHOWN = 12
TEXTLESS = "records without a text"


@dataclass
class LeftOut:
    """What gave no document: counts by reason with the first places. `changed`: what was done to other documents."""

    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    fields: str = ""
    """The fields of the first kinds of records that have no text, with dots for those within others."""

    def add(self, reason: str, place: str) -> None:
        self.dropped[reason] += 1
        known = self.examples.setdefault(reason, [])
        if len(known) < EXAMPLES:
            known.append(place)

    def lines(self) -> list[str]:
        """A line for each reason, with its first place and, where fields are missing, those that are there."""
        there = f" (its fields: {self.fields}; --field says which is the text)" if self.fields else ""
        return [
            f"{n} {why}, such as {self.examples[why][0]}{there if why.startswith(TEXTLESS) else ''}"
            for why, n in self.dropped.items()
        ]

    def textless(self, record: Mapping[str, Any]) -> None:
        """Remember the fields of a record without text, of as many kinds of records as places."""
        kinds, mine = self.fields.split(" | ") if self.fields else [], ", ".join(_paths(record)[:FIELDS_SHOWN])
        if mine and mine not in kinds and len(kinds) < EXAMPLES:
            self.fields = " | ".join((*kinds, mine))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LeftOut:
        return cls(Counter(value["dropped"]), Counter(value["changed"]), value["examples"], value.get("fields", ""))

    def to_json(self) -> dict[str, Any]:
        return {
            "dropped": dict(self.dropped),
            "changed": dict(self.changed),
            "examples": self.examples,
            "fields": self.fields,
        }


@dataclass(frozen=True)
class Document:
    """A text. `place`: its file, of a record with the line; `record`: the record's fields, empty for a whole file."""

    place: str
    text: str
    record: Mapping[str, Any] = field(default_factory=dict)


def files_of(path: Path) -> tuple[list[Path], list[Path]]:
    """(the files to read in a file or folder, ordered by name; the other files in the folder, empty ones among them).

    ValueError where there is nothing to read.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_file():
        return [path], []
    every = sorted(p for p in path.rglob("*") if p.is_file() and not hidden(str(p.relative_to(path))))
    readable = {*KNOWN, *TEXT, *MARKDOWN, *PAGES, *DUMPS}
    named = [p for p in every if p.suffix.lower() in readable or EXTRACTED.fullmatch(p.name)]
    known = [p for p in named if p.stat().st_size]
    if not known:
        there = f" ({kinds_of(every)})" if every else ""
        raise ValueError(
            f"{path}: expected files of text ({', '.join(sorted(readable))}), found none in the folder{there}"
        )
    return known, sorted({*every}.difference(known))


def kinds_of(paths: Sequence[Path]) -> str:
    """Files that are not read, counted by their suffix."""
    counts = Counter((p.suffix.lower() or p.name) if p.stat().st_size else "empty" for p in paths)
    rest = len(counts) - FIELDS_SHOWN
    few = [f"{kind} {n}" for kind, n in counts.most_common(FIELDS_SHOWN)]
    return ", ".join(few + ([f"{rest} other kinds"] if rest > 0 else []))


def documents(paths: Sequence[Path], reading: Reading, left_out: LeftOut, name: str = "") -> Iterator[str]:
    """The texts alone of what `placed` yields."""
    return (document.text for document in placed(paths, reading, left_out, name))


def placed(
    paths: Sequence[Path],
    reading: Reading,
    left_out: LeftOut,
    name: str = "",
    other: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
) -> Iterator[Document]:
    """The documents of files, their text normalised.

    `name`: the field that holds the text; by default the first of FIELDS. `other`: called with a record that has none
    of these fields, returns its text or None.

    A record without text is counted in `left_out`, and so is one of several files that cannot be read, or not to its
    end. ValueError where a file alone is of no readable kind.
    """
    reading = dataclasses.replace(reading, odd_lines=True)
    for path in paths:
        try:
            for part in parts(path, reading):
                yield from _normal(_texts(part, reading, left_out, name, other), part.name, left_out)
                if (encoding := reading.encodings.get(part.name, "utf-8")) != "utf-8":
                    left_out.changed[f"files read as {encoding}, as they are no UTF-8"] += 1
        except ValueError as error:
            if len(paths) == 1:
                raise
            left_out.add("files that cannot be read, or not to their end", str(error))


def _normal(found: Iterator[tuple[str, str, Mapping[str, Any]]], name: str, left_out: LeftOut) -> Iterator[Document]:
    for place, text, record in found:
        cleaned = normalise(text)
        if nuls := text.count("\0"):
            left_out.changed["zero characters (NUL) taken out"] += nuls
        if cleaned:
            yield Document(place, cleaned, record)
        else:
            left_out.add("empty documents", name)


def _texts(
    part: Part,
    reading: Reading,
    left_out: LeftOut,
    name: str,
    other: Callable[[Mapping[str, Any]], str | None],
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(place, text, record)"""
    if part.kind == "text" and len(part.head) < LITTLE and not part.head.removeprefix(b"\xef\xbb\xbf").strip():
        left_out.add("empty documents", part.name)
    elif dumps.is_crawl(part):
        yield from dumps.crawled(
            part, lambda data, said: _own_text(page_text.of_crawl(data, said), part.name, left_out), left_out.add
        )
    elif part.kind == "text" and (part.suffix in PAGES or _is_page(part)):
        with part.open() as file:
            page = page_text.of_file(file.read(), part, dataclasses.replace(reading, odd_lines=False))
        yield part.name, _own_text(page, part.name, left_out), {}
    elif part.kind == "text" and (WIKI.match(part.head) or _is_source(part)):
        yield from _source(part, reading, left_out)
    elif part.kind == "text" and _is_plain(part, reading, left_out):
        for number, piece in enumerate(_pieces(part, reading, left_out)):
            yield f"{part.name}#{number + 1}" if number else part.name, piece, {}
    elif part.kind == "text" and "!" in part.name and not (part.suffix in KNOWN or is_recognised(part, reading)):
        left_out.add("files in an archive whose kind is not known", part.name)
    else:
        for record in scan_part(part, reading):
            place = f"{record.file or part.name}:{record.line}"
            fields = record.value if isinstance(record.value, dict) else {}
            text = record.value if isinstance(record.value, str) else _field(fields, name)
            text = other(fields) if text is None else text
            if record.error:
                left_out.add("records that cannot be read", f"{place}: {record.error}")
            elif text is None:
                left_out.add(f"{TEXTLESS} ({name or ', '.join((*FIELDS[:4], '...'))})", place)
                left_out.textless(fields)
            else:
                yield place, text, fields


def _is_page(part: Part) -> bool:
    """Whether a part whose suffix is of nothing else begins as HTML does."""
    known = {*KNOWN, *PLAIN, *CODE}
    return part.suffix not in known and re.match(rb"\s*<(?:!doctype\s+)?html\b", part.head, re.I) is not None


def _is_source(part: Part) -> bool:
    """Whether a part is code or XML, the latter also by its first bytes where the suffix is of nothing else."""
    begins = part.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if part.suffix in (*CODE, ".xml"):
        return not begins.startswith((b"{", b"["))
    known = {*KNOWN, *PLAIN, *PAGES}
    return part.suffix not in known and XML.match(begins) is not None and not _DOC_HEAD.match(begins)


def _is_plain(part: Part, reading: Reading, left_out: LeftOut) -> bool:
    """Whether a part is text as it stands: by its suffix, unless it holds JSON lines; where the suffix says nothing, a
    file that shows no form of records, and in an archive LaTeX alone, as arXiv's are named."""
    if _DOC_HEAD.match(part.head):
        return True
    if part.suffix in PLAIN:
        if not _holds_json(part):
            return True
        left_out.changed["files of text that hold JSON lines, read as those"] += 1
        return False
    latex = LATEX.search(part.head) is not None
    if part.suffix in KNOWN or ("!" in part.name and not latex) or is_recognised(part, reading):
        return False
    left_out.changed[f"files of {'LaTeX by their content' if latex else 'no known kind'}, read as text"] += 1
    return True


def _holds_json(part: Part) -> bool:
    """Whether the first two lines are JSON objects."""
    lines = [line for line in part.head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 3)[:3] if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


def _source(part: Part, reading: Reading, left_out: LeftOut) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Source code as text. ValueError for XML."""
    if part.suffix in CODE and "!" not in part.name:
        left_out.changed["files of source code, read as text"] += 1
        yield from ((part.name, piece, {}) for piece in _pieces(part, reading, left_out))
    elif "!" in part.name:
        left_out.add(f"{part.suffix} files in an archive are not read", part.name)
    elif WIKI.match(part.head):
        raise ValueError(
            f"{part.name}: a dump of MediaWiki in XML is not read; write its text into a folder with WikiExtractor "
            "(pip install wikiextractor; python -m wikiextractor.WikiExtractor FILE -o FOLDER), and name that folder"
        )
    else:
        raise ValueError(
            f"{part.name}: XML is not read, since which of it is text is not known; write its texts to .txt files, or "
            'to JSON lines: {"text": "..."}'
        )


def _field(value: Any, name: str) -> str | None:
    if not isinstance(value, dict):
        return None
    if name:
        return _named(value, name)
    by_name = {key.lower(): inner for key, inner in value.items()} | value  # tables have Text, or TEXT
    there = [text for key in FIELDS if (text := _named(by_name, key)) is not None]
    if there:
        return next(filter(str.strip, there), there[0])  # crawls leave some empty
    if isinstance(lines := value.get("段落"), list):  # MNBVC: a document by its paragraphs
        return "\n".join(t for line in lines if isinstance(line, dict) and isinstance(t := line.get("内容"), str))
    return None


def _named(value: Mapping[str, Any], name: str) -> str | None:
    """The text of a field: `a.b` is b within a, a list of texts is one text of several lines."""
    found: Any = value.get(name)
    if found is None and "." in name:
        found = value
        for key in name.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, list) and found and all(isinstance(item, str) for item in found):
        return "\n".join(found)
    return found if isinstance(found, str) else None


def _paths(value: Mapping[str, Any], above: str = "") -> list[str]:
    out: list[str] = []
    for key, inner in value.items():
        out += _paths(inner, f"{above}{key}.") if isinstance(inner, Mapping) else [f"{above}{key}"]
    return out


def questions(path: Path, reading: Reading) -> Iterator[tuple[str, str]]:
    """(place, text) of every string in a file of test questions, from all fields and lists of each record."""

    def said(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from said(item)

    for record in scan(path, reading):
        if record.error:
            raise ValueError(f"{path}:{record.line}: {record.error}")
        for text in said(record.value):
            yield f"{path.name}:{record.line}", text


def _own_text(page: str, name: str, left_out: LeftOut) -> str:
    """The main text of an HTML page, counted."""
    left_out.changed["pages of HTML, their own text taken"] += 1
    if lost := page.count(page_text.REPLACED):
        left_out.changed[f"characters of pages that are no text in their encoding, {page_text.REPLACED} now"] += lost
    return page_text.own_text(page, name)


def _pieces(part: Part, reading: Reading, left_out: LeftOut) -> Iterator[str]:
    held: list[str] = []
    size = pieces = marks = 0
    lines = _readable(part, reading, left_out)
    if part.suffix in dumps.SUBTITLES:
        lines = dumps.spoken(lines)
        left_out.changed["files of subtitles, their words taken without numbers and times"] += 1
    if part.suffix in MARKDOWN:
        settings, lines = front_matter(lines)
        if settings:
            left_out.changed["files of Markdown without the settings at their head (front matter)"] += 1
    for line in dumps.split(lines):
        long = line is not None and size >= PIECE and (not line.strip() or size >= 2 * PIECE)
        if long or line is None:
            if any(map(str.strip, held)):
                yield "".join(held)
            held, size, pieces, marks = [], 0, pieces + long, marks + (line is None)
        if line is not None:
            held.append(line)
            size += len(line)
    if pieces:
        left_out.changed["long files cut into documents of a million characters"] += 1
    if marks:
        left_out.changed["files cut where marks part documents"] += 1
    if not marks or any(map(str.strip, held)):
        yield "".join(held)


def _readable(part: Part, reading: Reading, left_out: LeftOut) -> Iterator[str]:
    for line in lines_of(part, reading):
        if line.error:
            left_out.add("lines of text that cannot be read", f"{part.name}:{line.number}: {line.error}")
        else:
            yield line.text
