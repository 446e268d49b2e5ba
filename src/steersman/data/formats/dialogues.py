"""Records of one dialogue: lists of turns, a question and its answer, a prompt alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.data.formats.calls import calls_in, tools_of
from steersman.data.formats.field_names import BODIES, SUBJECTS
from steersman.data.formats.fields import Fields, empty, parsed_json, plain, shown, trimmed, turns_in
from steersman.data.formats.markup import WRITTEN, plain_text
from steersman.data.formats.settling import settled
from steersman.data.formats.transcripts import (
    ESCAPED,
    cued,
    glaive_system,
    glaive_turns,
    moss_turns,
    text_turns,
    with_newlines,
)
from steersman.data.formats.turns import speaks, split_thoughts, turns_of
from steersman.parts import Text
from steersman.types import Conversation, Json, Message

Turn = tuple[str, str]
KEPT_META = ("source", "type", "category", "topic", "answer_choices", "meta", "language", "lang", "domain", "url")
"""Fields that are kept in a record's meta."""
AS_TEXT = ("chat", "conversation", "dialogue", "dialog", "transcript", "plain_text")
"""Fields that may hold a dialogue as one text."""
TEXT_OF_QUESTION = ("full_text", "question", "text", "content")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def content_id(*parts: str) -> str:
    """A short id that depends on the content alone."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def conversation(
    turns: Sequence[Turn | Message], field: str, record: Fields | Mapping[str, Any], tools: tuple[Json, ...] = ()
) -> Conversation:
    """Turns as a Conversation with the record's id and meta. `field` names the turns in errors."""
    fields = record if isinstance(record, Fields) else Fields(record)
    if not turns:
        raise ValueError(f"{field}: expected at least one turn, got none")
    messages = [m if isinstance(m, Message) else Message(m[0], m[1]) for m in turns]  # type: ignore[arg-type]
    messages = settled(messages, field, fields)
    key = next((k for n in fields.names("id") if (k := fields.keys.get(n)) is not None), None)
    own = fields.record[key] if key is not None else None
    named = isinstance(own, str | int) and str(own)
    fields.used |= {key} if key is not None else set()
    meta: dict[str, Any] = {}
    for name in KEPT_META:
        if (key := fields.keys.get(name)) is not None and key not in fields.taken.values():
            fields.used.add(key)
            if not empty(fields.record[key]):
                meta[name] = fields.record[key]
    if isinstance(meta.get("meta"), Mapping):
        meta |= dict(meta.pop("meta"))
    name = str(own) if named else content_id(*(f"{m.role}:{m.spelled}" for m in messages))
    return Conversation(name, tuple(messages), meta, tools)


def said_text(value: Any, field: str) -> str:
    """The text of a string, a list of parts, or a turn."""
    if isinstance(value, Mapping):
        value = value.get("parts", value.get("content", value.get("text")))
    if isinstance(value, list) and all(isinstance(p, str) or (isinstance(p, Mapping) and "text" in p) for p in value):
        value = "\n".join(p if isinstance(p, str) else str(p["text"]) for p in value)
    if not isinstance(value, str):
        raise ValueError(f"{field}: expected a string, got {shown(value)}")
    return value


def with_system(turns: list[Message], fields: Fields) -> tuple[list[Message], tuple[Json, ...]]:
    """The turns after the record's system text, and its tools. ValueError where two system texts contradict."""
    tools: tuple[Json, ...] = ()
    if (key := fields.find("tools")) is not None:
        tools = tools_of(fields.take("tools")[1], key)
    text = ""
    while (key := fields.find("system")) is not None:
        value = said_text(fields.take("system")[1], key)
        if value.lstrip().startswith("SYSTEM:"):
            value, named = glaive_system(value, key)
            tools = tools or named
        if text.strip() and value.strip() and text.strip() != value.strip():
            raise ValueError(f"{key}: expected one system text, but {fields.taken['system']} says another")
        text = text or value
    if not text.strip():
        return turns, tools
    if turns and turns[0].role == "system":
        if turns[0].text.strip() != text.strip():
            raise ValueError(
                f"{fields.taken['system']}: expected one system text, but the first turn says another: "
                f"{shown(turns[0].text)}"
            )
        return turns, tools
    return [Message("system", text), *turns], tools


def asks_in_turn(fields: Fields, key: str) -> bool:
    """Whether the field has MT-bench's successive questions without answers, of which the first is a prompt."""
    value = fields.record[key]
    return (
        plain(key) == "turns" and "question_id" in fields.keys and isinstance(value, list) and isinstance(value[0], str)
    )


