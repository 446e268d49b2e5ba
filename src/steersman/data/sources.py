"""Files, archives and folders -> records: formats are detected from content, then from names."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from steersman.data import (
    chat_pages,
    chatlog,
    columns,
    jira_xml,
    mail,
    markdown,
    messengers,
    plain_dialogues,
    slack,
    tables,
    transcript_cells,
    who_said,
    word_files,
    workbooks,
)
from steersman.data.containers import NOT_READ, SUFFIXES, Part, beside, hidden, parts
from steersman.data.declared_columns import declared
from steersman.data.formats.mapped_rows import of_messages
from steersman.data.json_values import ASSIGNED, begins_records, scan_json
from steersman.data.readers import Line, Record, lines_of
from steersman.data.reading import Reading
from steersman.data.speakers import name_key, speakers_of

Scan = Callable[[Part, Reading], Iterator[Record]]

FILE_FORMATS: dict[str, Scan] = {
    "csv": tables.scan_csv,
    "chatlog": chatlog.scan_chatlog,
    "markdown": markdown.scan_markdown,
    "text": markdown.scan_markdown,
}
BINARY: dict[str, Scan] = {
    **{"xlsx": workbooks.scan_xlsx, "docx": word_files.scan_docx},
    **{"parquet": columns.scan_parquet, "arrow": columns.scan_arrow},
}
BY_SUFFIX: dict[str, Scan] = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), tables.scan_csv),
    **dict.fromkeys((".md", ".markdown", ".mdx"), markdown.scan_markdown),
    **dict.fromkeys((".jsonl", ".json", ".ndjson", ".jsonlines"), scan_json),
    **dict.fromkeys((".html", ".htm", *chat_pages.ARCHIVE), messengers.scan_html),
}
PLAIN = (".txt", ".log", ".text", ".vtt", ".srt", "")
PROSE = (*PLAIN[:-1], ".md", ".markdown", ".mdx")
"""Suffixes of files whose text may begin like JSON."""
KNOWN = frozenset((*BY_SUFFIX, *PLAIN[:-1], *mail.SUFFIXES, *(f".{suffix}" for suffix in SUFFIXES))) - {".docx"}
"""Suffixes of files that are read in a folder, in which Word files are what people sent each other."""
ENDINGS = frozenset((*KNOWN, ".docx", ".xlsm", ".zstd"))
"""Suffixes that are removed from a data set's default name."""
JSON_START = re.compile(r'\{|\[\s*(?:[\[{"\]]|\Z)')
PEEK, LOG = 80, 0.3
"""First lines that are looked at, and the share of a Markdown file's that begin messages where it is a chat's log."""
NEVER = (".yml", ".yaml", ".xml", ".toml", ".ini", ".py", ".sql")
"""Suffixes of text formats that are refused, since they cannot be recognised from their lines."""


def scan_all(paths: Sequence[Path], reading: Reading) -> Iterator[Record]:
    """Every record of several files in one stream; with several, each record names its file."""
    yield from mail.threaded(_told(_every(paths, reading), reading), reading)


def _told(records: Iterator[Record], reading: Reading) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        reading.tick(reading.position.bytes, number)
        yield record


def _every(paths: Sequence[Path], reading: Reading) -> Iterator[Record]:
    if len(paths) == 1:
        yield from scan(paths[0], reading)
        return
    for path in paths:
        for record in scan(path, reading):
            yield record if record.file else dataclasses.replace(record, file=str(path))


def scan(path: Path, reading: Reading) -> Iterator[Record]:
    """Every record of a file, an archive or a folder. Raises ValueError where a file's content contradicts its name."""
    if reading.importer is not None:
        yield from _imported(path, reading.importer(path))
        return
    if (people := slack.people_of(path)) is not None:
        messages = (m for part in _days(path, reading) for m in slack.messages_in(part, reading))
        reading = dataclasses.replace(reading, speakers=slack.with_names(reading.speakers, people))
        part = Part(str(path), "text", b"", path.open)  # type: ignore[arg-type]
        yield from messengers.scan(messengers.of_slack(messages, people), part, reading)
        return
    if path.is_dir():
        yield from _scan_folder(path, reading)
        return
    several, names = False, None if reading.mapping or reading.format else declared(path, reading)
    for part in parts(path, reading):
        several = several or part.name != str(path)
        records = scan_part(part, reading)
        for record in records if names is None else names.records(records, reading):
            yield dataclasses.replace(record, file=part.name) if several else record


def _days(path: Path, reading: Reading) -> Iterator[Part]:
    """The files of Slack's export, each a day of a channel."""
    if path.is_dir():
        for one in _to_read(path, reading)[0]:
            yield from parts(one, reading)
    else:
        yield from parts(path, reading)


def _imported(path: Path, values: Iterator[Any]) -> Iterator[Record]:
    """The records of a user's importer, numbered from 1; an item that is no JSON object is a bad record."""
    for number, value in enumerate(values, 1):
        try:
            raw = json.dumps(value, ensure_ascii=False)
            plain = json.loads(raw)
        except (TypeError, ValueError, RecursionError) as error:
            yield Record(number, None, str(value)[:200], f"the importer's record is no JSON: {error}")
            continue
        good = isinstance(plain, dict)
        wrong = "" if good else f"expected the importer to yield objects, got {raw[:80]}"
        yield Record(number, plain if good else None, raw, wrong)


