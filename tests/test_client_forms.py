"""What clients send that do not install here, from Open WebUI to Claude Code, and how they read what comes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.server.held import HeldTo
from steersman.server.neutral import ENDS, NEUTRAL
from steersman.server.openai_schema import ChatRequest, to_params, to_prompt
from steersman.store import Store

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from client_editors import STRICT
from client_forms import FORMS, read
from client_parts import CHAT, call, said

ANSWER = "Hello, 世界!\u2028\n"
SEEN, HEARD = {"type": "text", "text": "Hi"}, {"type": "input_text", "text": "Hi"}
LAST = [said("user", "Hi"), said("assistant", "Well,", prefix=True)]
CASES = [(client, feature) for client, forms in FORMS.items() for feature in forms]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with Store.open(tmp_path_factory.mktemp("store") / "store.db") as store:
        app = create_app(FakeEngine(), store, name="Shop", language="en", max_tokens=20)
        with TestClient(app, base_url="http://127.0.0.1:8000") as opened:
            yield opened


@pytest.mark.parametrize(("name", "feature"), CASES)
def test_a_request_is_answered_as_the_client_reads_it(client: TestClient, name: str, feature: str) -> None:
    path, body = FORMS[name][feature]
    answer = client.post(f"/v1/{path}", json=body | {"model": "tiny"})
    assert answer.status_code == 200, answer.text
    found = read(path, answer.text.split("\n"))
    assert found == ("1" if path == "embeddings" else ANSWER)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),  # Open WebUI, LibreChat, LobeChat, where somebody sets it
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),  # Dify's switch for thinking
        ({"enable_thinking": True}, "enable_thinking"),  # Cherry Studio's
        ({"functions": [{"name": "f"}], "tools": [STRICT]}, "functions"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"function_call": {"name": "g"}}, "function_call"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),  # was an empty question
        ({"num_ctx": 4096}, "num_ctx"),  # Open WebUI, of Ollama alone
    ],
)
def test_what_is_refused_is_named(client: TestClient, changed: dict[str, object], param: str) -> None:
    answer = client.post(f"/v1/{CHAT}", json={"model": "tiny", "messages": [said("user", "Hi")]} | changed)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "said_off",
    [
        {"enable_thinking": False},
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
    ],
)
def test_no_thoughts_are_no_more_than_asked_for(client: TestClient, said_off: dict[str, object]) -> None:
    for stream in (False, True):
        body = {"model": "tiny", "messages": [said("user", "Hi")], "stream": stream} | said_off
        answer = client.post(f"/v1/{CHAT}", json=body)
        assert answer.status_code == 200, answer.text
        # an engine that knows no way to ask for that says so
        assert answer.headers["Steersman-Left-Out"] == next(iter(said_off))
    assert "Steersman-Left-Out" not in client.post(f"/v1/{CHAT}", json=body | dict.fromkeys(said_off)).headers


@pytest.mark.parametrize(
    ("path", "changed", "named"),
    [
        (
            CHAT,
            {"messages": [said("user", "Hi", name="Ann"), said("assistant", "Yes?"), said("user", "Go")]},
            "messages.name",
        ),
        (CHAT, {"tools": [STRICT]}, "tools.strict"),
        (CHAT, {"tools": [STRICT], "tool_choice": "none"}, None),
        (CHAT, {"provider": {"order": ["a"]}, "transforms": ["middle-out"], "models": []}, "provider, transforms"),
        (CHAT, {"messages": LAST}, None),  # DeepSeek's and Mistral's word for a continuation, which is what is done
        ("responses", {"tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}]}, "tools.strict"),
        # fields of parts that nobody here knows; one may have a name that no header can have
        (CHAT, {"messages": [said("user", [SEEN | {"min_pixels": 9}])]}, "messages.content.min_pixels"),
        (CHAT, {"messages": [said("user", [SEEN | {"重\r\nX: y": 9, "cache_control": {}}])]}, "messages.content.?"),
        (CHAT, {"messages": [said("user", "Hi", tool_calls=[call("f")])]}, "messages.tool_calls"),
        (
            "messages",
            {"messages": [said("user", [SEEN | {"weight": 2, "citations": None}])]},
            "messages.content.weight",
        ),
        (
            "responses",
            {"input": [said("user", [HEARD | {"weight": 2}], name="Ann")]},
            "input.name, input.content.weight",
        ),
        ("responses", {"context_management": [{"type": "compaction"}], "truncation": "auto"}, "context_management"),
        ("messages", {"tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": True}]}, None),
        (
            "messages",
            {
                "tools": [
                    {"name": "f", "input_schema": {}, "strict": True, "defer_loading": True, "input_examples": [{}]}
                ]
            },
            "tools.strict, tools.defer_loading, tools.input_examples",
        ),
    ],
)
def test_what_has_no_effect_is_named(client: TestClient, path: str, changed: dict[str, Any], named: str | None) -> None:
    """Who speaks in a chat of several, and promises of tools, were dropped without a word."""
    told = "input" if path == "responses" else "messages"
    body = {"model": "tiny", told: [said("user", "Hi")]} | ({"max_tokens": 9} if path == "messages" else {}) | changed
    for stream in (False, True):
        answer = client.post(f"/v1/{path}", json=body | {"stream": stream})
        assert answer.status_code == 200, answer.text
        assert answer.headers.get("Steersman-Left-Out") == named


def test_a_setting_of_another_server_that_changes_nothing_is_taken(client: TestClient) -> None:
    """Programs for vLLM and LMDeploy send each of its settings; of another value they are still told no."""
    body = {"model": "tiny", "messages": [said("user", "Hi")]}
    for name, values in NEUTRAL.items():
        for value in values:
            assert client.post(f"/v1/{CHAT}", json=body | {name: value}).status_code == 200, name
        other = {"ignore_eos": True, "kwargs": {"a": 1}}.get(name, [1] if values == ([],) else 7)
        refused = client.post(f"/v1/{CHAT}", json=body | {name: other})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    goes_on = body | {"messages": [said("user", "Hi"), said("assistant", "Well,")]}
    for name, value in ENDS.items():
        assert client.post(f"/v1/{CHAT}", json=goes_on | {name: value}).status_code == 200
        assert client.post(f"/v1/{CHAT}", json=body | {name: not value}).status_code == 200
        for wrong in (goes_on | {name: not value}, body | {name: value}):
            assert client.post(f"/v1/{CHAT}", json=wrong).json()["error"]["param"] == name


SHAPE = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
HELD = HeldTo(json_schema=SHAPE)


@pytest.mark.parametrize(
    ("said_so", "held"),
    [
        ({"guided_json": SHAPE}, HELD),  # vLLM, until it called them structured_outputs
        ({"guided_json": json.dumps(SHAPE)}, HELD),
        ({"guided_regex": "a+"}, HeldTo(regex="a+")),
        ({"guided_choice": ["a", "b"], "guided_decoding_backend": "outlines"}, HeldTo(choices=("a", "b"))),
        ({"structured_outputs": {"json": SHAPE, "regex": None}}, HELD),
        ({"structured_outputs": {"choice": ["a"]}}, HeldTo(choices=("a",))),
        ({"structured_outputs": {"json_object": True}}, HeldTo(json_schema={"type": "object"})),
        ({"response_format": {"type": "json", "value": SHAPE}}, HELD),  # TGI
        ({"response_format": {"type": "json_schema", "value": {"name": "a", "schema": SHAPE}}}, HELD),
        ({"response_format": {"type": "regex", "value": "a+"}}, HeldTo(regex="a+")),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, HeldTo(regex="a+")),  # Together
        ({"response_format": {"type": "json_object", "schema": SHAPE}}, HELD),  # llama.cpp, Fireworks
        ({"response_format": {"type": "json_schema", "schema": SHAPE}}, HELD),
        ({"json_schema": json.dumps(SHAPE)}, HELD),  # SGLang; llama.cpp's is an object
        ({"format": SHAPE}, HELD),  # Ollama
        ({"format": "json"}, HeldTo(json_schema={"type": "object"})),
        ({"regex": "a", "response_format": {"type": "text"}, "format": ""}, HeldTo(regex="a")),
    ],
)
def test_an_answer_is_held_to_a_form_in_any_servers_words(
    client: TestClient, said_so: dict[str, Any], held: HeldTo
) -> None:
    body = {"model": "tiny", "messages": [said("user", "Hi")]} | said_so
    assert ChatRequest.model_validate(body).held_to() == held
    assert client.post(f"/v1/{CHAT}", json=body).status_code == 200


def test_mistrals_words(client: TestClient) -> None:
    body = {
        "model": "tiny",
        "messages": [said("user", "Hi")],
        "random_seed": 3,
        "tool_choice": "any",
        "tools": [STRICT],
    }
    request = ChatRequest.model_validate(body)
    assert request.asked_tools.forced
    assert to_params(request, 9, 1.0).seed == 3
    assert client.post("/v1/embeddings", json={"model": "tiny", "input": "Hi"}).json()["id"].startswith("embd-")


@pytest.mark.parametrize(
    ("path", "changed", "told"),
    [
        (CHAT, {"guided_json": "no JSON"}, "guided_json: expected an object, got a string"),
        (CHAT, {"guided_choice": ["a"], "regex": "a"}, "guided_choice: allowed only without regex"),
        (CHAT, {"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs: expected one of json"),
        (
            CHAT,
            {"structured_outputs": {"grammar": "x"}},
            "structured_outputs.grammar: this parameter is not known here; ",
        ),
        (CHAT, {"grammar": 'root ::= "a"'}, "grammar: this parameter is not known here; expected response_format"),
        (
            CHAT,
            {"guided_choice": ["a"], "tools": [STRICT], "tool_choice": "required"},
            "tool_choice: expected no regex",
        ),
        (CHAT, {"safe_prompt": True}, "safe_prompt: this server does not support it; expected its words in"),
        (CHAT, {"random_seed": 1, "seed": 1}, "random_seed: allowed only without seed"),
        (CHAT, {"num_predict": 1}, "num_predict: this parameter is not known here; expected max_tokens"),
        (CHAT, {"messages": [*LAST, said("user", "Go")]}, "messages[1].prefix: this server does not support it"),
        ("completions", {"guided_json": SHAPE}, "guided_json: only answers of /v1/chat/completions are held to a form"),
    ],
)
def test_what_is_refused_says_what_to_send(client: TestClient, path: str, changed: dict[str, Any], told: str) -> None:
    body: dict[str, Any] = {"prompt": "x"} if path == "completions" else {"messages": [said("user", "Hi")]}
    answer = client.post(f"/v1/{path}", json=body | {"model": "tiny"} | changed)
    assert (answer.status_code, answer.json()["error"]["message"][: len(told)]) == (400, told)


@pytest.mark.parametrize("path", [CHAT, "completions", "messages", "responses"])
def test_the_likeliest_token_alone_by_top_p(tmp_path: Path, path: str) -> None:
    """OpenAI and Anthropic take 0, and Dify's slider begins there."""
    told = {"completions": {"prompt": "Hi"}, "responses": {"input": "Hi"}}
    more = told.get(path, {"messages": [said("user", "Hi")], "max_tokens": 9})
    engine = FakeEngine()
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(engine, store, name="Shop", language="en", max_tokens=20)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            answer = client.post(f"/v1/{path}", json={"model": "tiny", "top_p": 0} | more)
    assert answer.status_code == 200, answer.text
    params = engine.seen[-1][1]
    assert (params.temperature, params.top_p) == (0.0, 1.0)