def past_turns(fields: Fields) -> list[Message]:
    """Earlier turns out of `history`: pairs of question and answer, or turns."""
    key = fields.find("history")
    if key is None:
        return []
    value = parsed_json(fields.take("history")[1])
    if empty(value):
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key}: expected a list of [question, answer] pairs, got {shown(value)}")
    rest = len(value) + ("question" not in fields.taken)  # the answer follows, or a question and then the answer
    if all(isinstance(said, str) for said in value) and ("question" not in fields.taken or rest % 2 == 0):
        fields.note("turns without a speaker: taken for user and assistant in turn")
        return [Message("assistant" if (rest - i) % 2 else "user", said) for i, said in enumerate(value)]
    if not any(map(speaks, value)):
        fields.note(f"'{key}' that lists tickets or events instead of turns: not used")
        return []
    out: list[Message] = []
    for i, pair in enumerate(value):
        if isinstance(pair, list | tuple):
            if not (len(pair) == 2 and all(isinstance(x, str) for x in pair)):
                raise ValueError(f"{key}[{i}]: expected a pair [question, answer] of strings, got {shown(pair)}")
            out += [Message("user", pair[0]), Message("assistant", pair[1])]
        elif isinstance(pair, Mapping):
            return turns_of(value, key, fields)
        else:
            raise ValueError(f"{key}[{i}]: expected a pair [question, answer] of strings, got {shown(pair)}")
    return out


def prompt_of(fields: Fields) -> tuple[list[Message], str]:
    """(turns, field): the record's turns before the answer, without system text."""
    if (key := fields.find("messages")) is not None and not isinstance(parsed_json(fields.record[key]), str):
        value = parsed_json(fields.take("messages")[1])
        if asks_in_turn(fields, key):
            fields.note("later questions of a benchmark left out", len(value) - 1)
            return [Message("user", value[0])], key
        if plain(key) == "chat" and isinstance(value, Mapping) and "messages" not in value:
            return moss_turns(value, key), key
        return turns_of(value, key, fields), key
    if key is not None and isinstance(fields.record[key], str) and plain(key) in AS_TEXT:
        text = fields.take("messages")[1]
        if re.match(r"\s*USER:", text) and ("ASSISTANT:" in text or "FUNCTION RESPONSE" in text):
            return glaive_turns(text, key, fields), key
        return text_turns(text, key, fields), key
    role = next((r for r in ("question", "context") if fields.has(r)), "question")
    if role == "question" and not fields.has(role) and fields.has("history") and not fields.has("context"):
        key = str(fields.find("history"))
        if isinstance(fields.record[key], str):  # SHP: the post and what is asked
            return [Message("user", fields.take("question", key)[1])], key
        return past_turns(fields), key
    key, value = fields.take(role)
    value = turns_in(value)
    if isinstance(value, Mapping) and not _has_role(value):  # WebGPT: the question together with its source
        value = next((value[k] for k in TEXT_OF_QUESTION if isinstance(value.get(k), str)), value)
    past = past_turns(fields)
    if isinstance(value, list | Mapping):
        return [
            *past,
            *turns_of([value] if isinstance(value, Mapping) and "messages" not in value else value, key, fields),
        ], key
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected a string, got {shown(value)}")
    before, extra = _context(fields) if role == "question" else ([], "")
    text = "\n\n".join(part for part in (value, extra) if part) if extra else value
    return [*past, *before, *_with_choices(text_turns(text, key, fields), fields)], key


def _context(fields: Fields) -> tuple[list[Message], str]:
    """(turns, text) that a question comes with: Alpaca's input, Dolly's context, a passage."""
    turns, texts = [], []
    while (key := fields.find("context")) is not None:
        value = turns_in(fields.take("context")[1])
        fields.taken["context"] = key
        if isinstance(value, list) and value and all(isinstance(item, Mapping | list) for item in value):
            turns += turns_of(value, key, fields)
        elif value not in ("", []):
            texts.append(said_text(value, key))
    key = fields.find("text") if fields.has("answer") else None
    if key is not None and isinstance(fields.record[key], str) and not _renders(fields.record[key], fields):
        texts.append(fields.take("text")[1])
    return turns, "\n\n".join(filter(None, texts))


def _renders(text: str, fields: Fields) -> bool:
    """Whether the field 'text' repeats question and answer, like Alpaca's."""
    pair = fields.record[fields.taken["question"]], fields.record[str(fields.find("answer"))]
    return all(isinstance(said, str) and said.strip() in text for said in pair)


def _with_choices(turns: list[Message], fields: Fields) -> list[Message]:
    """A multiple-choice question with its choices under it, where it does not name them itself."""
    if not fields.has("answer") or (key := fields.find("choices")) is None:
        return turns
    value = parsed_json(fields.record[key])
    value = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(value, list) or not value or not all(isinstance(c, str) for c in value):
        return turns
    fields.take("choices")
    last = turns[-1].spelled
    if all(choice in last for choice in value) or len(value) > len(LETTERS):
        return turns
    fields.note("choices written under their question")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, value, strict=False))
    return [*turns[:-1], Message(turns[-1].role, [*turns[-1].said, Text(f"\n{listed}")])]


