"""`/v1/messages` with Anthropic's own client over a real socket."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from server_double import FakeEngine, live
from steersman.data import file_words
from steersman.server.anthropic_errors import UNTHREADED
from steersman.server.app import create_app
from steersman.store import Store

if TYPE_CHECKING:
    import anthropic

USER: list[Any] = [{"role": "user", "content": "Weather in Ulm?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [{"name": "weather", "description": "d", "input_schema": SCHEMA}]
USED = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
CALLING = ("Let me", " see.\n<tool", '_call>{"name": "weather", "arguments": {"city": "Ulm"}}</tool_call>')


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, tmp_path: Path) -> Iterator[anthropic.Anthropic]:
    import anthropic  # five seconds, which only the process that runs these tests need spend

    with Store.open(tmp_path / "store.db") as store:
        with live(create_app(engine, store, name="S", language="en", system_prompt="Be kind.", key="k")) as url:
            with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as opened:
                yield opened


def test_a_message(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    said: Any = [*USER, {"role": "assistant", "content": [{"type": "text", "text": "Sunny"}]}, *USER]
    answer = client.messages.create(
        model="tiny",
        max_tokens=20,
        messages=said,
        system="Be brief.",
        stop_sequences=["END"],
        extra_body={"temperature": 0, "top_k": 3},
    )
    assert (answer.content[0].type, answer.stop_reason, answer.role) == ("text", "end_turn", "assistant")
    assert answer.content[0].text == "Hello, 世界!\u2028\n"  # type: ignore[union-attr]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 4)
    prompt, params = engine.seen[-1]
    assert [(m.role, m.content) for m in prompt.messages][:2] == [("system", "Be brief."), ("user", "Weather in Ulm?")]
    assert (params.max_tokens, params.stop, params.temperature, params.top_k) == (20, ("END",), 0, 3)
    assert client.messages.count_tokens(model="tiny", messages=USER, system="Be brief.").input_tokens == 5
    assert [model.id for model in client.models.list()] == ["tiny", "ppo-7"]


def test_a_streamed_message_with_a_tool(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    engine.pieces = CALLING
    with client.messages.stream(model="tiny", max_tokens=20, messages=USER, tools=TOOLS) as stream:
        kinds = [one.type for one in stream]
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[1].input == {"city": "Ulm"}  # type: ignore[union-attr]
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 3)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    use = message.content[1]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "sunny"}]}  # type: ignore[union-attr]
    turns: list[Any] = [
        *USER,
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
    ]
    whole = client.messages.create(model="tiny", max_tokens=20, messages=turns, tools=TOOLS)
    assert whole.stop_reason == "tool_use"
    told = engine.seen[-1][0].messages
    assert [m.role for m in told] == ["system", "user", "assistant", "tool", "user"]
    assert (told[2].text, told[2].tool_calls[0]["function"]["name"]) == ("Let me see.", "weather")
    assert (told[3].text, told[3].tool_call_id, told[4].text) == ("sunny", use.id, "And now?")  # type: ignore[union-attr]


def test_a_forced_tool(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    engine.pieces = ('{"name": "weather", "arguments": {"city": "Ulm"}}',)
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        given: Any = choice
        answer = client.messages.create(model="tiny", max_tokens=20, messages=USER, tools=TOOLS, tool_choice=given)
        assert [block.type for block in answer.content] == ["tool_use"]


def test_what_claude_code_asks_for_besides(
    client: anthropic.Anthropic, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thoughts as the model likes, an answer in JSON, a system message later on; and which text ended an answer."""
    whole = engine._completion()
    monkeypatch.setattr(engine, "_completion", lambda: dataclasses.replace(whole, stopped="END"))
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    given: Any = {
        "thinking": {"type": "adaptive"},
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    given |= {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
    turns: Any = [*USER, {"role": "assistant", "content": "Sunny"}, {"role": "system", "content": "Noon."}, *USER]
    answer = client.messages.create(
        model="tiny", max_tokens=20, messages=turns, stop_sequences=["END"], extra_body=given
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "END")
    prompt, params = engine.seen[-1]
    assert params.json_schema == schema
    assert [m.role for m in prompt.messages] == ["system", "user", "assistant", "system", "user"]


def test_documents_are_words(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "Open 9 to 5."}
    parts = {"type": "content", "content": [{"type": "text", "text": "Closed."}]}
    found = {"type": "search_result", "title": "T", "source": "https://a", "content": [{"type": "text", "text": "x"}]}
    said: Any = [
        {"type": "document", "source": plain, "title": "Hours", "citations": {"enabled": True}},
        {"type": "document", "source": parts},
        found,
        {"type": "text", "text": "When?"},
    ]
    turns: Any = [{"role": "user", "content": said}]
    raw = client.messages.with_raw_response.create(model="tiny", max_tokens=20, messages=turns)
    assert raw.headers["Steersman-Left-Out"] == "messages.content.citations"
    told = "<document>\n{}\n</document>\n\n"
    texts = [told.format(text) for text in ("Hours\nOpen 9 to 5.", "Closed.", "T\nhttps://a\nx")]
    assert engine.seen[-1][0].messages[-1].text == "".join(texts) + "When?"
    pdf: Any = {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}
    body = {"model": "tiny", "max_tokens": 20, "messages": [{"role": "user", "content": [pdf]}]}
    answer = httpx.post(f"{str(client.base_url).rstrip('/')}/v1/messages", json=body, headers={"x-api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "messages[0].content[0].source: expected a 'type' of 'text', 'base64', 'content'",
    )


def test_a_pdf_is_its_words(client: anthropic.Anthropic, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    turns: Any = [{"role": "user", "content": [{"type": "document", "source": source, "title": "Hours"}]}]
    monkeypatch.setattr(file_words.Reading, "words", lambda one: file_words.Words(one._content.decode(), 1, (), 0))
    client.messages.create(model="tiny", max_tokens=20, messages=turns)
    assert engine.seen[-1][0].messages[-1].text == "<document>\nHours\n%PDF-\n</document>\n\n"
    monkeypatch.setattr(file_words.Reading, "words", lambda _: file_words.Words("x", 2, (2,), 0))
    raw = client.messages.with_raw_response.create(model="tiny", max_tokens=20, messages=turns)
    assert raw.headers["Steersman-Left-Out"] == "messages.content.unread_pages"
    assert "[No words could be read of page 2.]" in engine.seen[-1][0].messages[-1].text


def test_errors_have_anthropics_form(client: anthropic.Anthropic) -> None:
    url = str(client.base_url).rstrip("/")
    body = {"model": "tiny", "max_tokens": 20, "messages": USER}
    for change, status, kind in (
        ({"model": "huge"}, 404, "not_found_error"),
        ({"max_tokens": 0}, 400, "invalid_request_error"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 400, "invalid_request_error"),
        ({"output_config": {"effort": "max"}}, 400, "invalid_request_error"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": [USED]}]}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": "w " * 200}]}, 400, "invalid_request_error"),
    ):
        answer = httpx.post(f"{url}/v1/messages", json=body | dict(change), headers={"x-api-key": "k"})
        assert answer.status_code == status
        assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", kind)
        assert answer.headers["x-request-id"] == answer.headers["request-id"]
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        # of the Python client's tool runner since 2.14, which then goes on without
        answer = httpx.post(f"{url}/v1/messages", json=body | {"thread": thread}, headers={"x-api-key": "k"})
        assert (answer.status_code, answer.json()["error"]["details"]["error_code"]) == (400, UNTHREADED)
    refused = httpx.post(f"{url}/v1/messages", json=body, headers={"x-api-key": "wrong"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    import anthropic

    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        client.messages.create(model="huge", max_tokens=5, messages=USER)