def test_an_address_of_nothing_is_an_error_to_a_program(client: TestClient) -> None:
    """A base URL without /v1 was answered with the page, which is no list of models."""
    for path in ("/models", "/health", "/props"):
        for accept in ("*/*", "application/json"):
            answer = client.get(path, headers={"accept": accept})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            assert "/v1/models" in answer.json()["error"]["message"]
        assert client.get(path, headers={"accept": "text/html,*/*;q=0.8"}).status_code == 200
    assert client.get("/rounds/1").status_code == client.get("/").status_code == 200


class Quiet(FakeEngine):
    def stops_thinking(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"reasoning_effort": "none"}),
        ("chat/completions", {"chat_template_kwargs": {"enable_thinking": False}, "stream": True}),
        ("responses", {"reasoning": {"effort": "none"}}),
        ("messages", {"thinking": {"type": "disabled"}, "max_tokens": 9}),
        ("messages", {"thinking": {"type": "adaptive"}, "max_tokens": 9}),
        ("chat/completions", {"chat_template_kwargs": {}}),
    ],
)
def test_the_engine_is_asked_for_no_thoughts(tmp_path: Path, path: str, body: dict[str, object]) -> None:
    engine, told = Quiet(), "input" if path == "responses" else "messages"
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(engine, store, name="S", language="en")
        with TestClient(app, base_url="http://127.0.0.1") as client:
            answer = client.post(f"/v1/{path}", json={"model": "tiny", told: [said("user", "Hi")]} | body)
    assert answer.status_code == 200, answer.text
    assert "Steersman-Left-Out" not in answer.headers
    usual = body.get("thinking") == {"type": "adaptive"} or body.get("chat_template_kwargs") == {}
    assert engine.seen[-1][0].think is usual


