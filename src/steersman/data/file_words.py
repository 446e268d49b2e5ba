"""The words of a PDF or Word file (pypdf, python-docx), read in a process of its own with limits of time and memory.

Such files come from strangers: they may be encrypted, loop, or unpack to more than any machine has.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PAGES, TEXT = 300, 200_000
"""Most pages that are read, and most characters that are kept; what is beyond is counted."""
FURTHER = 25
"""How many times as many characters are kept of a file whose words are data."""
MOST_PAGES = 10_000
"""A file of more is refused: pages cost nothing, and each that is not read is told."""
SECONDS, MEMORY, UNPACKED = 20, 1 << 30, 100_000_000
"""Limits: seconds of processor time, bytes of memory, bytes of a Word file once unpacked."""
PATIENCE = 45.0
"""Wall-clock limit in seconds: longer, since other processes may use the processor."""

COMMAND = [sys.executable, "-m", "steersman.data.file_words"]
MARKED = "--marked"
"""The option with which the words of a Word file come as Markdown: headings, bold lines, tables."""

_PLAIN = {"t": "", "tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
"""Elements of a Word file that are text -> which; '': their own."""
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
HEADED = re.compile(r"(?:heading|überschrift|标题|titel) ?(?P<n>[1-6])|title", re.I)
"""Pattern of the names of headings' styles."""
_SKIPPED, _CELLS = ("del", "moveFrom", "Fallback"), ("}tc", "}sdt", "}ins", "}customXml")


@dataclass(frozen=True, slots=True)
class Words:
    text: str
    pages: int
    """All that there are; of Word files 0: they have none before they are printed."""
    unread: tuple[int, ...]
    """Pages that are images alone, cannot be read, or come after the last one that is."""
    cut: int
    """Characters that were left out at the end."""


