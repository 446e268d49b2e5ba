"""Public record formats -> ours. Each importer maps one record to a Conversation, a Ranking, a Feedback or a text.

An importer does not see files: it gets one JSON value and raises ValueError naming the field and the
expectation; the reader of the file adds file and line. `detect` recognises a format by a record's fields.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from steersman.data.formats import comparisons, dialogues, feedback, ranked
from steersman.data.formats.dialogues import Turn, conversation
from steersman.data.formats.field_names import IMAGES, MAPPABLE, MEDIA
from steersman.data.formats.fields import Fields, empty, parsed_json, plain, shown
from steersman.data.formats.transcripts import cued, is_hh
from steersman.data.pictures import MARK, beside, placed
from steersman.parts import IMAGE_PATH, Image
from steersman.types import FEEDBACK_KINDS, ROLES, Conversation, Feedback, Ranking

Parsed = Conversation | Ranking | Feedback | str
__all__ = [
    "DEFAULT_KIND",
    "FORMATS",
    "IMPORTERS",
    "MAPPABLE",
    "Fields",
    "Parsed",
    "Turn",
    "conversation",
    "detect",
    "detect_fields",
    "from_steersman",
    "images_beside",
    "parse",
    "shown",
    "to_line",
    "with_images",
]
RENDERED = re.compile(
    r"<\|im_start\|>|\[INST\]|<start_of_turn>|<\|start_header_id\|>|<\|(?:user|assistant)\|>|### Response:"
)
OWN_TURN = {"role", "content", "learn", "thinking", "tool_calls", "tool_call_id", "name", "annotations"}
"""Keys of a turn in our own JSON."""


def from_steersman(record: Mapping[str, Any]) -> Parsed:
    """Our own JSON: a Conversation, a Ranking or Feedback."""
    if "answers" in record:
        return Ranking.from_json(record)
    return Feedback.from_json(record) if "kind" in record else Conversation.from_json(record)


def _own(fields: Fields) -> Parsed:
    fields.used |= set(fields.record)
    return from_steersman(fields.record)


def _text(fields: Fields) -> Parsed:
    """Plain text for pretraining."""
    key, value = fields.take("text")
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected a string, got {shown(value)}")
    fields.note("texts with marks of a chat template: learned as they stand", bool(RENDERED.search(value)))
    return value


IMPORTERS: dict[str, Callable[[Fields], Parsed]] = {
    "messages": dialogues.from_dialogue,
    "steersman": _own,
    "alpaca": dialogues.from_answered,
    "sharegpt": dialogues.from_dialogue,
    "input_target": dialogues.from_answered,
    "hh": comparisons.from_comparison,
    "comparisons": comparisons.from_comparison,
    "sides": comparisons.from_sides,
    "rankings": ranked.from_ranking,
    "feedback": feedback.from_feedback,
    "prompts": dialogues.from_prompt,
    "transcript": dialogues.from_transcript,
    "text": _text,
}
FILE_FORMATS = ("csv", "chatlog", "markdown")
"""Formats of whole files rather than of records: see sources.py."""
FORMATS = (*IMPORTERS, *FILE_FORMATS)

DEFAULT_KIND = {
    "hh": "rankings",
    "comparisons": "rankings",
    "sides": "rankings",
    "rankings": "rankings",
    "feedback": "feedback",
    "prompts": "prompts",
    "text": "texts",
}
"""Format -> its kind where --kind is not given; other formats give demonstrations."""


def parse(name: str, record: Any) -> Parsed:
    """One record by the named format. Raises ValueError naming the field and what was expected."""
    return IMPORTERS[name](as_fields(record))


def as_fields(record: Any, **options: Any) -> Fields:
    if not isinstance(record, Mapping):
        raise ValueError(f"record: expected a JSON object, got {shown(record)}")
    return Fields(record, **options)


def detect(record: Any) -> str:
    """The format of a record by its fields; ValueError lists the known formats."""
    return detect_fields(as_fields(record))


def images_beside(fields: Fields) -> list[Image]:
    """The images that stand beside a record's dialogue. ValueError for sounds, and for images without a workspace
    to keep them, unless the user chose to ignore them."""
    out: list[Image] = []
    for name in MEDIA:
        key = fields.keys.get(name)
        if key is None or key in fields.used or empty(fields.record[key]):
            continue
        if fields.pictures is None or name not in IMAGES:
            what = "sounds and films" if fields.pictures else "images and sounds"
            raise ValueError(f"{key}: expected text alone; {what} cannot be learned yet")
        fields.used.add(key)
        values = beside(parsed_json(fields.record[key]))
        out += [fields.pictures.take(value, f"{key}[{i}]") for i, value in enumerate(values)]
    return out


def with_images(parsed: Parsed, images: list[Image], fields: Fields) -> Parsed:
    """The record with its separate images inserted at their places; images of our own JSON must exist.

    Counts records that have a field for images with nothing in it, and a mark for an image in their words.
    """
    if not images and fields.keys.keys() & set(IMAGES) and not isinstance(parsed, str):
        whole = parsed if isinstance(parsed, Conversation) else parsed.prompt
        if any(MARK in turn.text for turn in whole.messages):
            fields.note(f"marks {MARK} kept as words: the field for images is empty")
    if not images and fields.pictures is None:
        return parsed
    if isinstance(parsed, str):
        if images:
            raise ValueError("images: expected a dialogue; a text for pretraining has no place for them")
        return parsed
    parsed = placed(parsed, images, "images")
    prompt = parsed if isinstance(parsed, Conversation) else parsed.prompt
    fields.note("images taken in", sum(len(turn.images) for turn in prompt.messages))
    if fields.pictures is not None:
        for i, turn in enumerate(prompt.messages):
            for image in turn.images:
                fields.pictures.found(image, f"messages[{i}]")
    return parsed


def detect_fields(fields: Fields) -> str:
    if _is_own(fields.record):
        return "steersman"
    if (pair := comparisons.pair_of(fields)) is not None:
        lead = next((fields.record[k] for k in (fields.find("question"), pair[0]) if k is not None), None)
        return "hh" if is_hh(lead) else "comparisons"
    if comparisons.rejected_alone(fields) is not None and (fields.has("answer") or fields.has("messages")):
        return "comparisons"
    if comparisons.sides_of(fields) is not None:
        return "sides"
    asked = fields.has("question") or fields.has("messages") or fields.has("context")
    if asked and ranked.list_of(fields) is not None:
        return "rankings"
    answered = fields.has("answer") and (asked or fields.has("history"))
    if (answered or fields.has("messages")) and feedback.label_of(fields) is not None:
        return "feedback"
    if (key := fields.find("messages")) is not None and _is_dialogue(fields.record[key]):
        if dialogues.asks_in_turn(fields, key):
            return "prompts"
        return "sharegpt" if plain(key).startswith("conversation") else "messages"
    if answered:
        return (
            "alpaca"
            if fields.find("question") == "instruction" and fields.find("answer") == "output"
            else "input_target"
        )
    if fields.has("question"):
        return "prompts"
    if (key := fields.find("text")) is not None:
        value = fields.record[key]
        return "transcript" if isinstance(value, str) and cued(value) is not None else "text"
    if "messages" in fields.keys:
        return "messages"  # the format's importer reports their errors
    names = ", ".join(map(str, fields.record)) or "none"
    raise ValueError(
        f"record: no known format has these fields: {names}; name one with --format: {', '.join(FORMATS)}, or say what "
        f"the fields are: --map question=FIELD,answer=FIELD, of rows with one message each --map conversation=FIELD,"
        f"sender=FIELD,message=FIELD,time=FIELD ({', '.join(MAPPABLE)})"
    )


def _is_dialogue(value: Any) -> bool:
    value = parsed_json(value)
    return isinstance(value, list | Mapping) or (isinstance(value, str) and ":" in value)


def _is_own(record: Mapping[str, Any]) -> bool:
    """Whether a record is our own JSON: nothing in it would be lost."""
    if isinstance(record.get("prompt"), Mapping) and "messages" in record["prompt"]:
        return "answers" in record or (record.get("kind") in FEEDBACK_KINDS and "answer" in record)
    turns = record.get("messages")
    return (
        "id" in record
        and record.keys() <= {"id", "messages", "meta", "tools"}
        and isinstance(turns, list)
        and all(isinstance(t, Mapping) and t.keys() <= OWN_TURN and t.get("role") in ROLES for t in turns)
        and all(_own_content(t.get("content")) and _own_annotations(t.get("annotations", [])) for t in turns)
        and _in_turn(turns)
        and all("function" in tool for tool in record.get("tools", ()) if isinstance(tool, Mapping))
    )


def _own_content(content: Any) -> bool:
    """Words, or a list with an image of a workspace: a list of texts only is not our form."""
    if isinstance(content, str):
        return "<think>" not in content
    parts = [p for p in content if isinstance(p, Mapping)] if isinstance(content, list) else []
    images = [p.get("image_url") for p in parts if p.get("type") == "image_url"]
    paths = [i.get("url") for i in images if isinstance(i, Mapping)]
    texts = sum(p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts)
    named = sum(isinstance(p, str) and IMAGE_PATH.fullmatch(p) is not None for p in paths)
    return bool(named) and named + texts == len(content)


def _own_annotations(value: Any) -> bool:
    told = value if isinstance(value, list) else [None]
    return all(isinstance(a, Mapping) and a.get("type") == "url_citation" for a in told)


def _in_turn(turns: list[Mapping[str, Any]]) -> bool:
    """Whether turns need no correction: the user begins, nobody but tools speaks twice in a row, nothing is empty."""
    roles = [t["role"] for t in turns]
    begins = next((role for role in roles if role != "system"), "") == "user"
    twice = any(one == other != "tool" for one, other in itertools.pairwise(roles))
    return begins and not twice and all(_filled(t["content"]) or t.get("tool_calls") for t in turns[:-1])


def _filled(content: str | list[Any]) -> bool:
    return bool(content.strip() if isinstance(content, str) else content)


def to_line(record: Parsed) -> str:
    """A record as one line of our own JSON."""
    value = {"text": record} if isinstance(record, str) else record.to_json()
    return json.dumps(value, ensure_ascii=False)
