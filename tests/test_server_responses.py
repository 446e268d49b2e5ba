"""`/v1/responses`, embeddings and moderations with the official client over a real socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import openai
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from server_double import FakeEngine, live
from steersman.data.file_words import Words
from steersman.parts import ToolCall
from steersman.server import file_parts
from steersman.server.app import create_app
from steersman.server.errors import ApiError
from steersman.server.logprobs import Told
from steersman.server.request_parts import Loose
from steersman.store import Store
from steersman.store import responses as kept
from steersman.store.schema import utc_now

ANSWER = "Hello, 世界!\u2028\n"
TOOLS: list[Any] = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
CALLING = ("Let me", " see.\n<tool", '_call>{"name": "weather", "arguments": {"city": "Ulm"}}</tool_call>')


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, store: Store) -> Iterator[openai.OpenAI]:
    with live(create_app(engine, store, name="S", language="en", max_tokens=20)) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as opened:
            yield opened


def said(engine: FakeEngine) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in engine.seen[-1][0].messages]


def test_a_response_is_gone_on_from_and_deleted(client: openai.OpenAI, engine: FakeEngine) -> None:
    first = client.responses.create(model="tiny", input="One?", instructions="Be brief.", metadata={"a": "b"})
    assert (first.output_text, first.status, first.usage and first.usage.total_tokens) == (ANSWER, "completed", 7)
    second = client.responses.create(model="tiny", input="Two?", previous_response_id=first.id)
    # instructions are not carried over
    assert said(engine) == [("user", "One?"), ("assistant", ANSWER), ("user", "Two?")]
    assert client.responses.retrieve(second.id).output_text == ANSWER
    with pytest.raises(openai.BadRequestError, match="in the background"):  # was JSON, read as no events at all
        client.responses.retrieve(second.id, stream=True)
    (item,) = client.responses.input_items.list(second.id).data
    assert item.content[0].text == "Two?"  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(first.id)
    counted = client.responses.input_tokens.count(model="tiny", input="One more?", previous_response_id=first.id)
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", 1 + len(ANSWER.split()) + 2)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError) as missing:  # it is no response's name
        client.post("/responses/compact", body={"model": "tiny", "input": "Hi"}, cast_to=object)
    assert missing.value.type == "invalid_request_error"
    for asked in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            asked(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="tiny", input="Three?", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"


def test_what_is_not_stored_is_not_there(client: openai.OpenAI) -> None:
    made = client.responses.create(model="tiny", input="One?", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_every_event_in_order(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.pieces = CALLING
    events = list(client.responses.create(model="tiny", input="Weather?", tools=TOOLS, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    with client.responses.stream(model="tiny", input="Weather?", tools=TOOLS) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == "Let me see."
    call = final.output[1]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Ulm"}
    # the result, to what is stored and to what is sent back
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    client.responses.create(model="tiny", input=[result], previous_response_id=final.id, tools=TOOLS)
    stored = engine.seen[-1][0].messages
    again: Any = [{"role": "user", "content": "Weather?"}, *final.output, result]
    client.responses.create(model="tiny", input=again, tools=TOOLS)
    assert engine.seen[-1][0].messages == stored
    assert [m.role for m in stored] == ["user", "assistant", "tool"]
    assert stored[1].tool_calls[0]["id"] == stored[2].tool_call_id == call.call_id


def test_what_was_kept_is_referred_to(client: openai.OpenAI, engine: FakeEngine) -> None:
    """As the Vercel AI SDK does from the second turn on."""
    first = client.responses.create(model="tiny", input="One?")
    (asked,) = client.responses.input_items.list(first.id).data
    kept: Any = [{"type": "item_reference", "id": item.id} for item in (asked, *first.output)]
    second = client.responses.create(model="tiny", input=[*kept, {"role": "user", "content": "Two?"}])
    assert said(engine) == [("user", "One?"), ("assistant", ANSWER), ("user", "Two?")]
    client.responses.delete(first.id)
    client.responses.create(model="tiny", input="Three?", previous_response_id=second.id)
    assert said(engine)[:2] == [("user", "One?"), ("assistant", ANSWER)]
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model="tiny", input=kept)


def called(name: str, arguments: str) -> tuple[str, ...]:
    return (f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>',)


def test_tools_of_words_and_under_a_common_name(client: openai.OpenAI, engine: FakeEngine) -> None:
    """As Codex names them."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}
    tools: Any = [
        {"type": "custom", "name": "patch", "description": "Edits.", "format": grammar},
        {"type": "namespace", "name": "crew", "description": "Helpers.", "tools": [TOOLS[0]]},
    ]
    engine.pieces = called("patch", '{"input": "***\\n+a"}')
    events = list(client.responses.create(model="tiny", input="Go", tools=tools, stream=True))
    assert [e.type.removeprefix("response.") for e in events][3:5] == [
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
    ]
    shown = [tool["function"] for tool in engine.seen[-1][0].tools]
    assert [tool["name"] for tool in shown] == ["patch", "crew__weather"]
    assert [tool["description"] for tool in shown] == [
        "Edits.\n\nThe input follows this grammar (lark):\nstart: /x+/",
        "Helpers.",
    ]
    patched = events[-1].response.output[0]  # type: ignore[union-attr]
    assert (patched.type, patched.name, patched.input) == ("custom_tool_call", "patch", "***\n+a")
    engine.pieces = called("crew__weather", "{}")
    choice: Any = {"type": "function", "name": "weather", "namespace": "crew"}
    asked = client.responses.create(model="tiny", input="Go", tools=tools).output[0].model_dump()
    assert (asked["type"], asked["name"], asked["namespace"]) == ("function_call", "weather", "crew")
    results: Any = [
        {"type": "custom_tool_call_output", "call_id": patched.call_id, "output": "ok"},
        {"type": "function_call_output", "call_id": asked["call_id"], "output": "rain"},
    ]
    again: Any = [{"role": "user", "content": "Go"}, patched.model_dump(), asked, *results]
    plain: Any = {"type": "custom", "name": "patch"}
    for one in (plain, choice):
        told = client.responses.create(model="tiny", input=again, tools=tools, tool_choice=one).tool_choice
        assert told.model_dump(exclude_unset=True) == one  # type: ignore[union-attr]
    turn = engine.seen[-1][0].messages[1]
    assert [call["function"]["name"] for call in turn.tool_calls] == ["patch", "crew__weather"]
    assert json.loads(turn.tool_calls[0]["function"]["arguments"]) == {"input": "***\n+a"}
    assert engine.seen[-1][1].json_schema["properties"]["name"] == {"const": "crew__weather"}  # type: ignore[index]