class Reading:
    """A file that is to be read once, by `words`; `stop` may be called from another thread."""

    def __init__(self, content: bytes, marked: bool = False) -> None:
        self._content, self._command = content, [*COMMAND, *([MARKED] if marked else [])]
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def words(self) -> Words:
        """See `words_of`."""
        pipe = subprocess.PIPE
        with subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
            self._process = process
            try:
                if self._stopped.is_set():
                    process.kill()
                said, _ = process.communicate(self._content, PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ValueError(f"the file takes more than {PATIENCE:g} s to read") from None
        return _words(process.returncode, said)

    def stop(self) -> None:
        """Nobody waits for the words any more."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()  # nothing where it has ended


def words_of(content: bytes, marked: bool = False) -> Words:
    """ValueError where the file is of another kind, encrypted, damaged, without words, or takes too long. `marked`: a
    Word file's as Markdown."""
    return Reading(content, marked).words()


def _words(code: int, said: bytes) -> Words:
    if code < 0:  # ended by a signal: the limit of time
        raise ValueError(f"the file takes more than {SECONDS} s of processor time to read")
    try:
        found = json.loads(said)
    except ValueError:
        raise ValueError("the file cannot be read; it may be damaged") from None
    if "refused" in found:
        raise ValueError(found["refused"])
    return Words(found["text"], found["pages"], tuple(found["unread"]), found["cut"])


def read(content: bytes, marked: bool = False) -> dict[str, Any]:
    """The fields of `Words`, or why there are none. Without limits of its own: called in the other process."""
    most = TEXT * (FURTHER if marked else 1)
    try:
        if b"%PDF-" in content[:1024]:
            reader = _opened(content)
            if (total := len(reader.pages)) > MOST_PAGES:
                raise _Refused(f"the file has more than {MOST_PAGES} pages")
            pages = list(_pdf(reader))
            unread = [i + 1 for i, text in enumerate(pages) if not text.strip()] + [*range(len(pages) + 1, total + 1)]
            text = "\n\n".join(text.strip() for text in pages if text.strip())
        elif content[:4] == b"PK\x03\x04":
            text, total, unread = "".join(_word(content, marked)).strip(), 0, []
        else:
            return {"refused": "expected a PDF or a Word file (.docx)"}
    except _Refused as refusal:
        return {"refused": str(refusal)}
    except MemoryError:
        return {"refused": f"the file takes more than {MEMORY >> 20} MiB of memory to read"}
    except Exception as error:  # of whatever the file's damage leads the libraries to
        return {"refused": f"the file cannot be read; it may be damaged ({type(error).__name__})"}
    if not text:
        return {"refused": "the file has no words; a scan must be read by other programs first (OCR)"}
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return {"text": clean[:most], "pages": total, "unread": unread, "cut": max(0, len(clean) - most)}


class _Refused(Exception):
    pass


def _opened(content: bytes) -> Any:
    from pypdf import PasswordType, PdfReader

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise _Refused("the file is encrypted; expected one that opens without a password")
    return reader


def _pdf(reader: Any) -> Iterator[str]:
    """The words of each page; '' where it has none or they cannot be read."""
    size = 0
    for number, page in enumerate(reader.pages):
        if number == PAGES or size > TEXT:
            return
        try:
            text = page.extract_text()
        except MemoryError:
            raise
        except Exception:  # one page's damage
            text = ""
        size += len(text)
        yield text


def _word(content: bytes, marked: bool) -> Iterator[str]:
    """Paragraphs and rows of tables, in the document's order, then the notes; headers and footers are left out."""
    import docx
    from docx.oxml import parse_xml

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "word/document.xml" not in archive.namelist():
            raise _Refused("expected a PDF or a Word file (.docx)")
        if sum(entry.file_size for entry in archive.infolist()) > UNPACKED:
            raise _Refused(f"the file unpacks to more than {UNPACKED // 10**6} MB")
    document = docx.Document(io.BytesIO(content))
    part = document.part
    if marked:
        yield from _marked(part.element.body, {s.style_id: s.name or "" for s in document.styles})
        return
    yield _within(part.element.body)
    for relation in part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")):
            yield _within(parse_xml(relation.target_part.blob))


def _within(element: Any) -> str:
    """The words below an element: what was inserted, boxes, fields to fill in; not what was deleted or moved away."""
    name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # comments have other tags
    if name in _PLAIN:
        return _PLAIN[name] or element.text or ""
    if name in _SKIPPED or name.endswith("Pr"):  # properties
        return ""
    if name == "tr":
        return " | ".join(_within(cell) for cell in element if str(cell.tag).endswith(_CELLS)) + "\n"
    words = "".join(map(_within, element))
    return " ".join(words.split()) if name == "tc" else words + "\n" * (name == "p")


def _marked(element: Any, styles: Mapping[str, str]) -> Iterator[str]:
    """A document's blocks as Markdown: headings by their style, bold paragraphs, tables with a line below the first
    row. A cell keeps its paragraphs."""
    for block in element:
        name = str(block.tag).rpartition("}")[2]
        if name in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _marked(block, styles)
        elif name == "p":
            text = _within(block).strip("\n")
            style = next((styles.get(v, "") for of in block.iter(f"{W}pStyle") for v in of.values()), "")
            level = HEADED.fullmatch(style)
            runs = [run for run in block.iter(f"{W}r") if _within(run).strip()]
            bold = bool(runs) and all(any(_is_on(b) for b in run.iter(f"{W}b")) for run in runs)
            mark = "#" * (int(level["n"] or 1) if level else 0)
            line = " ".join(text.split()) if mark or bold else text
            yield f"{mark} {line}\n\n" if mark and line else f"**{line}**\n\n" if bold else f"{text}\n\n"
        elif name == "tbl":
            for number, row in enumerate(row for row in block if str(row.tag).endswith("}tr")):
                cells = [_cell(cell) for cell in row if str(cell.tag).endswith(_CELLS)]
                yield f"| {' | '.join(cells)} |\n" + ("|---" * len(cells) + "|\n" if not number else "")
            yield "\n"


def _is_on(element: Any) -> bool:
    return all(value not in ("0", "false", "off") for value in element.values())


def _cell(cell: Any) -> str:
    paragraphs = (" ".join(line.split()) for p in cell.iter(f"{W}p") for line in _within(p).split("\n"))
    return "<br>".join(text.replace("|", "\\|") for text in paragraphs if text)


def main() -> None:
    if sys.platform != "win32":  # there only the clock and the size of the file bound it
        import resource

        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    content = sys.stdin.buffer.read()
    import logging

    logging.disable()  # pypdf tells of each oddity
    print(json.dumps(read(content, MARKED in sys.argv)))


if __name__ == "__main__":
    main()
