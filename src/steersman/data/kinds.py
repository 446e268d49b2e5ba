"""Converts records to the kinds of data sets: demonstrations, prompts, rankings, feedback, texts."""

from __future__ import annotations

import dataclasses

from steersman.data.formats import Parsed
from steersman.types import Conversation, Feedback, Ranking

KINDS = ("demonstrations", "prompts", "rankings", "feedback", "texts")
DIALOGUES = "dialogues"
"""Beside the kinds of data sets: unchanged conversations, whoever speaks last."""
JUDGED = "judged"
"""Beside the kinds of data sets: rankings and feedback together, for KTO."""


class LeftOut(Exception):
    """A valid record that must not be used as this kind; counted, never an error."""


def as_kind(record: Parsed, kind: str, trim_last_user: bool = False) -> Parsed:
    """The record as one of `kind`. ValueError with the reason where it cannot be, LeftOut where it must not be.

    A ranking's best answer may serve as a demonstration and its prompt as a prompt; a liked answer may too, a disliked
    one never. A dialogue that ends with the user is no demonstration, unless `trim_last_user` cuts
    that turn off.
    """
    if kind == "texts" or isinstance(record, str):
        if kind == "texts" and isinstance(record, str):
            return record
        raise ValueError(
            "text: expected a record with a field 'text'" if kind == "texts" else f"record: expected {kind}, got text"
        )
    if isinstance(record, Feedback):
        return _feedback_as(record, kind)
    if kind in ("rankings", "feedback", JUDGED):
        if isinstance(record, Ranking) and kind != "feedback":
            return record
        expected = "one answer with a label" if kind == "feedback" else "several answers to compare"
        raise ValueError(
            f"answers: expected {expected}, got {'several' if isinstance(record, Ranking) else 'one dialogue'}"
        )
    if isinstance(record, Ranking):
        best = min(range(len(record.answers)), key=lambda i: record.order[i])
        return record.prompt if kind == "prompts" else record.prompt.with_answer(record.answers[best])
    if kind == "prompts" and not record.is_prompt:
        return record.without_answer()
    if kind == "demonstrations":
        return _demonstration(_answered(record, trim_last_user) if record.is_prompt else record)
    return record


def _feedback_as(said: Feedback, kind: str) -> Parsed:
    if kind in ("feedback", JUDGED):
        return said
    if kind == "prompts":
        return said.prompt
    if kind == "rankings":
        raise ValueError(
            "answers: expected several answers to compare, got one answer with a label; import such with "
            "--kind feedback (steersman kto learns from it)"
        )
    if said.kind == "edit" and said.edited:
        return said.prompt.with_answer(said.edited)
    if said.kind != "like":
        raise LeftOut("answers that were not liked are no demonstrations")
    return said.prompt.with_answer(said.answer)


def _demonstration(record: Conversation) -> Conversation:
    if not any(m.learn for m in record.messages if m.role == "assistant"):
        raise LeftOut("every turn of the assistant is marked as not to be learned")
    return record


def _answered(record: Conversation, trim_last_user: bool) -> Conversation:
    trimmed = record.messages[:-1]
    if trim_last_user and trimmed and trimmed[-1].role == "assistant":
        return dataclasses.replace(record, messages=trimmed)
    raise ValueError(
        f"messages[{len(record.messages) - 1}]: expected a demonstration to end with the assistant, got dialogue "
        f"'{record.id}', which ends with the {record.messages[-1].role}; leave such out with --skip-bad, cut the turn "
        "with --trim-last-user, or import with --kind prompts"
    )


def usual_kind(parsed: Parsed) -> str:
    if isinstance(parsed, str):
        return "texts"
    if isinstance(parsed, Feedback):
        return "feedback"
    return "rankings" if isinstance(parsed, Ranking) else "demonstrations"
