"""Changing a steersman.toml that people have written: what they wrote stays, comments and order of lines included.

`edited` puts settings in, `upgraded` brings the old form, in which all settings of a stage stood in one flat section,
into the one nested by component. Both move lines and leave values and comments as they are written; where a file is
written in a way they do not follow (an inline table for a whole section), they return None.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from steersman.config import Config, components, leaves
from steersman.config_file import from_dict, toml_text

Place = tuple[str, ...]
"""A table of the file: (section,) or (section, component)."""


@dataclass(frozen=True)
class Piece:
    """Some lines of the file: a setting with its value (`key`), the head of a table (`head`), or comments and blanks.

    `table` and `key` are paths as TOML reads them: below `[ppo]`, `kl.coef = 1` has the key ("kl", "coef").
    """

    text: str
    table: Place = ()
    key: Place = ()
    head: bool = False


def scan(text: str) -> list[Piece]:
    """A valid TOML file in pieces that put together are the file."""
    lines = list(io.StringIO(text))  # at \n alone: a comment may hold U+2028
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    out: list[Piece] = []
    table: Place = ()
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if not line or line.startswith("#"):
            out.append(Piece(lines[at], table))
        elif line.startswith("["):
            table = _path(tomllib.loads(lines[at]))
            out.append(Piece(lines[at], table, head=True))
        else:
            begin, value = at, _parsed(lines[at])
            while value is None:  # a value over several lines
                at += 1
                value = _parsed("".join(lines[begin : at + 1]))
            name = _parsed(f"{lines[begin].partition('=')[0]} = 0")  # the key alone: a value may be a table
            out.append(Piece("".join(lines[begin : at + 1]), table, _path(name)))
        at += 1
    return out


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _path(tree: Any) -> Place:
    """The keys down to the value; a key whose text cannot be told has none that is known."""
    out: Place = ()
    while isinstance(tree, dict) and len(tree) == 1:
        (name, tree), *_ = tree.items()
        out = (*out, name)
    return out


def _setting(piece: Piece) -> tuple[str, str] | None:
    """(section, flat name) of the setting that a piece sets; None for other pieces and for a whole table."""
    sections = components(Config())
    section, *rest = (*piece.table, *piece.key)
    if section not in sections or not rest:
        return None
    return next(((section, x.name) for x in leaves(sections[section]) if tuple(rest) in (x.path, (x.name,))), None)


def _places(section: str) -> dict[str, Place]:
    """Flat name of each setting -> the table it stands in."""
    return {leaf.name: (section, *leaf.path[:-1]) for leaf in leaves(components(Config())[section])}


def edited(text: str, section: str, values: Mapping[str, Any]) -> str | None:
    """TOML `text` with `values` (by flat names) in a section; the comment behind a replaced value is kept."""
    pieces = scan(text)
    fields = {leaf.name: leaf.field.name for leaf in leaves(components(Config())[section])}
    for name, value in values.items():
        new = toml_text(value)
        found = [i for i, p in enumerate(pieces) if p.key and _setting(p) == (section, name)]
        if found:
            piece = pieces[found[0]]
            key, comment = piece.text.partition("=")[0], re.search(r"""[ \t]+#[^"'\n]*$""", piece.text.rstrip("\n"))
            pieces[found[0]] = replace(piece, text=f"{key.rstrip()} = {new}{comment[0] if comment else ''}\n")
            continue
        place = _places(section)[name]
        at = next((i for i, p in enumerate(pieces) if p.head and p.table == place), None)
        if at is None:
            at = _end_of(pieces, section)
            pieces[at:at] = [Piece("\n", place), Piece(f"[{'.'.join(place)}]\n", place, head=True)]
            at += 1
        pieces.insert(at + 1, Piece(f"{fields[name]} = {new}\n", place, (fields[name],)))
    return "".join(p.text for p in pieces)


def _end_of(pieces: list[Piece], section: str) -> int:
    """Where a new table of the section goes: behind its last setting or head, else behind everything."""
    inside = [i for i, p in enumerate(pieces) if (p.head or p.key) and p.table[:1] == (section,)]
    return inside[-1] + 1 if inside else len(pieces)


def upgraded(text: str) -> str | None:
    """TOML `text` with every setting below its component, values and comments as they are written.

    None where the result would differ: a table may be written in an unsupported way.
    """
    new = _moved(text)
    try:
        same = new is not None and from_dict(tomllib.loads(new), "new") == from_dict(tomllib.loads(text), "old")
    except ValueError:
        return None
    return new if same else None


def _moved(text: str) -> str | None:
    top: list[str] = []
    blocks: dict[Place, list[str]] = {}
    heads: dict[Place, str] = {}
    above: list[str] = []  # comments and blank lines before what they belong to
    table: Place = ()
    for piece in scan(text):
        if piece.head:
            own = _own_comment(above)
            kept = above[: len(above) - len(own)]
            (blocks[table] if table else top).extend(kept)
            table, above = piece.table, []
            if len(table) > 2 or table in heads:
                return None
            heads[table] = "".join((*own, piece.text))
            blocks.setdefault(table, [])
        elif piece.key:
            setting = _setting(piece)
            if setting is None:
                return None
            section, name = setting
            field = next(leaf.field.name for leaf in leaves(components(Config())[section]) if leaf.name == name)
            written = piece.text.partition("=")
            lead = re.match(r"\s*", written[0])
            line = f"{lead[0] if lead else ''}{field} ={written[2]}"
            blocks.setdefault(_places(section)[name], []).append("".join((*above, line)))
            above = []
        else:
            above.append(piece.text)
    (blocks[table] if table else top).extend(above)
    return "".join(_laid_out(top, heads, blocks)).lstrip("\n")


def _own_comment(lines: list[str]) -> list[str]:
    """The comment lines directly above a head."""
    count = 0
    while count < len(lines) and lines[-1 - count].strip():
        count += 1
    return lines[len(lines) - count :]


def _laid_out(top: list[str], heads: Mapping[Place, str], blocks: Mapping[Place, list[str]]) -> Iterator[str]:
    """The pieces of the new file: sections in the order of the old one, each followed by its components."""
    yield "".join(top).rstrip("\n") + "\n" if "".join(top).strip() else ""
    for section in dict.fromkeys(place[0] for place in (*heads, *blocks)):
        for part in ("", *components(components(Config())[section])):
            place = (section, part) if part else (section,)
            body = "".join(blocks.get(place, ())).strip("\n")
            if body or place in heads:
                yield f"\n{heads.get(place) or f'[{chr(46).join(place)}]' + chr(10)}"
                yield f"{body}\n" if body else ""
