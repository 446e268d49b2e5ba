"""OpenTelemetry spans: what was asked and answered when, in the caller's trace, and nowhere a word."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed: pip install 'steersman[otel]'")
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server_double import FakeEngine
from steersman.server import traces
from steersman.server.app import create_app
from steersman.store import Store

SECRET = "what the person asked 我的话"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces.use(provider)
    yield kept
    traces.use(None)


def client_of(engine: FakeEngine, store: Store) -> TestClient:
    return TestClient(create_app(engine, store, name="S", language="en"), HERE, raise_server_exceptions=False)


HERE = "http://localhost"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": SECRET}], "stream": True}


def test_a_request_and_its_answer(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        client = client_of(FakeEngine(), store)
        answer = client.post("/v1/chat/completions", json=ASKED, headers={"traceparent": CALLER})
        assert answer.status_code == 200, answer.text
        assert client.get(f"/api/search?q={SECRET}").status_code == 200
        assert client.get(f"/api/nowhere/{SECRET}").status_code == 404
    found = {span.name: span for span in spans.get_finished_spans()}
    whole = found["POST /v1/chat/completions"]
    assert whole.parent is not None
    assert f"{whole.context.trace_id:032x}-{whole.parent.span_id:016x}" in CALLER
    assert whole.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "steersman.request_id": answer.headers["x-request-id"],
    }
    assert found["answer"].parent.span_id == whole.context.span_id
    assert found["answer"].attributes == {
        "steersman.model": "ppo-7",
        "steersman.answers": 1,
        "steersman.ended": "stop",
        "steersman.tokens": 4,
    }
    parts = [found["wait"], found["write"]]
    assert {part.parent.span_id for part in parts} == {found["answer"].context.span_id}
    times = [time for part in parts for time in (part.start_time, part.end_time)]
    assert times == sorted(times)
    assert "GET /api/search" in found
    assert "asked" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_a_failure_is_a_state_and_no_text(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        client = client_of(FakeEngine(failure=RuntimeError(SECRET)), store)
        assert client.post("/v1/chat/completions", json=ASKED | {"stream": False}).status_code == 500
    (whole,) = [span for span in spans.get_finished_spans() if span.name.startswith("POST")]
    assert (whole.status.status_code.name, whole.status.description, whole.events) == ("ERROR", None, ())
    assert {span.name for span in spans.get_finished_spans()} >= {"answer", "wait"}
    assert "asked" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_where_they_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    came = threading.Event()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert b"answer" in self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            came.set()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server, Store.open(tmp_path / "store.db") as store:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        told = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        try:
            assert traces.begin(told) == ""
            client_of(FakeEngine(), store).post("/v1/chat/completions", json=ASKED)
            assert came.wait(30)
        finally:
            traces.use(None)
            server.shutdown()


def test_none_without_an_endpoint_or_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    for told in ({}, there | {"OTEL_SDK_DISABLED": "true"}, there | {"OTEL_TRACES_EXPORTER": "none"}):
        assert traces.begin(told) == ""
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        assert f"{name}: expected http/protobuf, got 'grpc'" in traces.begin(there | {name: "grpc"})
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "expected the extra: pip install" in traces.begin(there)
    assert traces._tracer is None
