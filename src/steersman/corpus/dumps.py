"""Several documents in one stream: crawls (WARC, and WET: their text), and text files in which marks part documents.

- `<|endoftext|>` where a line begins or ends (TinyStories, what was written for GPT-2)
- `<doc id=...>` and `</doc>` around articles (WikiExtractor)
- ` = Title = ` above each article (WikiText)
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

from steersman.data.containers import Part

CRAWL = b"WARC/"
SUBTITLES = (".srt", ".vtt")
LONGEST = 64 << 20
"""Bytes of a crawl's record beyond which it is left out."""
END = "<|endoftext|>"
_TITLE = re.compile(r" ?= [^=\n]*[^=\s][^=\n]* = ?\n?")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_TIME = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3}\s*-->")
_DOC = re.compile(r"<doc id=[^\n]*>\s*")


def split(lines: Iterable[str]) -> Iterator[str | None]:
    """The lines of a text file, and None where a document ends; marks are left out, titles stay."""
    kind = ""
    for line in lines:
        if not kind and line.strip():
            kind = "doc" if _DOC.fullmatch(line) else "title" if _TITLE.fullmatch(line) else "plain"
        bare = line.strip()
        if bare.startswith(END) or bare.endswith(END):
            for number, text in enumerate(bare.split(END)):
                if number:
                    yield None
                if text:
                    yield text + "\n"
        elif kind == "doc" and (_DOC.fullmatch(line) or bare == "</doc>"):
            yield None
        elif kind == "title" and _TITLE.fullmatch(line):
            yield None
            yield line
        else:
            yield line


def spoken(lines: Iterable[str]) -> Iterator[str]:
    """The words of subtitles: without numbers, times, and what stands above the first time of a file."""
    held: str | None = None
    begun = False
    for line in lines:
        if _TIME.match(line):
            held, begun = None, True  # a number before it
            continue
        if held is not None:
            yield held
        held = line if begun else None
    if held is not None:
        yield held


def is_crawl(part: Part) -> bool:
    return part.kind == "text" and part.head.startswith(CRAWL)


def crawled(
    part: Part, page: Callable[[bytes, str], str], drop: Callable[[str, str], None]
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """(place, text, what is known of it) of a crawl's records. `page` gives the text of HTML with its encoding, '' for
    an unknown one. ValueError where the file is damaged."""
    with part.open() as file:
        for number, (head, body) in enumerate(_records(file, part.name), 1):
            place, kind = f"{part.name}#{number}", head.get("warc-type", "")
            about = {"url": head.get("warc-target-uri", "")}
            if body is None:
                drop("records of a crawl that are too long", place)
            elif kind == "conversion":
                try:
                    yield place, body.decode("utf-8"), about
                except UnicodeDecodeError:
                    drop("records of a crawl that are no UTF-8", place)
            elif kind not in ("response", "resource"):
                drop("records of a crawl that are no page", place)
            else:
                try:
                    html = _html(kind, head, body)
                except (ValueError, zlib.error):
                    drop("pages of a crawl that cannot be unpacked", place)
                    continue
                if html is None:
                    drop("records of a crawl that are no page", place)
                else:
                    yield place, page(*html), about


def _records(file: IO[bytes], name: str) -> Iterator[tuple[dict[str, str], bytes | None]]:
    """(headers in small letters, content; None where it is too long)"""
    while line := file.readline(1 << 16):
        if not line.strip():
            continue
        head: dict[str, str] = {}
        if not line.startswith(CRAWL):
            raise ValueError(f"{name}: expected a record that begins with WARC/, got {line[:40]!r}")
        while (line := file.readline(1 << 16)).strip():
            key, _, value = line.decode("utf-8", "replace").partition(":")
            head[key.strip().lower()] = value.strip()
        length = head.get("content-length", "")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise ValueError(f"{name}: expected Content-Length in a record of a crawl, got {length[:40]!r}")
        size = int(length)
        body = file.read(min(size, LONGEST + 1))
        read = len(body)
        while read < size and (more := len(file.read(min(size - read, 1 << 20)))):
            read += more
        if read < size:
            raise ValueError(f"{name}: a record of {size} bytes breaks off; expected a whole file")
        yield head, body if size <= LONGEST else None


def _html(kind: str, head: Mapping[str, str], body: bytes) -> tuple[bytes, str] | None:
    """A record's page and the encoding that its server named; None for others and for answers such as 404.

    ValueError and zlib.error for a page that cannot be unpacked.
    """
    said = head.get("content-type", "")
    if kind == "response":
        top, _, body = body.partition(b"\r\n\r\n")
        if not re.match(rb"HTTP/\S+ 2", top):
            return None
        said = _field(top, b"content-type")
        if "html" in said.lower():
            body = _unpacked(body, _field(top, b"transfer-encoding"), _field(top, b"content-encoding"))
    if "html" not in said.lower():
        return None
    named = re.search(r"charset=[\"']?([\w.:-]+)", said, re.I)
    return body, named[1] if named else ""


def _field(top: bytes, name: bytes) -> str:
    """A field of an answer's head; '' where it is absent."""
    found = re.search(rb"(?im)^" + name + rb":([^\r\n]*)", top)
    return found[1].decode("latin-1").strip() if found else ""


def _unpacked(body: bytes, transfer: str, packed: str) -> bytes:
    """A page as it was sent, without chunks and unpacked; some crawlers unpack it and keep the head as it was."""
    if "chunked" in transfer.lower() and _CHUNK.match(body):
        chunks, at = [], 0
        while (match := _CHUNK.match(body, at)) and (size := int(match[1], 16)):
            chunks.append(body[match.end() : match.end() + size])
            at = match.end() + size + 2
        if match is None:
            raise ValueError("a chunk is missing")
        body = b"".join(chunks)
    if packed.lower() in ("", "identity") or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return body
    if packed.lower() not in ("gzip", "x-gzip"):
        raise ValueError(packed)
    unpacking = zlib.decompressobj(31)
    page = unpacking.decompress(body, LONGEST)
    if not unpacking.eof:
        raise ValueError("breaks off, or is too long")
    return page
