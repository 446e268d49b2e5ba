"""Calls of tools as families write them, read back from the very text that their templates render."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

import pytest

from steersman.parts import ToolCall
from steersman.text.call_form import CallForm, CallReader
from steersman.text.call_probe import _answer, form_of
from steersman.text.template import Template
from steersman.types import Conversation, Message
from test_template_families import PUBLISHED, tokenizer_for

HERMES = CallForm("json", "<tool_call>", "name", "arguments")
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": 'São Paulo, "X" <b>', "days": 3, "tags": ["a", "b"], "zip": "01234"}),
    ("other_fn", {"city": "北京 there"}),
]
KINDS = {"city": "string", "days": "integer", "tags": "array", "zip": "string"}
TOOLS = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", "properties": {key: {"type": kind} for key, kind in KINDS.items()}},
        },
    }
    for name, _ in CALLS
)
ALONE = {"LFM2.5-8B-A1B"}
"""Writes two calls, the second of them with the first one's quotes unescaped."""


def read(form: CallForm, text: str, size: int = 1) -> tuple[str, list[tuple[str, Any]]]:
    """(words, calls) of an answer that comes in pieces of this size."""
    reader, out = CallReader(form, TOOLS, lambda: "id"), list[str | ToolCall]()
    for at in range(0, len(text), size):
        out += reader.feed(text[at : at + size])
    out += reader.end()
    calls = [(one.name, json.loads(one.arguments)) for one in out if isinstance(one, ToolCall)]
    return "".join(one for one in out if isinstance(one, str)), calls


def written(template: Template, count: int) -> str:
    """The answer with the first calls, as the template writes it. ValueError where it refuses them."""
    asked = Conversation("c", (Message("user", "Where?"),), tools=TOOLS)
    calls = [
        {"id": f"abcdefgh{i}", "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
        for i, (n, a) in enumerate(CALLS[:count])
    ]
    turn = Message("assistant", None, tool_calls=calls)
    whole = template.written(dataclasses.replace(asked, messages=(*asked.messages, turn)))
    answer = _answer(template.written(asked), whole)
    end = template.tokenizer.convert_ids_to_tokens(template.end_of_turn)
    return answer.partition(end)[0] if end in answer else answer


def round_trips(stem: str) -> str:
    """The kind of the form, '' where the family has no tools or its template does not write calls."""
    (path,) = (path for path in PUBLISHED if path.stem == stem)
    try:
        template = Template(tokenizer_for(path.read_text(encoding="utf-8")))
        answers = [written(template, 1)]
    except ValueError:
        return ""
    with contextlib.suppress(ValueError):  # one call at a time
        answers += [written(template, 2)] if stem not in ALONE else []
    form = form_of(template)
    assert form is not None, stem
    for count, answer in enumerate(answers, 1):
        said, calls = read(form, f"Let me see.\n{answer}" if form.marker else answer, 5)
        assert (said, calls) == ("Let me see." if form.marker else "", CALLS[:count]), stem
    return form.kind


FAMILIES = {
    "Qwen-Qwen2.5-7B-Instruct": "json",
    "meta-llama-Llama-3.2-3B-Instruct": "json",
    "Mistral-Small-3.2-24B-Instruct-2506": "behind",
    "google-gemma-4-31B-it-interleaved": "keyed",
    "deepseek-ai-DeepSeek-V3.2": "keyed",
    "Qwen3-Coder": "keyed",
    "GLM-4.6": "keyed",
    "LFM2.5-8B-A1B": "python",
}


@pytest.mark.parametrize("stem", FAMILIES)
def test_families_calls_are_read_back(stem: str) -> None:
    if not PUBLISHED:
        pytest.skip("../shared/data/templates is not there")
    assert round_trips(stem) == FAMILIES[stem]


@pytest.mark.slow
def test_all_published_templates_calls_are_read_back() -> None:
    if not PUBLISHED:
        pytest.skip("../shared/data/templates is not there")
    # the name is written twice, or stands where words would; lists are tags
    kinds = [
        round_trips(p.stem)
        for p in PUBLISHED
        if p.stem not in ("muse-glimmer", "meetkai-functionary-medium-v3.2", "MiniMax-M3")
    ]
    assert sum(map(bool, kinds)) >= 39


@pytest.mark.parametrize(
    ("text", "words", "names"),
    [
        ("Plain words.", "Plain words.", []),
        ("1 < 2 and <tool", "1 < 2 and <tool", []),
        ('A\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "A", ["f"]),
        ('<tool_call>{"name": "f", "arguments": {"a": "</tool_call>{"}}</tool_call>', "", ["f"]),
        ('<tool_call>{"name": "f"}</tool_call>\nDone, I think.', "Done, I think.", ["f"]),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', "", ["f"]),
        ('<tool_call>{"name": "f", "argu', '<tool_call>{"name": "f", "argu', []),
        ("<tool_call>not JSON</tool_call>", "<tool_call>not JSON</tool_call>", []),
        ('<tool_call>{"name": 5, "arguments": {}}', '<tool_call>{"name": 5, "arguments": {}}', []),
        ("<tool_call>" + "[" * 50_000, "<tool_call>" + "[" * 50_000, []),
    ],
)
def test_nothing_is_lost_of_what_is_no_call(text: str, words: str, names: list[str]) -> None:
    for size in (1, 7, len(text)) if len(text) < 200 else (len(text),):
        said, calls = read(HERMES, text, size)
        assert (said, [name for name, _ in calls]) == (words, names)


def test_words_do_not_wait_for_an_answers_end() -> None:
    reader = CallReader(HERMES, TOOLS, lambda: "id")
    assert [reader.feed(piece) for piece in ("Hello ", "there", " <to", "ast> it ")] == [
        ["Hello"],
        [" there"],
        [],
        [" <toast> it"],
    ]


def test_an_answer_that_is_the_call_must_name_a_tool() -> None:
    bare = CallForm("json", "", "name", "parameters")
    assert read(bare, '{"name": "get_weather", "parameters": {"city": "Ulm"}}') == (
        "",
        [("get_weather", {"city": "Ulm"})],
    )
    said = '{"name": "Ann", "age": 5}'
    assert read(bare, said) == (said, [])
    assert read(bare, "It is 5 {degrees}.") == ("It is 5 {degrees}.", [])
