"""Messages of parts: their JSON is what it was for words alone, and OpenAI's form for everything else."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import pytest

from steersman.data.clean import clean, text_of
from steersman.data.formats.dialogues import conversation
from steersman.messages import Conversation, Message
from steersman.parts import Citation, Image, Text, ToolCall, ToolResult
from steersman.text.dialogue import fold_system, join_turns

CAT = Image("ab" + "0" * 62, "image/png", 640, 480)
DOG = Image("cd" + "1" * 62, "image/jpeg")
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
PLAIN = [
    {"role": "user", "content": "Where is it? 在哪里？"},
    {"role": "assistant", "content": "", "learn": False, "tool_calls": [CALL]},
    {"role": "assistant", "content": "  Here.\n", "thinking": "hm"},
    {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "look"},
    {"role": "tool", "content": ""},
    {"role": "user", "content": "hi", "name": "bob"},
    {"role": "assistant", "content": "x", "tool_calls": [{"function": {"arguments": {"a": 1}, "name": "f"}}]},
    {"role": "assistant", "content": "x", "tool_calls": [{"type": "function", "id": "2", "function": {"name": "f"}}]},
    {"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": "{}", "index": 0}]},
]


@pytest.mark.parametrize("value", PLAIN)
def test_words_alone_are_written_as_they_were(value: dict[str, Any]) -> None:
    message = Message.from_json(value)
    assert json.dumps(message.to_json()) == json.dumps(value)
    assert message.content == message.text == value["content"]
    assert [*message.tool_calls] == value.get("tool_calls", [])
    assert pickle.loads(pickle.dumps(message)) == message == dataclasses.replace(message, learn=message.learn)


def test_parts_have_one_order_and_one_form() -> None:
    assert Message("user", "hi") == Message("user", [Text("h"), Text(""), Text("i")])
    assert Message("user", "").parts == ()
    called = Message("assistant", [ToolCall("c1", "look", '{"at": "x"}'), Text("Let me see.")])
    assert called == Message("assistant", "Let me see.", tool_calls=[CALL])
    assert called.tool_calls == (CALL,)
    answered = Message("tool", "42", tool_call_id="c1", name="look")
    assert answered.parts == (ToolResult("c1", "look", (Text("42"),)),)
    assert (answered.text, answered.tool_call_id, answered.name) == ("42", "c1", "look")
    with pytest.raises(TypeError, match="got both"):
        Message("user", "a", parts=[Text("b")])
    with pytest.raises(ValueError, match="one tool's result"):
        Message("tool", [ToolResult("1", ""), ToolResult("2", "")])


def test_images_are_written_as_openai_writes_them() -> None:
    message = Message("user", [Text("What is "), CAT, Text("this? 这是什么？")])
    value = message.to_json()
    assert value["content"][1] == {
        "type": "image_url",
        "image_url": {"url": f"media/ab/{CAT.sha256}.png", "width": 640, "height": 480},
    }
    assert Message.from_json(value) == message
    assert message.text == "What is this? 这是什么？"
    assert message.spelled == f"What is [{CAT.path}]this? 这是什么？"
    with pytest.raises(ValueError, match=r"image, its content is no string; expected \.text or \.said"):
        message.content  # noqa: B018
    seen = Message("tool", [Text("A screen: "), DOG], tool_call_id="c1")
    assert Message.from_json(seen.to_json()) == seen
    assert seen.images == (DOG,)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/cat.png", "expected an image of this workspace"),
        ("data:image/png;base64,AAAA", "`steersman data import` reads"),
        (f"media/ab/../{CAT.sha256}.png", "expected an image of this workspace"),
        (f"media/ac/{CAT.sha256}.png", "expected an image of this workspace"),
        (None, "expected an image of this workspace"),
    ],
)
def test_other_addresses_of_images_are_refused(url: Any, said: str) -> None:
    value = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    with pytest.raises(ValueError, match=r"m\[0\]\.content\[0\]\.image_url\.url: .*" + said):
        Message.from_json(value, "m[0]")


@pytest.mark.parametrize("content", [None, 3, [{"type": "video"}], ["x"], [{"type": "text"}]])
def test_what_is_no_content_is_named(content: Any) -> None:
    with pytest.raises(ValueError, match=r"message\.content"):
        Message.from_json({"role": "user", "content": content})


def test_citations_are_annotations_that_go_with_their_words() -> None:
    cited = Citation("https://x.org/a", "A", 4, 9, "e" * 64)
    message = Message("assistant", [Text(" See Paris 巴黎.\n"), dataclasses.replace(cited, start=5, end=10)])
    value = message.to_json()
    assert value["content"] == " See Paris 巴黎.\n"
    assert value["annotations"][0]["url_citation"]["start_index"] == 5
    assert Message.from_json(value) == message
    assert Message.from_json(json.loads(json.dumps(value))).content == message.text
    (kept,), _ = clean([Conversation("1", (Message("user", "?"), message))])
    assert isinstance(kept, Conversation)
    assert kept.messages[1].citations == (cited,)
    assert kept.messages[1].mapped(lambda text: "Gone.").citations[0].end == 0
    both = join_turns((Message("user", "ab"), Message("user", [Text("cd"), Citation("u", "", 0, 2)])))[0]
    assert both.text[both.citations[0].start : both.citations[0].end] == "cd"


def test_steps_and_cleaning_keep_images() -> None:
    turns = (Message("system", "Be brief."), Message("user", [CAT, Text(" Which? \r\n")]), Message("user", [DOG]))
    (joined,) = fold_system(join_turns(turns))
    assert joined.said == (Text("Be brief.\n\n"), CAT, Text(" Which? \r\n"), DOG)
    record = Conversation("", (*turns[1:2], Message("assistant", "A cat.")))
    other = Conversation("", (Message("user", [DOG, Text("Which?")]), Message("assistant", "A cat.")))
    kept, dropped = clean([record, record, other])
    assert dropped == {"duplicates": 1}
    assert [r.messages[0].said for r in kept if isinstance(r, Conversation)] == [
        (CAT, Text("Which?")),
        other.messages[0].said,
    ]
    assert text_of(record) != text_of(
        dataclasses.replace(record, messages=(Message("user", " Which? "), record.messages[1]))
    )
    only = Conversation("", (Message("user", [CAT]), Message("assistant", "A cat.")))
    assert clean([only])[0]
    assert conversation(only.messages, "m", {}).messages == only.messages
    assert (
        conversation(only.messages, "m", {}).id != conversation((Message("user", [DOG]), only.messages[1]), "m", {}).id
    )
