"""Endpoints that are odd, broken or hostile, played by a small HTTP server on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tiny as t
from steersman.engine.backends import remote
from steersman.engine.load import load_engine
from steersman.engine.protocol import Engine, Refused
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import Completion, SamplingParams

PROMPT = t.conversation("Where is my order?")
Play = Callable[[BaseHTTPRequestHandler], None]


class Endpoint:
    """Answers every request by `play`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, bytes]] = []
        self.play: Play = lambda _: None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                owner.asked.append((self.path, self.headers["authorization"], body))
                owner.play(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()  # first: `serve_forever` never ends over a closed socket, and keeps a core busy
        self.server.server_close()

    def engine(self, **options: Any) -> Engine:
        return load_engine("m", backend="openai", url=f"{self.url}/v1", api_key="secret", **options)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def says(body: str | bytes, status: int = 200, **headers: str) -> Play:
    data = body.encode() if isinstance(body, str) else body

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return play


def answer(**changes: Any) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return json.dumps({"model": "m", "choices": [choice | changes]})


def events(*chunks: Any, end: str = "data: [DONE]\n\n") -> str:
    return "".join(f"data: {json.dumps(c)}\r\n\r\n" for c in chunks) + end


def delta(text: str | None, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


def test_the_key_stays_with_its_host(endpoint: Endpoint) -> None:
    other = Endpoint()
    for status in (301, 302, 303, 307, 308):
        endpoint.play = says("", status, location=f"{other.url}/v1/chat/completions")
        for ask in (endpoint.engine().generate, lambda p, s: list(endpoint.engine().stream(p[0], s))):
            with pytest.raises(RuntimeError, match=rf"sends on to {other.url}"):
                ask([PROMPT], SamplingParams())
    assert not other.asked
    assert {key for _, key, _ in endpoint.asked} == {"Bearer secret"}
    other.close()


def test_a_redirect_within_the_host_is_followed_with_the_words(endpoint: Endpoint) -> None:
    def play(handler: BaseHTTPRequestHandler) -> None:
        elsewhere = says("", 307, location="/v2/chat/completions")
        (says(answer()) if handler.path.startswith("/v2") else elsewhere)(handler)

    endpoint.play = play
    assert endpoint.engine().generate([PROMPT], SamplingParams())[0][0].text == "Hi"
    assert [path for path, *_ in endpoint.asked] == ["/v1/chat/completions", "/v2/chat/completions"]
    assert endpoint.asked[0][2] == endpoint.asked[1][2]
    endpoint.play = says("", 307, location="/v1/chat/completions")
    with pytest.raises(RuntimeError, match="redirects to"):
        endpoint.engine().generate([PROMPT], SamplingParams())


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "127.0.0.1:8000/v1", "http://", "http://me:pw@host/v1", "http://h/v1?key=x"],
)
def test_addresses_are_of_the_web(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        load_engine("m", backend="openai", url=url)


@pytest.mark.parametrize("key", ["a\nHost: b", "a b", "schlüssel"])
def test_a_key_is_no_header_of_its_own(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as raised:
        load_engine("m", backend="openai", url="http://127.0.0.1:9/v1", api_key=key)
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<html>busy</html>", "not JSON: '<html>"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "reply: expected an object"),
        ("null", "reply: expected an object"),
        ("{}", "choices: expected a list, got 'None'"),
        ('{"choices": {}}', "choices: expected a list"),
        ('{"choices": []}', "expected 1 choices, got 0"),
        ('{"choices": [null]}', "choices: expected an object"),
        ('{"choices": ["x"]}', "choices: expected an object"),
        ('{"error": "out of memory"}', "out of memory"),
        ('{"error": {"message": "no such model"}}', "no such model"),
        (answer(message=None), r"choices\.message: expected an object"),
        (answer(message={"content": [{"type": "text"}]}), r"choices\.content: expected text"),
        (answer(index="a"), r"choices\.index: expected a number"),
        (answer(finish_reason=None), r"finish_reason: expected one of .* after 2 characters, got 'None'"),
        (answer(finish_reason={}), "finish_reason"),
    ],
)
def test_odd_replies_are_named(body: str, expected: str, endpoint: Endpoint) -> None:
    endpoint.play = says(body)
    with pytest.raises(RuntimeError, match=expected) as raised:
        endpoint.engine().generate([PROMPT], SamplingParams())
    assert endpoint.url in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (events(delta("Hi"), end=""), "broke off after 2 characters"),
        ("", "broke off after 0 characters"),
        (events(delta("Hi"), end="data: {oops\n\n"), "not JSON"),
        (events(delta("Hi"), {"error": {"message": "lost"}}), "lost"),
        (events({"choices": 3}), "choices: expected a list"),
        (events({"choices": [{"delta": "x"}]}), r"choices\.delta: expected an object"),
        (events(delta("Hi", "no reason")), "finish_reason"),
        ("data: " + "x" * (5 << 20), "in a line"),
    ],
)
def test_a_stream_that_is_no_whole_answer_is_an_error(body: str, expected: str, endpoint: Endpoint) -> None:
    endpoint.play = says(body)
    with pytest.raises(RuntimeError, match=expected):
        list(endpoint.engine().stream(PROMPT, SamplingParams()))


