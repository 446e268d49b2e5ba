"""Whatever is asked and whatever fails, and at every level: logs hold no key, no question and no answer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_double import FakeEngine, live
from steersman.server import logs
from steersman.server.app import create_app
from steersman.store import Store

KEY, ASKED, ANSWERED, FAILED = "sk-marmot", "ibex", "lynx", "heron"
BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": ASKED}]}


def _ask_everything(url: str, engine: FakeEngine) -> list[int]:
    """Statuses of requests of every kind, good, bad and failing."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:

        def completions(**changes: Any) -> int:
            return client.post("/v1/chat/completions", json=BODY | changes).status_code

        said = [completions(), completions(stream=True), completions(logprobs=True), completions(temperature=ASKED)]
        said.append(client.post("/v1/chat/completions", content=f'{{"{ASKED}').status_code)
        said += [completions(model=ASKED), completions(**{ASKED: ASKED}), client.get(f"/v1/{ASKED}").status_code]
        said.append(client.get("/rank", params={"key": KEY}, headers={"authorization": ""}).status_code)
        said.append(client.get("/v1/models", headers={"authorization": f"Bearer {KEY}{ASKED}"}).status_code)
        chat = client.post("/api/conversations", json={"title": ASKED}).json()["id"]
        path = f"/api/conversations/{chat}/messages"
        said.append(client.post(path, json={"content": ASKED}).status_code)
        engine.failure = RuntimeError(f"{FAILED} of {ASKED} and {ANSWERED} with {KEY}")
        said += [completions(), completions(stream=True), client.post(path, json={"content": ASKED}).status_code]
        engine.refused = ASKED
        said.append(completions())
        engine.count_tokens = lambda _: 1 / 0  # type: ignore[method-assign,assignment]
        said += [completions(), completions(stream=True), client.post(path, json={"content": ASKED}).status_code]
    return said


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_logs_hold_no_words(
    level: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for own in ("httpx", "httpcore"):  # this test's client, not the server
        caplog.set_level(logging.CRITICAL, own)
    caplog.set_level(level)
    engine = FakeEngine(pieces=(ANSWERED, " "))
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(engine, store, name="S", language="en", key=KEY, max_tokens=20)
        with live(app) as url:
            said = _ask_everything(url, engine)
    assert said == [200, 200, 200, 400, 400, 404, 400, 404, 303, 401, 200, 500, 200, 200, 400, 500, 500, 500]
    told = caplog.text + "".join(capfd.readouterr())
    assert [word for word in (KEY, ASKED, ANSWERED, FAILED) if word in told] == []
    assert "an answer failed: RuntimeError" in told
    assert "a request to /v1/chat/completions failed: ZeroDivisionError\n  /" in told


def test_an_error_is_told_with_its_causes_and_parts() -> None:
    try:
        try:
            raise KeyError(ASKED)
        except KeyError as error:
            raise ExceptionGroup(ASKED, [ValueError(ASKED)]) from error
    except ExceptionGroup as group:
        told = logs.wordless(group)
    assert [line for line in told.split("\n") if not line.startswith("  ")] == [
        "ExceptionGroup",
        "ValueError",
        "after KeyError",
    ]
    assert f"  {__file__}:" in told
    assert ASKED not in told