def test_the_result_of_a_call_that_is_named_by_id_alone() -> None:
    """Qwen-Agent's, whose thoughts FastGPT calls `reasoning_text`."""
    _, body = FORMS["Qwen-Agent"]["tools"]
    request = ChatRequest.model_validate(body | {"model": "tiny"})
    assert to_prompt(request, "").messages[-1].tool_call_id == "call_1"
    _, body = FORMS["FastGPT"]["tools"]
    request = ChatRequest.model_validate(body | {"model": "tiny"})
    assert "Hm." in [message.thinking for message in to_prompt(request, "").messages]


def test_early_turns_are_left_out_where_that_is_asked_for(client: TestClient) -> None:
    """`truncation: auto` was refused; how many turns the model does not see is said."""
    body = {"model": "tiny", "input": [said("user", "one " * 60), said("assistant", "Yes?"), said("user", "two " * 60)]}
    assert client.post("/v1/responses", json=body).json()["error"]["code"] == "context_length_exceeded"
    answer = client.post("/v1/responses", json=body | {"truncation": "auto"})
    assert (answer.status_code, answer.json()["truncation"]) == (200, "auto")
    assert answer.headers["Steersman-Left-Out"] == "the earliest 2 turns"


def test_of_two_limits_of_an_answer_both_hold(tmp_path: Path) -> None:
    engine = FakeEngine()
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(engine, store, name="S", language="en")
        with TestClient(app, base_url="http://127.0.0.1") as client:
            body = {"model": "tiny", "messages": [said("user", "Hi")], "max_tokens": 3, "max_completion_tokens": 9}
            assert client.post(f"/v1/{CHAT}", json=body).status_code == 200
    assert engine.seen[-1][1].max_tokens == 3
