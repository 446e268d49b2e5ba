"""Slack: messages of its exports -> chats. A thread is a chat of its own; what stands in no thread is the channel's.

Why so: decision 121 in docs/LOG.md.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from steersman.data.containers import Part
from steersman.data.reading import Reading
from steersman.data.who_said import Gathered

MARKS = ("users.json", "channels.json")
"""Files by which an export is known."""
LARGEST_MB = 64
SPOKEN = ("thread_broadcast", "bot_message", "file_share", "me_message")
"""Subtypes of what somebody wrote; others tell of what happened."""


def people_of(path: Path) -> dict[str, str] | None:
    """The names of an export's people by their ids; None where the file or folder is no export."""
    try:
        if path.is_dir():
            known = all((path / name).is_file() for name in MARKS)
            return (_names((path / MARKS[0]).read_bytes()) or None) if known else None
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            inside = {PurePath(m.filename): m for m in archive.infolist()}
            users = next((p for p in inside if p.name == MARKS[0] and p.with_name(MARKS[1]) in inside), None)
            if users is None:
                return None
            large = inside[users].file_size > LARGEST_MB << 20
            return None if large else _names(archive.read(inside[users])) or None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return None  # what is wrong with it is said where it is read


def _names(data: bytes) -> dict[str, str]:
    try:
        people = json.loads(data)
    except ValueError:
        return {}
    people = people if isinstance(people, list) else []
    return {str(p["id"]): name for p in people if isinstance(p, Mapping) and p.get("id") and (name := _called(p))}


def _called(person: Mapping[str, Any]) -> str:
    profile = person.get("profile")
    own = profile.get("real_name") if isinstance(profile, Mapping) else ""
    return str(own or person.get("real_name") or person.get("name") or "")


def with_names(speakers: str, people: Mapping[str, str]) -> str:
    """--speakers with names in place of ids."""
    return re.sub(r"[^|,，]+", lambda m: people.get(m[0].strip(), m[0]), speakers)


def messages_in(part: Part, reading: Reading) -> Iterator[Mapping[str, Any]]:
    """The messages of a channel's day, a file of an export. ValueError where it is none."""
    with part.open() as file:
        data = file.read((LARGEST_MB << 20) + 1)
    if len(data) > LARGEST_MB << 20:
        raise ValueError(f"{part.name}: expected a day of a channel, found more than {LARGEST_MB} MB")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{part.name}: expected one JSON value; {error}") from None
    room = str(PurePath(part.name.rpartition("!")[2]).parent)
    items = found if isinstance(found, list) else [found]
    good = [{**m, "channel": room} for m in items if isinstance(m, Mapping) and "ts" in m]
    reading.changed["what is no message in Slack's export left out"] += len(items) - len(good)
    yield from good


def chats(messages: Iterable[Mapping[str, Any]], people: Mapping[str, str]) -> Gathered:
    return Gathered(_plain(m, people) for m in messages if "ts" in m)


def _plain(message: Mapping[str, Any], people: Mapping[str, str]) -> dict[str, str]:
    thread = str(message.get("thread_ts") or "")
    room = "\0".join(("Slack", str(message.get("channel") or ""), thread))
    said = {"ts": str(message["ts"]), "channel": room}
    if message.get("subtype", "bot_message") not in SPOKEN:
        return {"user": "", "text": "", **said}
    profile = message.get("user_profile")
    own = profile.get("real_name") if isinstance(profile, Mapping) else ""
    user = str(message.get("user") or "")
    who = people.get(user) or own or user or message.get("username") or "?"
    return {"user": str(who), "text": _words(str(message.get("text") or ""), people), **said}


def _words(text: str, people: Mapping[str, str]) -> str:
    """A text with its links, and people as they are called."""
    text = re.sub(r"<@(\w+)(?:\|([^>]*))?>", lambda m: "@" + (people.get(m[1]) or m[2] or m[1]), text)
    text = re.sub(r"<#\w+\|([^>]*)>", r"#\1", text)
    text = re.sub(r"<!(here|channel|everyone)(?:\|[^>]*)?>", r"@\1", text)
    text = re.sub(r"<(?:mailto|tel):[^|>]+\|([^>]*)>", r"\1", text)
    text = re.sub(r"<(https?://[^|>]+)>", r"\1", text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]*)>", r"[\2](\1)", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
