"""What clients send that do not install here, from Open WebUI to Claude Code, and how they read what comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.store import Store

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from client_forms import FORMS, read
from client_parts import CHAT, said

ANSWER = "Hello, 世界!\u2028\n"
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
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),  # Dify's switch for thinking
        ({"functions": [{"name": "f", "parameters": {}}]}, "functions"),  # Dify's older kind of tools
        ({"num_ctx": 4096}, "num_ctx"),  # Open WebUI, of Ollama alone
    ],
)
def test_what_is_refused_is_named(client: TestClient, changed: dict[str, object], param: str) -> None:
    answer = client.post(f"/v1/{CHAT}", json={"model": "tiny", "messages": [said("user", "Hi")]} | changed)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
