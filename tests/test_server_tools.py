"""Tools in `/v1/chat/completions`: to the template, out of the text, with the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from server_double import FakeEngine, live
from steersman.server.app import create_app
from steersman.store import Store

USER: list[Any] = [{"role": "user", "content": "Weather in Ulm?"}]
PARAMETERS: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": PARAMETERS}}]
CALLING = ("Let me", " see.\n<tool", '_call>\n{"name": "weather", "argu', 'ments": {"city": "Ulm"}}\n</tool_call>')
TWICE = (*CALLING, '\n<tool_call>{"name": "weather", "arguments": {"city": "柏林"}}</tool_call>')


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(pieces=CALLING)


@pytest.fixture
def client(engine: FakeEngine, tmp_path: Path) -> Iterator[openai.OpenAI]:
    with Store.open(tmp_path / "store.db") as store:
        with live(create_app(engine, store, name="S", language="en", max_tokens=20)) as url:
            with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as opened:
                yield opened


def test_a_call_comes_out_of_the_text(client: openai.OpenAI, engine: FakeEngine) -> None:
    choice = client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Ulm"})
    prompt, params = engine.seen[-1]
    assert prompt.tools == tuple(TOOLS)
    assert params.special
    # and back again, with null content
    turns = [*USER, choice.message.model_dump(exclude_none=True) | {"content": None}]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    client.chat.completions.create(model="tiny", messages=turns, tools=TOOLS)
    prompt = engine.seen[-1][0]
    assert prompt.messages[1].tool_calls[0]["function"]["name"] == "weather"
    assert prompt.messages[2].tool_call_id == call.id


def test_streamed_calls_add_up(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.pieces = TWICE
    with client.chat.completions.stream(model="tiny", messages=USER, tools=TOOLS) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0]
    assert (message.message.content, message.finish_reason) == ("Let me see.", "tool_calls")
    calls = [json.loads(call.function.arguments) for call in message.message.tool_calls or []]
    assert calls == [{"city": "Ulm"}, {"city": "柏林"}]
    ids = {call.id for call in message.message.tool_calls or []}
    assert len(ids) == 2


def test_one_call_where_several_are_not_wanted(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.pieces = TWICE
    answer = client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS, parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls or []) == 1


def test_no_tools_no_calls(client: openai.OpenAI, engine: FakeEngine) -> None:
    for more in ({"tools": TOOLS, "tool_choice": "none"}, {}):
        choice = client.chat.completions.create(model="tiny", messages=USER, **more).choices[0]
        assert (choice.message.content, choice.message.tool_calls) == ("".join(CALLING), None)
        assert engine.seen[-1][0].tools == ()
        assert not engine.seen[-1][1].special


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_call_is_constrained(client: openai.OpenAI, engine: FakeEngine, choice: Any) -> None:
    engine.pieces = ('{"name": "weather", ', '"arguments": {"city": "Ulm"}}')
    told = client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS, tool_choice=choice).choices[0]
    assert (told.message.content, told.finish_reason) == (None, "tool_calls")
    call = (told.message.tool_calls or [])[0]
    assert (call.type, json.loads(call.function.arguments)) == ("function", {"city": "Ulm"})  # type: ignore[union-attr]
    schema = engine.seen[-1][1].json_schema
    assert schema is not None
    assert schema["properties"] == {"name": {"const": "weather"}, "arguments": PARAMETERS}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "news"}}}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "web_search", "function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": TOOLS * 129}, "tools"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "x"}}]},
                },
            },
            "tool_choice",
        ),
    ],
)
def test_refusals_name_what_is_wrong(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=USER, **change)
    assert caught.value.param == param


OLD: Any = [TOOLS[0]["function"]]


def test_functions_of_the_first_form(client: openai.OpenAI, engine: FakeEngine) -> None:
    """Were refused, with many older clients."""
    choice = client.chat.completions.create(model="tiny", messages=USER, functions=OLD).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "function_call")
    assert (choice.message.tool_calls, engine.seen[-1][0].tools) == (None, tuple(TOOLS))
    called = choice.message.function_call
    assert called is not None
    assert (called.name, json.loads(called.arguments)) == ("weather", {"city": "Ulm"})
    # its result is known by its place, since the form has no ids
    turns = [*USER, choice.message.model_dump(), {"role": "function", "name": "weather", "content": "sunny"}]
    chunks = list(client.chat.completions.create(model="tiny", messages=turns, functions=OLD, stream=True))
    _, calling, result = engine.seen[-1][0].messages
    assert (calling.tool_calls[0]["id"], result.tool_call_id, result.name) == ("call_1", "call_1", "weather")
    deltas = [delta for chunk in chunks if (delta := chunk.choices[0].delta.function_call)]
    assert deltas[0].name == "weather"
    assert json.loads("".join(delta.arguments or "" for delta in deltas)) == {"city": "Ulm"}
    assert chunks[-1].choices[0].finish_reason == "function_call"
    # and forced, and forbidden
    engine.pieces = ('{"name": "weather", "arguments": {"city": "Ulm"}}',)
    more: Any = {"function_call": {"name": "weather"}}
    choice = client.chat.completions.create(model="tiny", messages=USER, functions=OLD, **more).choices[0]
    assert (choice.message.function_call is not None, choice.finish_reason) == (True, "function_call")
    client.chat.completions.create(model="tiny", messages=USER, functions=OLD, function_call="none")
    assert engine.seen[-1][0].tools == ()


def test_some_of_the_tools(client: openai.OpenAI, engine: FakeEngine) -> None:
    """OpenAI's `allowed_tools`, in both forms: the model is told of these alone."""
    tools: Any = [*TOOLS, {"type": "function", "function": {"name": "news", "parameters": PARAMETERS}}]
    some: Any = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    choice: Any = {"type": "allowed_tools", "allowed_tools": some}
    client.chat.completions.create(model="tiny", messages=USER, tools=tools, tool_choice=choice)
    assert engine.seen[-1][0].tools == tuple(TOOLS)
    flat: Any = [{"type": "function"} | tool["function"] for tool in tools]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "news"}]}
    client.responses.create(model="tiny", input="Hi", tools=flat, tool_choice=choice)
    schema = engine.seen[-1][1].json_schema
    assert schema is not None
    assert schema["properties"]["name"] == {"const": "news"}


def test_a_model_that_writes_no_calls_refuses_tools(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.call_form = lambda: None  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(openai.BadRequestError, match="does not say how it calls tools") as caught:
        client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS)
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError, match="does not say how it calls tools"):
        client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS, tool_choice="required")