class City(BaseModel):
    name: str


def test_a_parsed_answer(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.pieces = ('{"name":', ' "Ulm"}')
    answer = client.responses.parse(model="tiny", input=[{"role": "developer", "content": "x"}], text_format=City)
    assert answer.output_parsed == City(name="Ulm")
    assert (engine.seen[-1][1].json_schema or {})["required"] == ["name"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"input": [{"type": "item_reference", "id": "msg_0"}]}, "input[0].id"),
        ({"tools": [*TOOLS, *TOOLS]}, "tools"),
        ({"tools": [*TOOLS, {"type": "web_search"}], "tool_choice": "required"}, "tools"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
            "input[0].content[0].file_data",
        ),
        ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ],
)
def test_refusals(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**({"model": "tiny", "input": "One?"} | change))
    assert caught.value.param == param


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_that_nobody_runs_here_are_left_out_and_named(
    client: openai.OpenAI, engine: FakeEngine, streamed: bool
) -> None:
    """Beside functions, as Codex CLI offers them in each request."""
    hosted: Any = [{"type": "web_search", "external_web_access": True}, {"type": "image_generation"}]
    raw = client.responses.with_raw_response.create(
        model="tiny", input="One?", tools=[*TOOLS, *hosted], stream=streamed
    )
    assert raw.headers["Steersman-Left-Out"] == "image_generation, web_search"
    if not streamed:
        assert [tool.type for tool in raw.parse().tools] == ["function"] * len(TOOLS)
    else:
        assert list(raw.parse())
    assert len(engine.seen[-1][0].tools) == len(TOOLS)


def test_log_probabilities(client: openai.OpenAI, engine: FakeEngine) -> None:
    asked: Any = {"model": "tiny", "input": "One?", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    made = client.responses.create(**asked)
    (part,) = made.output[0].content  # type: ignore[union-attr]
    whole = part.logprobs or []  # type: ignore[union-attr]
    assert (b"".join(bytes(one.bytes) for one in whole).decode(), made.top_logprobs) == (ANSWER, 2)
    assert engine.seen[-1][1].top_logprobs == 2
    assert client.responses.retrieve(made.id).output[0].content[0].logprobs == []  # type: ignore[union-attr]
    engine.pieces = CALLING
    events = list(client.responses.create(**asked, stream=True, tools=TOOLS))
    told = [one for event in events if event.type == "response.output_text.delta" for one in event.logprobs]
    (done,) = (event for event in events if event.type == "response.output_text.done")
    assert b"".join(bytes(one.model_extra["bytes"]) for one in told).decode() == done.text == "Let me see."
    last: Any = events[-1].response  # type: ignore[union-attr]
    assert [item.type for item in last.output] == ["message", "function_call"]
    assert [one.logprob for one in last.output[0].content[0].logprobs] == [one.logprob for one in done.logprobs]


def test_files_are_words(client: openai.OpenAI, engine: FakeEngine) -> None:
    data = "data:text/plain;base64,SGVsbG8="
    part = {"type": "input_file", "filename": "a.txt", "file_data": data}
    client.responses.create(model="tiny", input=[{"role": "user", "content": [part]}])  # type: ignore[list-item, misc]
    assert said(engine) == [("user", "<document>\na.txt\nHello\n</document>\n\n")]
    file: Any = {"type": "file", "file": {"filename": "a.txt", "file_data": data}}
    client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [file]}])
    assert said(engine) == [("user", "<document>\na.txt\nHello\n</document>\n\n")]
    file["file"]["file_data"] = "data:application/zip;base64,UEsDBA=="
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [file]}])
    assert caught.value.param == "messages[0].content[0].file.file_data"


