"""Learns how a chat template writes calls of tools, by rendering some with marked names and values."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from typing import Any

from steersman.parts import Json
from steersman.text.call_form import NAME, CallForm
from steersman.text.spans import sources
from steersman.text.template import PROBE, Template
from steersman.types import Conversation, Message

NAMES, KEYS, VALUES = ("zqnamea", "zqnameb"), ("zqkeya", "zqkeyb", "zqkeyc"), ("zqvala", "zqvalb")
NUMBER = 7201
KEY = "zqthekey"
IDS = ("zqida0001", "zqidb0002")
"""Mistral's templates want ids of nine characters."""
_THOUGHTS = re.compile(r"^\s*(?:<think>.*?</think>|</[\w:]*think>)\s*", re.DOTALL)
_JSON = json.JSONDecoder()


def probe_tool(name: str) -> Json:
    kinds = zip(KEYS, ("string", "string", "integer"), strict=True)
    properties = {key: {"type": kind, "description": "It."} for key, kind in kinds}
    function = {"name": name, "description": "Does it.", "parameters": {"type": "object", "properties": properties}}
    return {"type": "function", "function": function}


def probe_call(i: int) -> Json:
    arguments = json.dumps(dict(zip(KEYS, (*VALUES, NUMBER), strict=True)))
    return {"id": IDS[i], "type": "function", "function": {"name": NAMES[i], "arguments": arguments}}


def form_of(template: Template) -> CallForm | None:
    """How the template's model writes calls. None where calls could not be told from words."""
    asked = Conversation("probe", (PROBE,), tools=tuple(map(probe_tool, NAMES)))

    def render(calls: list[Json]) -> tuple[str, str]:
        turn = Message("assistant", None, tool_calls=calls)
        return template.written(asked), template.written(dataclasses.replace(asked, messages=(PROBE, turn)))

    return read_form(render, "\n".join(map(str, sources(template.tokenizer))))


def read_form(render: Callable[[list[Json]], tuple[str, str]], source: str) -> CallForm | None:
    """`render`: (prompt, the whole dialogue with the assistant's calls after it) for a list of calls; it may raise
    ValueError. None where the template writes no calls that could be told from words."""
    try:
        written = _answer(*render([probe_call(0)]))
    except ValueError:
        return _mentioned(source)
    try:
        both = _answer(*render([probe_call(0), probe_call(1)]))
    except ValueError:  # one call at a time
        both = ""
    form = _form(written, both)
    # a form that does not read its own sample back would read nonsense
    read = form.read(written, tuple(map(probe_tool, NAMES)))[0] if form is not None else []
    return form if read == [(NAMES[0], json.dumps(dict(zip(KEYS, (*VALUES, NUMBER), strict=True))))] else None


def _answer(prompt: str, whole: str) -> str:
    """What the model writes after the prompt, without thoughts; begins at the first mark that differs."""
    at = len(_common(prompt, whole))
    if not whole.startswith(prompt):
        while at and whole[at - 1] not in "\n >]}":
            at -= 1
    return _THOUGHTS.sub("", whole[at:]).lstrip()


def _form(written: str, both: str) -> CallForm | None:
    first = written.find(NAMES[0])
    at = written.rfind(NAMES[0], 0, written.find(KEYS[0]))
    if first < 0:
        return None
    if (found := _object_form(written, first)) is not None:
        return found
    if f"{NAMES[0]}({KEYS[0]}=" in written:
        return CallForm("python", _marker(written[:at]))
    marker, before = _marker(written[:at]), _before(written, both, at)
    if not marker or at != first:  # a name that is written twice would be read twice
        return None
    begin = written.find("{", at)
    head = f"{_literal(before)}(?P<name>{NAME})"
    if begin >= 0 and _decoded(written, begin) == dict(zip(KEYS, (*VALUES, NUMBER), strict=True)):
        return CallForm("behind", marker, head=head + _literal(written[at + len(NAMES[0]) : begin]))
    return _keyed(written, both, marker, head)


def _object_form(written: str, at: int) -> CallForm | None:
    """The form of calls whose JSON has the name in it."""
    for begin in (found.start() for found in re.finditer(r"\{", written[:at])):
        value = _decoded(written, begin)
        if not isinstance(value, dict) or NAMES[0] not in json.dumps(value):
            continue
        marker = _marker(written[:begin].rstrip().removesuffix("["))
        if NAMES[0] in value:
            return CallForm("json", marker)
        value = value.get("function", value)
        name = next((key for key, one in value.items() if one == NAMES[0]), None)
        given = next((key for key, one in value.items() if KEYS[0] in json.dumps(one)), "")
        return CallForm("json", marker, name, given) if name else None
    return None


