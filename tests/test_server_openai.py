"""`/v1` with the official client over a real socket, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, live
from steersman.server.app import create_app
from steersman.store import Store

ANSWER = "Hello, 世界!\u2028\n"
USER: list[Any] = [{"role": "user", "content": "你好 there"}]


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def url(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Store.open(tmp_path_factory.mktemp("store") / "store.db") as store:
        with live(
            create_app(engine, store, name="Shop", language="en", system_prompt="Be kind.", max_tokens=20)
        ) as url:
            yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "ppo-7"]
    assert client.models.retrieve("tiny").owned_by == "steersman"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("huge")
    assert caught.value.code == "model_not_found"


def test_a_completion(client: openai.OpenAI, engine: FakeEngine) -> None:
    answer = client.chat.completions.create(model="tiny", messages=USER, user="ann")
    choice = answer.choices[0]
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (ANSWER, "assistant", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (4, 4, 8)
    assert (answer.model, answer.object, answer.system_fingerprint) == ("tiny", "chat.completion", "ppo-7")
    prompt, params = engine.seen[-1]
    assert [m.content for m in prompt.messages] == ["Be kind.", "你好 there"]
    assert (params.max_tokens, params.temperature, params.n, params.seed, params.stop) == (20, 0.7, 1, None, ())


def test_parameters_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
    ]
    answer = client.chat.completions.create(
        model="tiny",
        messages=messages,
        temperature=0,
        top_p=0.9,
        max_completion_tokens=5,
        n=3,
        seed=-1,
        stop=["\n", "END"],
        frequency_penalty=0,
        tools=[],
        response_format={"type": "text"},
        extra_body={"top_k": 4, "logprobs": None},
    )
    assert [(c.index, c.message.content) for c in answer.choices] == [(i, ANSWER) for i in range(3)]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    prompt, params = engine.seen[-1]
    assert [(m.role, m.content) for m in prompt.messages] == [("system", "Be brief."), ("user", "Hello")]
    assert (params.temperature, params.top_p, params.top_k, params.max_tokens, params.n) == (0, 0.9, 4, 5, 3)
    assert (params.seed, params.stop) == (2**63 - 1, ("\n", "END"))


def test_sampling_parameters_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    schema = {"type": "object", "properties": {"late": {"type": "boolean"}}}
    client.chat.completions.create(
        model="tiny",
        messages=USER,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"7": -100},
        response_format={"type": "json_schema", "json_schema": {"name": "late", "schema": schema, "strict": True}},
        extra_body={"min_p": 0.1, "repetition_penalty": 1.2},
    )
    params = engine.seen[-1][1]
    assert (params.presence_penalty, params.frequency_penalty, params.logit_bias) == (0.5, -0.5, {7: -100})
    assert (params.min_p, params.repetition_penalty, params.json_schema) == (0.1, 1.2, schema)
    client.chat.completions.create(model="tiny", messages=USER, response_format={"type": "json_object"})
    assert engine.seen[-1][1].json_schema == {"type": "object"}
    client.chat.completions.create(model="tiny", messages=USER, extra_body={"regex": "a+"})
    assert engine.seen[-1][1].regex == "a+"


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=USER, logprobs=True, top_logprobs=2)
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [(t.token, t.logprob) for t in told.content] == [(f"<{i}>", -0.5) for i in range(4)]
    assert b"".join(bytes(t.bytes or []) for t in told.content).decode() == ANSWER
    chunks = list(client.chat.completions.create(model="tiny", messages=USER, logprobs=True, stream=True))
    last = chunks[-1].choices[0].logprobs
    assert last is not None
    assert last.content is not None
    assert len(last.content) == 4


def test_streaming(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=USER, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * 5 + ["stop"]
    assert {c.id for c in chunks} == {chunks[0].id}
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert all(c.usage is None for c in chunks)


def test_streaming_with_usage_and_several_answers(client: openai.OpenAI, engine: FakeEngine) -> None:
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(
        model="tiny", messages=USER, stream=True, n=2, seed=5, stream_options=options
    )
    chunks = list(stream)
    for index in range(2):
        mine = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == index]
        assert "".join(c.delta.content or "" for c in mine) == ANSWER
        assert mine[-1].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 8)
    assert [(params.n, params.seed) for _, params in engine.seen[-2:]] == [(2, 5)] * 2, "one call, as without a stream"


def test_the_raw_stream_ends_in_done(url: str) -> None:
    body = {"model": "tiny", "messages": USER, "stream": True}
    text = httpx.post(f"{url}/v1/chat/completions", json=body).text
    assert text.endswith("\n\ndata: [DONE]\n\n")
    assert "\r" not in text
    assert "\u2028" not in text, "some clients would break the line there"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_generation(tmp_path: Path, stream: bool) -> None:
    engine = FakeEngine(endless=True)
    with Store.open(tmp_path / "store.db") as store, live(create_app(engine, store, name="S", language="en")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            if stream:
                answer: Any = client.chat.completions.create(model="tiny", messages=USER, stream=True)
                next(answer)
                answer.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    client.chat.completions.create(model="tiny", messages=USER, timeout=0.3)
            assert engine.closed.wait(60)
            engine.endless = False
            assert client.chat.completions.create(model="tiny", messages=USER).choices[0].message.content == ANSWER


def test_a_failure_in_mid_stream(tmp_path: Path) -> None:
    engine = FakeEngine(failure=RuntimeError("secret"))
    with Store.open(tmp_path / "store.db") as store, live(create_app(engine, store, name="S", language="en")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            with pytest.raises(openai.APIError, match="failed to answer") as caught:
                list(client.chat.completions.create(model="tiny", messages=USER, stream=True))
            assert "secret" not in str(caught.value.body)


@pytest.fixture(scope="module")
def http(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with Store.open(tmp_path_factory.mktemp("store") / "store.db") as store:
        app = create_app(engine, store, name="Shop", language="en")
        with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as opened:
            yield opened


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": "gpt-4"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", None),
        ({"messages": []}, 400, "messages", None),
        ({"messages": "hi"}, 400, "messages", None),
        ({"messages": [{"content": "x"}]}, 400, "messages[0].role", "missing_required_parameter"),
        ({"messages": [*USER, {"role": "robot", "content": "x"}]}, 400, "messages[1].role", None),
        ({"messages": [*USER, {"role": "user", "content": 5}]}, 400, "messages[1].content", None),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages[0].content[0].image_url.url",
            "missing_required_parameter",
        ),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages[0].content", None),
        ({"messages": [{"role": "user", "content": "a\x00b"}]}, 400, "messages[0].content", None),
        (
            {"messages": [{"role": "user", "content": "x", "audio": {"id": "1"}}]},
            400,
            "messages[0].audio",
            "unsupported_parameter",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]},
            400,
            "messages[0].tool_calls[0]",
            None,
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            400,
            "messages[0].tool_calls",
            None,
        ),
        ({"messages": [{"role": "user", "content": "word " * 100}]}, 400, "messages", "context_length_exceeded"),
        ({"messages": USER * 101}, 400, "messages", "context_length_exceeded"),
        ({"max_tokens": 0}, 400, "max_tokens", None),
        ({"max_tokens": "5"}, 400, "max_tokens", None),
        ({"max_tokens": True}, 400, "max_tokens", None),
        ({"temperature": 2.5}, 400, "temperature", None),
        ({"temperature": "hot"}, 400, "temperature", None),
        ({"top_p": -0.1}, 400, "top_p", None),
        ({"n": 17}, 400, "n", None),
        ({"stop": ["a"] * 17}, 400, "stop", None),
        ({"stop": ""}, 400, "stop", None),
        ({"seed": 2**63}, 400, "seed", None),
        ({"stream": "yes"}, 400, "stream", None),
        ({"stream_options": {"include_usage": 1}, "stream": True}, 400, "stream_options.include_usage", None),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].function", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, 400, "response_format", None),
        (
            {"response_format": {"type": "json_schema"}},
            400,
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        ({"response_format": {"type": "json_object"}, "regex": "a"}, 400, "regex", None),
        ({"top_logprobs": 3}, 400, "top_logprobs", None),
        ({"top_logprobs": 21, "logprobs": True}, 400, "top_logprobs", None),
        ({"frequency_penalty": 2.5}, 400, "frequency_penalty", None),
        ({"logit_bias": {"the": 1}}, 400, "logit_bias.the", None),
        ({"logit_bias": {"5": 200}}, 400, "logit_bias.5", None),
        ({"min_p": 2}, 400, "min_p", None),
        ({"stop": "\ud800"}, 400, "stop", None),
        ({"\ud800": 1}, 400, None, None),
        ({"temperatur": 0.5}, 400, "temperatur", "unknown_parameter"),
    ],
)
def test_refusals(http: TestClient, change: dict[str, Any], status: int, param: str | None, code: str | None) -> None:
    body = json.dumps({"model": "tiny", "messages": USER} | change)
    response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert error["message"]


def test_the_client_raises_the_right_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 200}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=USER)
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model="tiny", prompt="x")


def test_a_kept_connection_does_not_wait_for_acknowledgements(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        client.get("/v1/models")
        quickest = min(client.get("/v1/models").elapsed for _ in range(50))
    assert quickest.total_seconds() < 0.03, "40 ms where the system waits for more before it sends a packet"
