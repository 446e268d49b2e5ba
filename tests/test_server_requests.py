"""Requests as clients of OpenAI's API send them: dialogues of any order, fields that ask for nothing, wrong values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.engine.protocol import PromptTooLong
from steersman.server.app import create_app
from steersman.server.fitting import fit
from steersman.server.openai_schema import ChatRequest
from steersman.store import Store
from steersman.types import Conversation, Message

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"order": 7}'}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, FakeEngine]]:
    engine = FakeEngine()
    with Store.open(tmp_path_factory.mktemp("requests") / "store.db") as store:
        app = create_app(engine, store, name="S", language="en", max_tokens=20, system_prompt="Be kind.")
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client, engine


@pytest.fixture
def engine(served: tuple[TestClient, FakeEngine]) -> FakeEngine:
    served[1].refused = ""
    return served[1]


@pytest.fixture
def http(served: tuple[TestClient, FakeEngine], engine: FakeEngine) -> TestClient:
    return served[0]


def ask(http: TestClient, **changes: Any) -> Any:
    body = json.dumps({"model": "tiny", "messages": [USER]} | changes)
    return http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ([USER, USER], "system user user"),
        ([USER, {"role": "system", "content": "Be brief."}, USER], "user system user"),
        ([{"role": "system", "content": "Be brief."}], "system"),
        ([ANSWER, USER], "system assistant user"),
        ([USER, ANSWER], "system user assistant"),
        ([USER, ANSWER, ANSWER], "system user assistant assistant"),
        ([{"role": "user", "content": ""}], "system user"),
        ([{"role": "user", "content": []}], "system user"),
        ([{"role": "developer", "content": "x"}, USER], "system user"),
        ([USER, {"role": "assistant", "content": None, "refusal": "No."}, USER], "system user assistant user"),
        ([USER, ANSWER | {"tool_calls": None, "audio": None, "annotations": []}, USER], "system user assistant user"),
        ([USER | {"name": "ann"}], "system user"),
    ],
)
def test_dialogues_of_any_order(http: TestClient, engine: FakeEngine, messages: list[Any], roles: str) -> None:
    for stream in (False, True):
        response = ask(http, messages=messages, stream=stream)
        assert response.status_code == 200, response.text
        prompt = engine.seen[-1][0]
        assert " ".join(m.role for m in prompt.messages) == roles
        told = [m.content for m in prompt.messages if m.content != "Be kind."]
        given = [m.get("content") or m.get("refusal") or "" for m in messages]
        assert told == given


def test_tool_turns_reach_the_template(http: TestClient, engine: FakeEngine) -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I should look."}
    result = {"role": "tool", "tool_call_id": "call_1", "name": "find", "content": [{"type": "text", "text": "sent"}]}
    assert ask(http, messages=[USER, called, result]).status_code == 200
    assert engine.seen[-1][0].messages[1:] == (
        Message("user", "Hi"),
        Message("assistant", "", thinking="I should look.", tool_calls=(CALL,)),
        Message("tool", "sent", tool_call_id="call_1", name="find"),
    )


def test_what_the_template_cannot_say_names_the_turn(http: TestClient, engine: FakeEngine) -> None:
    engine.refused = "conversation '': messages[2]: the chat template has no tool turns"
    response = ask(http, messages=[USER, {"role": "tool", "content": "x"}])
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "messages[1]", "the server's own system message is not the caller's"
    assert error["message"] == "messages[1]: the chat template has no tool turns"


# Bodies with the fields that these clients send, less model and messages where they are plain; read in their sources,
# in the files named, unless another origin is named.
PARTS = [
    {"role": "system", "content": [{"type": "text", "text": "Be kind", "cache_control": {"type": "ephemeral"}}]},
    {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
]
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
FREE = {"temperature": 0.5, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
SHAPE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
NAMED = {"name": "response", "schema": SHAPE}
CLIENTS: dict[str, dict[str, Any]] = {
    "open-webui, utils/payload.py": {
        "temperature": 0.8,
        "top_p": 0.9,
        "max_tokens": 1000,
        "frequency_penalty": 0.5,
        "seed": 1,
        "stop": ["\n\n"],
    },
    "cline, api/providers/openai.ts": USAGE | {"temperature": 0},
    "roo-code, api/providers/openai.ts": USAGE | {"messages": PARTS, "temperature": 0, "parallel_tool_calls": False},
    "nextchat, client/platforms/openai.ts": FREE | {"stream": True},
    "nextchat, as to a reasoning model": {
        "messages": [{"role": "developer", "content": "Formatting re-enabled"}, USER],
        "max_completion_tokens": 4000,
    },
    "lobe-chat, openaiCompatibleFactory/index.ts": FREE | USAGE | {"user": "u-1"},
    "vercel ai, openai-compatible-chat-language-model.ts": {
        "response_format": {"type": "json_schema", "json_schema": NAMED | {"strict": True, "description": "d"}},
        "seed": 1,
        "stop": ["END"],
    },
    "llm, openai_models.py": USAGE | {"response_format": {"type": "json_schema", "json_schema": NAMED}},
    "anything-llm, genericOpenAi/index.js": {"temperature": 0.7, "max_tokens": 1024, "stream": True},
    "dify, openai_api_compatible/models/llm/llm.py": {"max_tokens": 16, "stream": False},
    # from the parameters that the official clients document
    "a format with null for its schema": {"response_format": {"type": "json_object", "json_schema": None}},
    "null where nothing was set": dict.fromkeys(
        ("n", "logit_bias", "seed", "stop", "tools", "tool_choice", "logprobs", "response_format", "functions", "audio")
    ),
    "who asks and what to keep": {
        "user": "",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "safety_identifier": "x",
        "prompt_cache_key": "k",
        "prediction": None,
        "verbosity": "medium",
    },
    "numbers with a point": {"max_tokens": 256.0, "n": 1.0, "temperature": 1},
    "no tools, by name": {"tools": [], "tool_choice": "auto", "reasoning_effort": None, "modalities": ["text"]},
    "stream options": {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_other_clients_send(http: TestClient, client: str) -> None:
    response = ask(http, **CLIENTS[client])
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "high"},
        {"verbosity": "low"},
        {"modalities": ["audio"]},
        {"audio": {"voice": "alloy"}},
        {"web_search_options": {}},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"thinking": {"type": "enabled"}},
        {"enabledSearch": True},
        {"best_of": 2},
        {"ignore_eos": True},
        {"options": {"num_ctx": 4096}},
    ],
)
def test_what_would_change_the_answer_is_refused(http: TestClient, body: dict[str, Any]) -> None:
    error = ask(http, **body).json()["error"]
    assert error["param"] == next(iter(body))
    assert error["code"] in ("unsupported_parameter", "unknown_parameter")


FIELDS = tuple(ChatRequest.model_fields)
VALUES: tuple[Any, ...] = (
    "", "x", "\0", "x" * 30_000, 0, -1, 5.5, 2**63, 1e308, True, [], [[]], [1], ["\0"], ["x"] * 9, {}, {"x": 1},
    {"type": "x"}, [{}], [{"role": 5}], [{"role": "user", "content": [{}]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "tool", "name": [], "content": {}}], [{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}],
    {"5": "x"}, {"5": True}, {"5": 1e6}, {"type": "json_schema", "json_schema": {"schema": 5}}, {"include_usage": 1},
)  # fmt: skip
ARTEFACTS = re.compile(
    r"function-|pydantic|<|0x|\bstr\b|\bint\b|\bdict\b|\bbool\b|NoneType|Value error|tagged|Input should|Annotated|\["
    r"(?!\d)|None|True|validator|constrained"
)


@pytest.mark.parametrize("field", FIELDS)
def test_errors_speak_of_the_field(http: TestClient, field: str) -> None:
    refused = 0
    for value in VALUES:
        response = ask(http, **{field: value})
        if response.status_code == 200:
            continue
        refused += 1
        assert response.status_code in (400, 404), (value, response.text)
        error = response.json()["error"]
        assert error["param"].startswith(field), (value, error)
        assert error["message"].startswith((field, "The model", "This model")), (value, error)
        assert not ARTEFACTS.search(error["message"]), (value, error)
        assert len(error["message"]) < 300
    assert refused > 5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/conversations", {"title": ""}),
        ("/api/conversations/x/messages", {"content": "x", "parent_id": None}),
        ("/api/messages/x/feedback", {"kind": "like", "edited": None, "comment": ""}),
        (
            "/api/rank/x",
            dict.fromkeys(("labeler", "ranks", "grades", "all_bad", "skip", "reason", "seconds")) | {"labeler": "a"},
        ),
    ],
)
def test_errors_of_the_page_speak_of_the_field(http: TestClient, path: str, body: dict[str, Any]) -> None:
    for field in body:
        for value in VALUES:
            content = json.dumps(body | {field: value})
            response = http.post(path, content=content, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400, 404), response.text
            if response.status_code == 400:
                assert not ARTEFACTS.search(response.json()["error"]["message"]), response.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop": 5}, "stop: expected a string or a list, got a number"),
        ({"stop": ["a"] * 17}, "stop: expected a length of at most 16"),
        ({"stop": ["a", ""]}, "stop[1]: expected a length of at least 1"),
        ({"temperature": "hot"}, "temperature: expected a number, got a string"),
        ({"temperature": 3}, "temperature: expected a number of at most 2"),
        ({"max_tokens": 1.5}, "max_tokens: expected an integer, got a number"),
        ({"stream": "yes"}, "stream: expected true or false, got a string"),
        ({"messages": [{"content": "x"}]}, "messages[0].role: expected, and not there"),
        ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content: expected a string or a list"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text: expected, and"),
        ({"logit_bias": {"the": 1}}, "logit_bias.the: expected integers of digits alone as names"),
        (
            {"response_format": {"type": "json_object", "strict": True}},
            "response_format.strict: this parameter is not known here",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED, "strict": True}},
            "response_format.strict: this parameter is not known here",
        ),
        ({"response_format": {"type": "text", "json_schema": {}}}, "response_format.json_schema: expected null"),
        ({"stream_options": {"x": 1}}, "stream_options.x: this parameter is not known here"),
        ({"max_tokens": "1024"}, "max_tokens: expected an integer, got a string"),
        ({"response_format": {"type": "xml"}}, "response_format: expected a 'type' of 'text', 'json_object'"),
    ],
)
def test_errors_word_for_word(http: TestClient, changes: dict[str, Any], message: str) -> None:
    assert ask(http, **changes).json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b'{"model":"\xff"}', {}, 400, "The body is not valid JSON: expected UTF-8"),
        (
            b'{"model":"tiny","seed":' + b"9" * 5000 + b"}",
            {},
            400,
            "The body is not valid JSON: expected UTF-8, integers",
        ),
        # Python 3.13 reads as deep as that
        (b"[" * 9000 + b"]" * 9000, {}, 400, ("The body is not valid JSON: expected UTF-8, integers", "[0][0][0]: ")),
        (b"{", {}, 400, "The body is not valid JSON: "),
        (b"", {}, 400, "The body: expected a JSON object"),
        (b"[]", {}, 400, "The body: expected a JSON object"),
        (b"{}", {"content-type": "text/plain"}, 400, "The body: expected a JSON object, sent as application/json"),
        (b"\x1f\x8b", {"content-encoding": "gzip"}, 415, "The body is compressed (gzip); expected it as it is"),
    ],
)
def test_bodies_that_are_no_json(
    http: TestClient, body: bytes, headers: dict[str, str], status: int, message: str | tuple[str, str]
) -> None:
    given = {"content-type": "application/json"} | headers
    response = http.post("/v1/chat/completions", content=body, headers=given)
    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/images", "/v1/v1/chat/completions"])
def test_other_paths_are_told_the_right_ones(http: TestClient, path: str) -> None:
    response = http.post(path, json={})
    assert response.status_code == 404
    assert response.json()["error"]["message"].endswith("/v1/messages and /v1/embeddings")


def test_max_tokens_above_what_is_left_is_shortened(http: TestClient, engine: FakeEngine) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert ask(http, **{name: 10**12}).status_code == 200
        assert engine.seen[-1][1].max_tokens == 97  # of 100, less "Be kind. Hi"


def test_a_dialogue_that_outgrows_the_context(http: TestClient) -> None:
    for messages in (
        [{"role": "user", "content": "word " * 98}],
        [USER] * 120,
        [{"role": "user", "content": "w " * 9000}],
    ):
        for stream in (False, True):
            response = ask(http, messages=messages, stream=stream)
            assert response.status_code == 400
            error = response.json()["error"]
            assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
            assert error["message"].startswith(
                "This model's maximum context length is 100 tokens. However, your messages"
            )


def _dialogue(*sizes: int) -> Conversation:
    turns = [Message("assistant" if i % 2 else "user", f"t{i} " * size) for i, size in enumerate(sizes)]
    return Conversation("", (Message("system", "Be kind."), *turns))


@pytest.mark.parametrize(
    ("sizes", "left_out", "room"),
    [
        ((5, 5, 5), 0, 20),
        ((30, 30, 30), 2, 20),  # 98 would leave 2
        ((20, 20, 20, 20, 20), 2, 20),
        ((20, 20, 20, 20, 90), 4, 8),  # the last question stays, whatever it leaves
        ((1, 1) * 40 + (60,), 62, 20),
    ],
)
def test_earliest_turns_left_out(sizes: tuple[int, ...], left_out: int, room: int) -> None:
    dialogue = _dialogue(*sizes)
    fitted = fit(FakeEngine(), dialogue, 20, truncate=True)
    assert (fitted.left_out, fitted.room) == (left_out, room)
    assert fitted.prompt.messages == (dialogue.messages[0], *dialogue.messages[1 + left_out :])
    assert fitted.tokens + fitted.room <= 100


def test_a_question_that_alone_is_too_long_is_refused() -> None:
    with pytest.raises(PromptTooLong, match="reduce the length"):
        fit(FakeEngine(), _dialogue(5, 5, 99), 20, truncate=True)


def test_a_text_far_too_long_is_not_read_to_its_end() -> None:
    engine = FakeEngine(max_context=8192)
    read = []
    count = engine.count_tokens
    engine.count_tokens = lambda prompt: read.append(prompt) or count(prompt)  # type: ignore
    with pytest.raises(PromptTooLong, match="at least 9"):
        fit(engine, Conversation("", (Message("user", "word " * 190_000),)), 20)
    assert all(isinstance(piece, str) for piece in read)
    assert sum(map(len, read)) < 60_000