def test_streams_that_end(endpoint: Endpoint) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}
    for body, reason in (
        (events(delta(None), delta("您好\u2028"), delta("!", "length"), usage), "length"),
        (events(delta("您好\u2028!", "stop"), end=""), "stop"),
        (": hello\n\n" + events(delta("您好\u2028!")), "stop"),
        (events(delta("您好\u2028!", "stop")).replace("\r\n", "\r"), "stop"),
    ):
        endpoint.play = says(body)
        *pieces, final = endpoint.engine().stream(PROMPT, SamplingParams())
        assert isinstance(final, Completion)
        assert "".join(map(str, pieces)) == final.text == "您好\u2028!"
        assert final.finish_reason == reason
        assert (final.counted, final.tokens) == (((11, 3), 3) if "prompt_tokens" in body else ((0, 0), 0))


def test_an_endpoint_that_does_not_count_streams_is_asked_without(endpoint: Endpoint, tmp_path: Path) -> None:
    """And what one counts is what the API says was used, not the bound that the prompt was held against."""
    usage = {"prompt_tokens": 11, "completion_tokens": 3}

    def strict(request: BaseHTTPRequestHandler) -> None:
        refused = b"stream_options" in endpoint.asked[-1][2]
        good = events(delta("Hi", "stop"), {"choices": [], "usage": usage})
        says('{"error": {"message": "stream_options: unknown"}}', 400)(request) if refused else says(good)(request)

    endpoint.play = strict
    engine = endpoint.engine()
    for _ in range(2):
        assert [i.tokens for i in engine.stream(PROMPT, SamplingParams()) if isinstance(i, Completion)] == [3]
    assert [b"stream_options" in body for _, _, body in endpoint.asked] == [True, False, False]
    with Store.open(tmp_path / "store.db") as store:
        with TestClient(create_app(engine, store, name="S", language="en"), base_url="http://127.0.0.1:8000") as client:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
            assert client.post("/v1/chat/completions", json=body).json()["usage"] == usage | {"total_tokens": 14}
            body["max_tokens"] = 5  # type: ignore[assignment]
            told = client.post("/v1/messages", json=body).json()["usage"]
            assert told == {"input_tokens": 11, "output_tokens": 3}


def test_streams_that_are_refused_together_are_all_asked_again(endpoint: Endpoint) -> None:
    engine, both, said = endpoint.engine(), threading.Barrier(2, timeout=10), []

    def strict(request: BaseHTTPRequestHandler) -> None:
        if len(endpoint.asked) <= 2:
            both.wait()
            return says('{"error": {"message": "stream_options: unknown"}}', 400)(request)
        return says(events(delta("Hi", "stop")))(request)

    def ask() -> None:
        said.extend(engine.stream(PROMPT, SamplingParams()))

    endpoint.play = strict
    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert [piece for piece in said if isinstance(piece, str)] == ["Hi", "Hi"]