def answer_message(value: Any, field: str, fields: Fields) -> Message:
    """An answer said as a string, as one turn, or as the last of a list of turns."""
    value = turns_in(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, list | Mapping):
        turns = turns_of(value if isinstance(value, list) else [value], field, fields) if _has_role(value) else []
        if not turns and isinstance(value, Mapping):
            return Message("assistant", said_text(value, field))
        if not turns or turns[-1].role != "assistant":
            raise ValueError(f"{field}: expected a string or an assistant's turn, got {shown(value)}")
        return turns[-1]
    if not isinstance(value, str):
        raise ValueError(f"{field}: expected a string, got {shown(value)}")
    thoughts, said = split_thoughts(value)
    fields.note("thoughts kept apart from what is said", bool(thoughts))
    return Message("assistant", trimmed(said), thinking=thoughts)


def _has_role(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, Mapping) and any(k in first for k in ("role", "from", "speaker", "author"))


def take_answer(fields: Fields, turns: list[Message]) -> list[Message]:
    """The record's answer as turns after `turns`, with its thoughts and its choice's letter. Raises as `take` does."""
    key, value = fields.take("answer")
    if type(value) is int and "choices" in fields.taken and 0 <= value < len(LETTERS):
        value = LETTERS[value]
    whole = turns_in(value)
    if isinstance(whole, list) and len(whole) > 1 and _has_role(whole):
        said = turns_of(whole, key, fields)
        common = next((n for n in range(len(said), 0, -1) if said[:n] == turns[-n:]), 0)
        return [*turns, *said[common:]]
    message = _calls(whole, key, fields) or answer_message(value, key, fields)
    if (thoughts := fields.find("thinking")) is not None and not message.thinking:
        text = fields.record[thoughts]
        if isinstance(text, str) and text.strip():
            fields.take("thinking")
            fields.note("thoughts kept apart from what is said")
            message = Message("assistant", message.said, thinking=text.strip())
    return [*turns, message]


def _calls(value: Any, key: str, fields: Fields) -> Message | None:
    """An answer that is nothing but calls of the record's tools, as a list in JSON (xLAM); else None."""
    value = parsed_json(value)
    if not (fields.has("tools") and isinstance(value, list) and value):
        return None
    if not all(isinstance(v, Mapping) and {"name", "arguments"} <= v.keys() for v in value):
        return None
    return Message("assistant", "", tool_calls=tuple(calls_in(value, key)))


def from_transcript(fields: Fields) -> Conversation:
    """A field `text` that holds a whole dialogue, each turn after its speaker's name (Guanaco)."""
    key, value = fields.take("text")
    return conversation(text_turns(value, key, fields), key, fields)


def from_dialogue(fields: Fields) -> Conversation:
    """Turns (OpenAI, ShareGPT, Gemini, Bedrock, Cohere, xTuner), with system, tools and, where apart, an answer."""
    key = fields.find("messages")
    if key is None or not (plain(key) in AS_TEXT or isinstance(parsed_json(fields.record[key]), list | Mapping)):
        key = key or next((fields.keys[n] for n in fields.names("messages") if n in fields.keys), "messages")
        got = shown(fields.record[key]) if key in fields.record else "no such field"
        raise ValueError(f"{key}: expected a non-empty list of turns, got {got}")
    turns, key = prompt_of(fields)
    if turns and turns[-1].role != "assistant" and fields.has("answer"):
        turns = take_answer(fields, turns)
    context = fields.find("context")
    if context is not None and isinstance(fields.record[context], str) and not fields.has("system"):
        fields.take("system", context)
        turns = [Message("system", fields.record[context]), *turns]
    turns, tools = with_system(turns, fields)
    return conversation(turns, key, fields, tools)


def from_answered(fields: Fields) -> Conversation:
    """A question (with input, context, history, system) and its answer, by any of their names."""
    turns, key = prompt_of(fields)
    turns = take_answer(fields, turns)
    asked = fields.record[key]
    if isinstance(asked, str) and ESCAPED.search(asked) and cued(asked) and "\\" in turns[-1].text:
        turns[-1] = turns[-1].mapped(with_newlines)
        fields.note("answers to transcripts in which newlines are written \\n: theirs too")
    if plain(fields.taken.get("question", "")) in (*SUBJECTS, *BODIES) and any(WRITTEN.search(m.text) for m in turns):
        turns = [m.mapped(plain_text) for m in turns]
        fields.note("tickets whose HTML was turned into text")
    turns, tools = with_system(turns, fields)
    return conversation(turns, "turns" if fields.has("history") else key, fields, tools)


def from_prompt(fields: Fields) -> Conversation:
    """A prompt alone."""
    turns, key = prompt_of(fields)
    if fields.has("answer"):
        fields.take("answer")
        fields.note("answers cut off prompts")
    turns, tools = with_system(turns, fields)
    return conversation(turns, key, fields, tools)
