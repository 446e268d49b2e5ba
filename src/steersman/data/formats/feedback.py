"""Records that say whether one answer was good: TRL's and LLaMA-Factory's KTO forms, thumbs, safety labels."""

from __future__ import annotations

from typing import Any

from steersman.data.formats.dialogues import content_id, conversation, prompt_of, take_answer, with_system
from steersman.data.formats.fields import Fields, parsed_json, plain, shown
from steersman.types import Feedback, Message

GOOD = ("true", "good", "positive", "pos", "like", "liked", "up", "thumbs_up", "thumbsup", "desirable", "upvote", "yes")
MORE_GOOD = ("chosen", "accepted", "safe", "1", "+1", "👍", "好", "赞", "喜欢", "满意", "正确", "helpful", "desired")
BAD = ("false", "bad", "negative", "neg", "dislike", "disliked", "down", "thumbs_down", "thumbsdown", "undesirable")
MORE_BAD = (
    *("downvote", "no", "rejected", "unsafe", "0", "-1", "👎", "坏", "差", "踩", "不喜欢", "不满意", "错误"),
    "unhelpful",
)
LIKED = {**dict.fromkeys((*GOOD, *MORE_GOOD), True), **dict.fromkeys((*BAD, *MORE_BAD, "undesired"), False)}


def verdict(value: Any) -> bool | None:
    """Whether a label calls an answer good; None where it is no such label."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value == 1) if value in (1, 0, -1) else None
    return LIKED.get(plain(value)) if isinstance(value, str) else None


def label_of(fields: Fields) -> str | None:
    """The field that says whether the answer was good, by its name and its value."""
    mapped = fields.find("label") if "label" in fields.mapping else None
    names = (n for n in fields.names("label") if n in fields.keys)
    return mapped or next((fields.keys[n] for n in names if verdict(fields.record[fields.keys[n]]) is not None), None)


def labels_of(fields: Fields) -> str | None:
    """The field with one label for each of several answers."""
    for name in ("labels", "label", *fields.mapping.get("label", ())):
        key: str | None = fields.keys.get(name)
        value = parsed_json(fields.record[key]) if key is not None else None
        if key is not None and isinstance(value, list) and value and all(verdict(v) is not None for v in value):
            return key
    return None


def from_feedback(fields: Fields) -> Feedback:
    """A prompt (or a dialogue) with its answer, and a label that calls it good or not."""
    key = label_of(fields)
    if key is None:
        raise ValueError(
            "label: expected a field that says whether the answer is good: true or false, 1 or 0, got none"
        )
    value = fields.take("label", key)[1]
    liked = verdict(value)
    if liked is None:
        raise ValueError(f"{key}: expected true or false (or 1 or 0, good or bad), got {shown(value)}")
    turns, where = prompt_of(fields)
    turns = take_answer(fields, turns) if fields.has("answer") else turns
    if not turns or turns[-1].role != "assistant":
        raise ValueError(f"{where}: expected a dialogue that ends with the answer that '{key}' is of")
    if turns[-1].tool_calls:
        raise ValueError(f"{where}: expected an answer in words; calls of tools cannot be judged yet")
    asked, tools = with_system(turns[:-1], fields)
    return judged(fields, asked, tools, turns[-1], where, liked)


def judged(fields: Fields, asked: list[Message], tools: Any, answer: Message, where: str, liked: bool) -> Feedback:
    fields.note("thoughts of judged answers left out", bool(answer.thinking))
    prompt = conversation(asked, where, fields, tools)
    kind = "like" if liked else "dislike"
    return Feedback(content_id(prompt.id, answer.content, kind), kind, prompt, answer.content)  # type: ignore[arg-type]
