"""Pages of HTML: the encoding of one, and its main text without menus and the like.

A page's bytes are decoded here, by Python: resiliparse knows the web's names of encodings alone, and reads all others,
such as cp950 and cp932, as Latin.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from steersman import installed
from steersman.data.containers import Part
from steersman.data.readers import encoding_of
from steersman.data.reading import Reading

STATED = re.compile(
    rb"<meta\b[^>]{0,200}?\bcharset\s*=\s*[\"']?\s*([\w.:-]{2,40})|<\?xml\b[^>]{0,80}\bencoding\s*=\s*[\"']([\w.:-]{2,40})",
    re.IGNORECASE,
)
HEAD = 4096
"""Bytes of a page in which it says its encoding."""
WIDER = {
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis"), "cp932"),
    "euc_kr": "cp949",
    "big5": "cp950",
    **dict.fromkeys(("iso8859-1", "ascii"), "cp1252"),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("tis-620", "iso8859-11"), "cp874"),
}
"""What browsers read for these: pages name the narrower one."""
REPLACED = "\ufffd"


def codec(name: str) -> str:
    """Python's name of what a page or a server calls its encoding; '' where that is unknown."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    for known in (name, map_encoding_to_html5(name, False) if name else None):
        try:
            found = codecs.lookup(known or "")
        except (LookupError, ValueError):
            continue
        if found._is_text_encoding:
            return WIDER.get(found.name, found.name)
    return ""


def stated(data: bytes) -> str:
    """The encoding that a page says it is in; '' where it says none."""
    found = STATED.search(data[:HEAD])
    return (found[1] or found[2]).decode("ascii", "ignore") if found else ""


def of_file(data: bytes, part: Part, reading: Reading) -> str:
    """A file's page as text. ValueError where neither the bytes nor the page tell the encoding."""
    try:
        name = encoding_of(part, reading)
    except ValueError:
        name = codec(stated(data))
        if not name or _strictly(data, name) is None:
            raise
        reading.tell(f"note: {part.name} is read as {name}, as it says")
    if name != "utf-8":
        reading.encodings[part.name] = name
    return decoded(data, [name])


def of_crawl(data: bytes, named: str) -> str:
    """A crawled page as text; `named`: the encoding that its server named, or ''."""
    from resiliparse.parse.encoding import detect_encoding

    said = [name for name in (codec(named), codec(stated(data))) if name] or [codec(detect_encoding(data) or "utf-8")]
    return decoded(data, said if data.isascii() else ["utf-8", *said])


def decoded(data: bytes, names: Sequence[str]) -> str:
    """By the first encoding that has all of the bytes, else by the last, with `REPLACED` for those that it lacks."""
    fitting = (text for name in names if (text := _strictly(data, name)) is not None)
    text = next(fitting, None)
    return (data.decode(names[-1], "replace") if text is None else text).removeprefix("\ufeff")


def _strictly(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


def own_text(page: str, name: str) -> str:
    """The main text of a page. ValueError where resiliparse is not installed."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree
    except ImportError as error:
        raise ValueError(f"{name}: pages need another package: {installed.command('corpus')}") from error
    text: str = extract_plain_text(HTMLTree.parse(page), main_content=True)
    return text