def _scan_folder(folder: Path, reading: Reading) -> Iterator[Record]:
    paths, others = _to_read(folder, reading)
    counts: Counter[str] = Counter()
    for path in paths:
        for record in scan(path, reading):
            counts[str(path.relative_to(folder))] += 1
            yield record if record.file else dataclasses.replace(record, file=str(path))
    reading.tell(f"note: {folder}: records by file: {', '.join(f'{name} {n}' for name, n in counts.items())}")
    if others:
        reading.tell(f"note: {folder}: {len(others)} files of other kinds are not read, such as {others[0].name}")


def _to_read(folder: Path, reading: Reading) -> tuple[list[Path], list[Path]]:
    """(files of a folder that hold dialogues, files of other kinds); those that tell of the data are named."""
    paths, others = files_in(folder)
    aside = beside([str(path.relative_to(folder)) for path in paths])
    if aside:
        reading.tell(f"note: {folder}: {NOT_READ.format(', '.join(sorted(aside)))}")
    return [path for path in paths if str(path.relative_to(folder)) not in aside], others


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """(files of a folder that are read, other files), without hidden folders and files of systems."""
    every = sorted(p for p in folder.rglob("*") if p.is_file() and not hidden(str(p.relative_to(folder))))
    known = [p for p in every if p.suffix.lower() in KNOWN and p.stat().st_size]
    if not known:
        raise ValueError(f"{folder}: expected files to read ({', '.join(sorted(KNOWN))}), found none in the folder")
    return known, [p for p in every if p not in known]


def scan_part(part: Part, reading: Reading) -> Iterator[Record]:
    if chat_pages.is_archive(part):
        part = chat_pages.page_of(part)
    if mail.looks_like(part):
        return mail.scan_mail(part, reading)
    found = (BINARY[part.kind] if part.kind in BINARY else _text_scan(part, reading))(part, reading)
    found = transcript_cells.gathered(found, part.name, reading)
    return who_said.gathered(
        found,
        reading,
        lambda value: _unnamed(reading) and messengers.is_others(value, reading.speakers),
        lambda messages: messengers.scan(messengers.of_others(messages), part, reading),
    )


def _unnamed(reading: Reading) -> bool:
    """Whether --map leaves open what the columns of messages are."""
    return not of_messages(reading.mapping) and bool(reading.speakers or not reading.mapping)


def _text_scan(part: Part, reading: Reading) -> Scan:
    """The function that reads a part of text."""
    head = list(itertools.islice(lines_of(part, reading), PEEK))
    first = next((line.text.strip() for line in head if line.text.strip("\ufeff \t\r\n")), "")
    begins = JSON_START.match(first) is not None or ASSIGNED.match(first) is not None
    if begins and part.suffix in PROSE and not begins_records(head, len(head) < PEEK):
        begins = False
        reading.tell(f"note: {part.name} begins like JSON but with no record, and is read as text: {first[:40]!r}")
    if reading.format in FILE_FORMATS and not (reading.format == "text" and begins):
        return FILE_FORMATS[reading.format]
    if begins or not first:
        return scan_json
    if re.match(r"<(?:!doctype\s+)?html\b", first, re.I):
        return messengers.scan_html
    if jira_xml.looks_like(head):
        return jira_xml.scan_jira
    if part.suffix in BY_SUFFIX:
        log = BY_SUFFIX[part.suffix] is markdown.scan_markdown and chatlog.looks_like(head, LOG)
        return chatlog.scan_chatlog if log else BY_SUFFIX[part.suffix]
    if part.suffix in NEVER:
        raise ValueError(
            f"{part.name}: expected records, found {part.suffix[1:].upper()}; write it as JSON lines or CSV"
        )
    if (scan := plain_dialogues.scan_of(head)) is not None:
        return scan
    if chatlog.looks_like(head) or (reading.speakers and _speaks(head, reading)):
        return chatlog.scan_chatlog
    if len(markdown.marked_pairs(head)) > 1:
        return markdown.scan_markdown
    if chatlog.calls_roles(head):
        return chatlog.scan_chatlog
    if tables.looks_like(head):
        return tables.scan_csv
    if part.suffix in PLAIN and not (part.suffix == "" and head[0].error):
        raise ValueError(f"{part.name}: {_wanted(part, reading)}")
    return scan_json


def is_recognised(part: Part, reading: Reading) -> bool:
    """Whether a text whose suffix says nothing shows a form of records: JSON, a table, mails."""
    head = list(itertools.islice(lines_of(part, reading), PEEK))
    first = next((line.text.strip() for line in head if line.text.strip("\ufeff \t\r\n")), "")
    return bool(JSON_START.match(first)) or mail.looks_like(part) or tables.looks_like(head)


def _speaks(head: Sequence[Line], reading: Reading) -> bool:
    """Whether some line begins with a speaker from --speakers."""
    speakers = speakers_of(reading.speakers)
    names = speakers.named if speakers else frozenset[str]()
    return any((m := chatlog.NAMED.match(line.text)) and name_key(m["who"]) in names for line in head)


def _wanted(part: Part, reading: Reading) -> str:
    wanted = "expected --format chatlog (with --speakers USER,ASSISTANT) or --format text for a plain text file"
    counts = chatlog.names_in(part, reading)
    return f"{wanted}; as a chat log it has: {counts}" if counts else wanted