def test_a_failure_in_the_stream_is_an_event(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.failure = RuntimeError("ibex")
    last = list(client.responses.create(model="tiny", input="One?", stream=True))[-1]
    assert last.type == "response.failed"
    assert "ibex" not in last.model_dump_json()


def test_nobody_sees_anothers_and_old_ones_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one = kept.StoredResponse("resp_1", "ann", None, {"output": []}, [{"type": "message"}])
    store.responses.add(one)
    assert store.responses.get("resp_1", "ann") == one
    assert store.responses.get("resp_1", "bob") is None
    assert store.responses.chain("resp_1", "") is None
    store.responses.delete("resp_1", "bob")
    monkeypatch.setattr(kept, "utc_now", lambda: utc_now() + dt.timedelta(days=31))
    store.responses.add(kept.StoredResponse("resp_2", "ann", "resp_1", {"output": []}, []))
    assert store.responses.get("resp_1", "ann") is None
    assert store.responses.chain("resp_2", "ann") is None


def test_embeddings(client: openai.OpenAI) -> None:
    told = client.embeddings.create(model="tiny", input=["a", "ab"])  # base64 by itself
    assert [len(one.embedding) for one in told.data] == [4, 4]
    assert math.isclose(math.hypot(*told.data[1].embedding), 1, rel_tol=1e-6)
    assert (told.usage.prompt_tokens, told.model) == (2, "tiny")
    plain = client.embeddings.create(model="tiny", input=[1, 2, 3], encoding_format="float", dimensions=2)
    assert plain.data[0].embedding == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="tiny", input="a", dimensions=5)
    assert caught.value.param == "dimensions"
    many = client.embeddings.create(model="tiny", input=["passage, " * 200] * 1000)  # as LangChain sends them
    assert (len(many.data), many.data[-1].index) == (1000, 999)


def test_embeddings_end_when_their_client_leaves(client: openai.OpenAI, engine: FakeEngine) -> None:
    given: list[Any] = []

    def embed(prompts: Any) -> Any:
        time.sleep(0.02)
        given.append(prompts)
        return [([math.nan], 1) for _ in prompts]

    engine.embed = embed  # type: ignore[method-assign]
    with pytest.raises(openai.APITimeoutError):
        client.embeddings.create(model="tiny", input=["a"] * 1000, timeout=0.15)
    many = -1
    while many != len(given):  # still computing
        many = len(given)
        time.sleep(0.2)
    assert many < 900
    with pytest.raises(openai.InternalServerError):  # no number in JSON
        client.embeddings.create(model="tiny", input="a", encoding_format="float")


def test_moderations_say_what_they_found(client: openai.OpenAI) -> None:
    told = client.moderations.create(input=["How do I make a pipe bomb?", "你好", "Where is my order?"])
    assert [one.flagged for one in told.results] == [True, False, False]
    categories = told.results[0].model_dump()["categories"]
    assert categories["weapons and explosives"] is True


def test_files_are_bounded(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number, who may have one, and the time that their heads take; none is read for a client that left."""
    began = time.process_time()
    pdf = "data:application/pdf;base64,JVBERi0x/w=="
    read: list[int] = []

    def words(_: Any) -> Words:
        read.append(1)
        return Words("x", 1, (), 0)

    monkeypatch.setattr(file_parts.file_words.Reading, "words", words)

    def ask(role: str, data: str, count: int) -> str:
        part: Any = {"type": "file", "file": {"file_data": data}}
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=[{"role": role, "content": [part] * count}])  # type: ignore[list-item, misc]
        return caught.value.message

    assert "at most 8 PDF" in ask("user", pdf, 9)
    assert len(read) == 8
    assert "no file in the assistant" in ask("assistant", pdf, 1)
    assert "expected base64" in ask("user", "data:" * 20_000, 1)
    assert time.process_time() - began < 2

    async def left() -> None:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        def two() -> None:
            time.sleep(0.05)
            file_parts.file_said(Loose(), pdf, None, "x")

        await file_parts.reading(Request({"type": "http"}, receive), two)

    with pytest.raises(ApiError, match="broken off"):
        asyncio.run(left())
    assert len(read) == 8


def test_log_probabilities_after_a_call_are_its_own() -> None:
    class Engine:
        def token_bytes(self, token: int, first: bool) -> bytes:
            return [b"a", b"b", b"<f>"][token]

        def token_text(self, token: int) -> str:
            return str(token)

    tokens = (0, 1, 0, 1, 2, 0, 1)
    logprobs = tuple(-float(i) for i in range(7))
    completion: Any = SimpleNamespace(token_ids=tokens, logprobs=logprobs, top_logprobs=None, text="abab<f>ab")
    told = Told(cast("Any", Engine()), completion)
    assert [one["logprob"] for one in json.loads(told.json("abab", last=False))] == [0, -1, -2, -3]
    told.passed(ToolCall("1", "f", "{}"))
    assert [one["logprob"] for one in json.loads(told.json("ab"))] == [-5, -6]
