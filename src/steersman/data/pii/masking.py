"""Masks personal data in a whole record: `[PHONE_1]` stands for its first phone number wherever that occurs.

Equal words get the same mark throughout a record, so that the dialogue still makes sense. The masked words are returned
beside the record, to be counted or kept encrypted (`vault`); what nobody keeps is lost.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.data.formats import Parsed
from steersman.data.pii import KINDS, Span, find, language, persons
from steersman.data.pii.finding import settled
from steersman.data.pii.firms import FIRM
from steersman.data.pii.titles import in_title
from steersman.messages import Conversation, Message
from steersman.parts import ToolCall
from steersman.types import Feedback, Ranking

MARK = re.compile(rf"\[({'|'.join(KINDS).upper()})_(\d+)\]")


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked record, and what its marks stand for."""

    record: Parsed
    kept: Mapping[str, str]
    """Mark -> the words it stands for, as first written."""
    counts: Mapping[str, int]
    """Kind -> number of places masked."""


def find_in_turns(turns: Sequence[str], kinds: Iterable[str] = KINDS) -> list[list[Span]]:
    """Personal data in each turn. A turn is read together with the one before it; a name found once is masked in
    all."""
    wanted = tuple(kinds)
    tongue = language(" ".join(turns))
    found = [find(text, turns[i - 1] if i else "", (*wanted, FIRM), tongue) for i, text in enumerate(turns)]
    known = sorted(
        {text[s.start : s.end] for text, spans in zip(turns, found, strict=True) for s in spans if s.kind == "name"}
    )
    if known:
        again = ([s for s in persons.again(text, known) if not in_title(text, s.start, s.end)] for text in turns)
        found = [settled([*spans, *more]) for spans, more in zip(found, again, strict=True)]
    return [[span for span in spans if span.kind != FIRM] for spans in found]


class _Marks:
    """The marks of one record."""

    def __init__(self, texts: Sequence[str], kinds: Iterable[str]) -> None:
        self.of: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()
        self.spans = dict(zip(texts, find_in_turns(texts, kinds), strict=True))
        # marks that people wrote themselves, or that an earlier cleaning left, are nobody else's
        self.taken = {m[0] for text in texts for m in MARK.finditer(text)}

    def __call__(self, text: str) -> str:
        out, at = [], 0
        for span in self.spans.get(text, ()):
            out += [text[at : span.start], self._mark(span.kind, text[span.start : span.end])]
            at = span.end
            self.counts[span.kind] += 1
        return "".join([*out, text[at:]]) if out else text

    def _mark(self, kind: str, said: str) -> str:
        key = (kind, said)
        if key not in self.of:
            number = 1 + sum(k == kind for k, _ in self.of)
            while (mark := f"[{kind.upper()}_{number}]") in self.taken:
                number += 1
            self.taken.add(mark)
            self.of[key] = mark
        return self.of[key]


def mask(record: Parsed, kinds: Iterable[str] = KINDS) -> Masked:
    """The record with personal data masked in all turns, calls and results of tools, answers and `meta`."""
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    mapped(record, note)
    marks = _Marks(list(dict.fromkeys(texts)), kinds)
    out = mapped(record, marks)
    return Masked(out, {mark: said for (_, said), mark in marks.of.items()}, dict(marks.counts))


def unmask(record: Parsed, kept: Mapping[str, str]) -> Parsed:
    """The record with its marks replaced by what they stand for; unknown marks stay."""
    return mapped(record, lambda text: MARK.sub(lambda m: kept.get(m[0], m[0]), text))


def mapped(record: Parsed, change: Callable[[str], str]) -> Parsed:
    """The record with `change` applied to each of its texts: turns, thoughts, calls and results of tools, answers,
    meta."""
    if isinstance(record, str):
        return change(record)
    if isinstance(record, Conversation):
        return dataclasses.replace(
            record,
            messages=tuple(_message(m, change) for m in record.messages),
            meta=_values(record.meta, change, OURS),
        )
    prompt = mapped(record.prompt, change)
    assert isinstance(prompt, Conversation)
    if isinstance(record, Ranking):
        return dataclasses.replace(record, prompt=prompt, answers=tuple(map(change, record.answers)))
    assert isinstance(record, Feedback)
    edited = change(record.edited) if record.edited is not None else None
    return dataclasses.replace(
        record, prompt=prompt, answer=change(record.answer), edited=edited, comment=change(record.comment)
    )


OURS = ("made", "flags", "source", "id", "of", "from", "language", "split")
"""Fields of `meta` that are ours: ids, hashes and names of sets."""


def _message(message: Message, change: Callable[[str], str]) -> Message:
    said = message.mapped(change)
    parts = [_call(part, change) if isinstance(part, ToolCall) else part for part in said.parts]
    thinking = change(said.thinking) if said.thinking else ""
    return Message(said.role, parts=parts, learn=said.learn, thinking=thinking, name=said.name)


def _call(call: ToolCall, change: Callable[[str], str]) -> ToolCall:
    value = call.to_json()
    function = dict(value["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.dumps(_values(json.loads(arguments), change), ensure_ascii=False)
        except ValueError:
            function["arguments"] = change(arguments)
    else:
        function["arguments"] = _values(arguments, change)
    return ToolCall.from_json(value | {"function": function})


def _values(value: Any, change: Callable[[str], str], but: Sequence[str] = ()) -> Any:
    """JSON with its strings changed, keys left alone."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {k: v if k in but else _values(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_values(v, change) for v in value]
    return value