def _keyed(written: str, both: str, marker: str, head: str) -> CallForm | None:
    """The form of calls whose arguments are named values."""
    places = [(at, at + len(word)) for word in (*KEYS, *VALUES, str(NUMBER)) if (at := written.find(word)) >= 0]
    if len(places) != 6:
        return None
    (key, key_end), (key2, _), (_, key3_end), (value, value_end), _, (number, number_end) = places
    between, name_end = written[value_end:key2], written.find(NAMES[0]) + len(NAMES[0])
    lead = _from_tag(_common_end(written[name_end:key], between))
    after = between[: len(between) - len(lead)]
    text, bare = written[key_end:value], written[key3_end:number]
    quote = text[len(bare) :] if bare and text.startswith(bare) else ""
    last = written[number_end:]
    second = both.rfind(NAMES[1])
    gap = both[both.find(str(NUMBER)) + len(str(NUMBER)) : second] if second >= 0 else last
    closing = after.removeprefix(quote).replace(KEYS[0], KEYS[2])
    tail = _common(last.removeprefix(closing), gap.removeprefix(closing)).strip()
    found = re.match(r"<[^<>]*>|[})]", tail) or re.match(r".*?</[^<>]*>", tail)
    tail = found[0] if found is not None else tail
    if not tail or (quote and text == bare):
        return None
    named = f"{_literal(lead)}(?P<key>{NAME})"
    ends = _literal(after.replace(KEYS[0], KEY)).replace(KEY, "(?P=key)")
    if quote:
        q = _literal(quote)
        value_form = f"(?:{_literal(text)}(?P<text>.*?){q}|{_literal(bare)}(?P<bare>\\[.*?\\]|[^,{{}}]+))"
    elif text != bare:
        value_form = f"(?:{_literal(text)}(?P<text>.*?)|{_literal(bare)}(?P<bare>.*?)){ends}"
    else:
        value_form = f"{_literal(text)}(?P<text>.*?){ends}"
    return CallForm("keyed", marker, head=head, tail=_literal(tail), item=named + value_form, quote=quote)


def _common(one: str, other: str) -> str:
    return os.path.commonprefix([one, other])  # noqa: RUF071  of characters


def _common_end(one: str, other: str) -> str:
    return _common(one[::-1], other[::-1])[::-1]


def _from_tag(text: str) -> str:
    """From the first tag on, without the end of one before it."""
    return text[max(text.find("<"), 0) :]


def _before(written: str, both: str, at: int) -> str:
    """What stands before every call's name."""
    second = both.rfind(NAMES[1])
    one = written[:at].replace(IDS[0], "\0")
    return one if second < 0 else _from_tag(_common_end(one, both[:second].replace(IDS[1], "\0")))


def _marker(before: str) -> str:
    """What begins the calls: the first line of what stands before the first name, up to the call's id."""
    return before.strip().partition("\n")[0].partition(IDS[0])[0].strip()


def _literal(text: str) -> str:
    """A pattern of the text with white space of any length, any id and any number."""
    pattern = re.escape(re.sub(r"\s+", " ", text.replace(IDS[0], "\0"))).replace(r"\ ", r"\s*")
    return re.sub(r"\d+", r"\\d+", pattern.replace("\0", r"[\w.:-]*"))


def _decoded(text: str, at: int) -> Any:
    try:
        return _JSON.raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        return None


def _mentioned(source: str) -> CallForm | None:
    """By the marks in the source of a template that shows tools and does not write earlier calls."""
    if "<|tool_calls_section_begin|>" in source:
        head = rf"<\|tool_call_begin\|>(?:functions\.)?(?P<name>{NAME}):\d+\s*<\|tool_call_argument_begin\|>"
        return CallForm("behind", "<|tool_calls_section_begin|>", head=head)
    if "<|tool_list_start|>" in source or "<|tool_call_start|>" in source:
        return CallForm("python", "<|tool_call_start|>")
    for marker in ("<|tool_call|>", "<tool_call>", "[TOOL_CALLS]"):
        if marker in source:
            return CallForm("json", marker, "name", "arguments")
    return None
