"""Dialogues written as one text -> Messages, split at speakers' names: HH-RLHF, ChatYuan, Glaive, MOSS and others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.calls import calls_in, tools_of
from steersman.data.formats.fields import Fields, plain, shown, trimmed
from steersman.types import Json, Message, Role

CUES: tuple[tuple[str, str, str], ...] = (
    (r"(?:^|\n)[ \t]*", "Human", "Assistant"),
    (r"(?:^|\n)[ \t]*", "User", "Assistant"),
    (r"(?:^|\n)[ \t]*", "USER", "ASSISTANT"),
    (r"(?:^|\n)[ \t]*", "User", "Bot"),
    (r"(?:^|\n|\\n)", "用户", "小元"),
    (r"(?:^|\n)", "用户", "助手"),
    (r"(?:^|\n)", "用户", "客服"),
    (r"(?:^|\n)[ \t]*", "问", "答"),
    (r"\s*", "### Human", "### Assistant"),
    (r"\s*", "### User", "### Assistant"),
    (r"\s*", "<user>", "<assistant>"),
    (r"\s*", "[Human]", "[MOSS]"),
)
"""Patterns of the beginnings of turns in transcripts: text before the names, and the names."""

ESCAPED = re.compile(r"\\n(?:用户|小元|助手|客服)\s?[:：]")
"""Pattern of a transcript with newlines written \\n, as ChatYuan's are."""
BEGINS = re.compile(rf"\s*(?:{'|'.join(sorted({re.escape(user) for _, user, _ in CUES}))})\s?[:：]")

GLAIVE = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE|A):")
MARKS = re.compile(r"^\s*<\|[^|]*\|>:?\s*|\s*<(?:eo[a-z]|eoh|eom)>\s*$")
"""Pattern of MOSS's turns: '<|Human|>: ...<eoh>'."""


def with_newlines(text: str) -> str:
    """A text in which newlines and tabs are written \\n and \\t."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def cued(text: str) -> list[Message] | None:
    """Turns of a transcript that begins with a user's cue and has the assistant's; None for other texts.

    A final assistant's cue with nothing after it, which requests the answer, is left out.
    """
    if not BEGINS.match(text):
        return None
    text = text.replace("\r\n", "\n")
    for before, user, assistant in CUES:
        if not re.match(rf"\s*{re.escape(user)}\s?[:：]", text):
            continue
        pieces = re.split(rf"{before}({re.escape(user)}|{re.escape(assistant)})\s?[:：]", text)
        if assistant not in pieces[1::2] and re.search(rf"\s{re.escape(assistant)}\s?[:：]\s*\Z", text):
            pieces = re.split(rf"(?:^|\s)({re.escape(user)}|{re.escape(assistant)})\s?[:：]", text)  # on one line
        if assistant not in pieces[1::2]:
            continue
        if user == "用户" and ESCAPED.search(text):
            pieces = list(map(with_newlines, pieces))
        roles: dict[str, Role] = {user: "user", assistant: "assistant"}
        said = zip(pieces[1::2], pieces[2::2], strict=True)
        turns = [Message(roles[who], trimmed(_unmarked(words) if user == "[Human]" else words)) for who, words in said]
        return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].text else turns
    return None


def hh_turns(text: Any, field: str) -> list[Message]:
    """Turns of an HH-RLHF transcript. ValueError for other texts."""
    pieces = re.split(r"\n\n[ \t]*(Human|Assistant):", "\n\n" + text.replace("\r\n", "\n").lstrip("\n"))
    if pieces[0].strip() or len(pieces) < 3:
        raise ValueError(f"{field}: expected a transcript that begins with '\\n\\nHuman:', got {shown(text)}")
    roles: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    turns = [Message(roles[who], trimmed(said)) for who, said in zip(pieces[1::2], pieces[2::2], strict=True)]
    return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].text else turns


def is_hh(text: Any) -> bool:
    return isinstance(text, str) and bool(re.match(r"(?:\r?\n){2}[ \t]*Human:", text))


def text_turns(text: str, field: str, fields: Fields) -> list[Message]:
    """A prompt's text as turns: a transcript's, or one user turn."""
    turns = hh_turns(text, field) if is_hh(text) else cued(text)
    if turns is None:
        return [Message("user", text)]
    fields.note("transcripts split into turns")
    return turns


def glaive_turns(text: str, field: str, fields: Fields) -> list[Message]:
    """Glaive's `chat`: 'USER: ... ASSISTANT: ... FUNCTION RESPONSE: ...', calls after '<functioncall>'."""
    pieces = GLAIVE.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        raise ValueError(f"{field}: expected a transcript that begins with 'USER:', got {shown(text)}")
    out: list[Message] = []
    for i, (who, said) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True)):
        words = said.strip().removesuffix("<|endoftext|>").strip()
        if who == "USER":
            out.append(Message("user", words))
        elif who == "FUNCTION RESPONSE":
            out.append(Message("tool", words))
        else:
            spoken, call, asked = words.partition("<functioncall>")
            calls = calls_in(asked, f"{field}[{i}]") if call else []
            out.append(Message("assistant", spoken.strip(), tool_calls=tuple(calls)))
    return out


def glaive_system(text: str, field: str) -> tuple[str, tuple[Json, ...]]:
    """Glaive's `system`: the text without its list of functions, and the functions as tools."""
    text = text.strip().removeprefix("SYSTEM:").strip()
    head, found, listed = text.partition("Use them if required -")
    if not found:
        return text, ()
    blocks = re.split(r"\n\s*\n(?=\{)|(?<=\})\s*\n(?=\{)", listed.strip())
    return (head + "Use them if required.").strip(), tuple(t for b in blocks for t in tools_of(b, field))


def moss_turns(value: Mapping[str, Any], field: str) -> list[Message]:
    """MOSS's `chat`: an object of turns, each with Human, MOSS and steps between. ValueError names the turn."""
    out: list[Message] = []
    order = sorted(value.items(), key=lambda item: int(re.sub(r"\D", "", str(item[0])) or 0))
    for name, turn in order:
        where = f"{field}.{name}"
        said = {plain(str(k)): _unmarked(v) for k, v in turn.items()} if isinstance(turn, Mapping) else {}
        if not isinstance(said.get("human"), str) or not isinstance(said.get("moss"), str):
            raise ValueError(f"{where}: expected an object with Human and MOSS, got {shown(turn)}")
        if said.get("commands", "None") not in ("", "None", None):
            raise ValueError(f"{where}.Commands: expected None; calls of MOSS's plugins cannot be learned yet")
        thoughts = said.get("inner_thoughts") or ""
        out += [
            Message("user", said["human"]),
            Message("assistant", said["moss"], thinking="" if thoughts == "None" else thoughts),
        ]
    return out


def _unmarked(value: Any) -> Any:
    return MARKS.sub("", MARKS.sub("", value)).strip() if isinstance(value, str) else value