def test_what_an_endpoint_counted_is_charged_once(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is of all answers to a prompt; where it has none, pieces are counted."""
    charged: list[int] = []
    monkeypatch.setattr("steersman.server.traces.Answer.end", lambda _self, tokens: charged.append(tokens))
    chunks = [delta("Hi", "stop"), {"choices": [delta("Ho", "stop")["choices"][0] | {"index": 1}]}]
    usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 30}}
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(endpoint.engine(), store, name="S", language="en")
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            for told in ([usage], []):
                endpoint.play = says(events(*chunks, *told))
                body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "n": 2}
                assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert charged == [30, 2]


def test_a_connection_that_breaks_off_is_said(endpoint: Endpoint) -> None:
    endpoint.play = says(events(delta("Hi"))[:30], content_length="5000")
    with pytest.raises(RuntimeError, match="broke off"):
        list(endpoint.engine().stream(PROMPT, SamplingParams()))
    endpoint.play = says(answer()[:20], content_length="5000")
    with pytest.raises(RuntimeError, match="broke off"):
        endpoint.engine().generate([PROMPT], SamplingParams())


def test_a_busy_endpoint_says_when(endpoint: Endpoint) -> None:
    def play(handler: BaseHTTPRequestHandler) -> None:
        (says("slow down", 429, retry_after="0") if len(endpoint.asked) < 5 else says(answer()))(handler)

    endpoint.play = play
    assert endpoint.engine().generate([PROMPT], SamplingParams())[0][0].text == "Hi"
    endpoint.play = says('{"error": {"message": "no"}}', 503, retry_after="0")
    with pytest.raises(RuntimeError, match="503: no"):
        endpoint.engine().generate([PROMPT], SamplingParams())
    for body in (
        '{"error": {"message": "too long"}}',
        '{"detail": "too long"}',
        '["too long"]',
        "too long",
        '{"error": 3}',
    ):
        endpoint.play = says(body, 400)
        with pytest.raises(Refused, match=r"too long|3"):
            endpoint.engine().generate([PROMPT], SamplingParams())


def test_a_silent_endpoint_is_left() -> None:
    from steersman.engine.backends.remote import RemoteEngine

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        engine = RemoteEngine(url, "m", api_key="", max_context=9, parallel=2, timeout=0.3)
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="timed out"):
            engine.generate([PROMPT], SamplingParams())
        assert time.monotonic() - began < 60


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("play", "status", "message"),
    [
        (says('{"error": {"message": "no such language"}}', 400), 400, "no such language"),
        (says('{"error": {"message": "secret is no key"}}', 401), 502, "401: ... is no key"),
        (says("", 500), 502, "500"),
        (says('{"error": {"message": "later"}}', 429, retry_after="7"), 429, "later"),
        (says(events({"error": {"message": "out of memory"}})), 502, "out of memory"),
        (says(events(delta(None))[:20], content_length="5000"), 502, "broke off"),
    ],
)
def test_a_server_over_an_endpoint_answers_with_its_refusal(
    endpoint: Endpoint,
    play: Play,
    status: int,
    message: str,
    stream: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    endpoint.play = play
    with Store.open(tmp_path / "store.db") as store:
        client = TestClient(create_app(endpoint.engine(), store, name="S", language="en"), "http://localhost")
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        response = client.post("/v1/chat/completions", json=body)
        assert response.status_code == status
        assert message in response.json()["error"]["message"]
        assert "secret" not in response.text
        assert response.headers.get("retry-after") == ("7" if status == 429 else None)
        endpoint.play = says(events(delta("H"), delta("i", "stop")))
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        refused = client.post("/v1/chat/completions", json=body | {"logprobs": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprobs")
