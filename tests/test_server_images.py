"""Images in the APIs: sent on to endpoints, kept with chats, refused in words where a model takes text alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tiny
from pictures import bomb, data_url, picture
from server_double import FakeEngine, events
from steersman.engine.prompts import Prompts
from steersman.engine.protocol import Prompt
from steersman.server.app import create_app
from steersman.server.body import WITH_FILE
from steersman.store import Store
from test_engine_remote import Endpoint, delta, says
from test_engine_remote import endpoint as endpoint
from test_engine_remote import events as stream_of

CAT, DOG = data_url(), data_url("webp", "blue")
ASKED = {
    "en": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": CAT, "detail": "low"}},
    ],
    "zh": [{"type": "image_url", "image_url": {"url": DOG}}, {"type": "text", "text": "这是什么？"}],
}


class TextAlone(FakeEngine):
    """Its template is that of a model which takes text alone."""

    prompts = Prompts(tiny.tokenizer())

    def count_tokens(self, prompt: Prompt) -> int:
        return self.prompts.count(prompt)


def client_of(engine: Any, store: Store, root: Path | None, system: str = "") -> TestClient:
    app = create_app(engine, store, name="S", language="en", system_prompt=system, workspace=root, max_tokens=20)
    return TestClient(app, "http://localhost")


def chat_with(client: TestClient, content: Any, parent: str | None = None, chat: str = "") -> tuple[str, list[Any]]:
    chat = chat or client.post("/api/conversations").json()["id"]
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": content, "parent_id": parent})
    assert response.status_code == 200, response.text
    return chat, events(response.text)


@pytest.mark.parametrize("language", ASKED)
def test_an_endpoint_is_sent_the_image_as_it_came(language: str, endpoint: Endpoint, store: Store) -> None:
    endpoint.play = says(stream_of(delta("A cat."), delta("", "stop")))
    client = client_of(endpoint.engine(), store, None)
    messages = [
        {"role": "user", "content": ASKED[language]},
        {
            "role": "assistant",
            "content": "A cat.",
            "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "image_url", "image_url": {"url": DOG}}]},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "here?"}]},
    ]
    response = client.post("/v1/chat/completions", json={"model": "m", "messages": messages})
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "A cat."
    sent = json.loads(endpoint.asked[-1][2])["messages"]
    assert [m["content"] for m in sent] == [ASKED[language], "A cat.", messages[2]["content"], "And here?"]
    assert "annotations" not in sent[1]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/cat.png", "none is fetched"),
        ("http://169.254.169.254/latest/meta-data", "none is fetched"),
        ("data:image/png;base64,AAAA", "bytes that are none"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "expected an image (png, jpeg, webp, gif)"),
        ("data:image/png;base64,%s", "pixels"),
        ("data:image/png,abc", "none is fetched"),
    ],
)
def test_addresses_and_bad_images_are_refused(url: str, said: str, store: Store, tmp_path: Path) -> None:
    url = url % base64.b64encode(bomb(90000, 90000)).decode() if "%s" in url else url
    client = client_of(FakeEngine(), store, tmp_path)
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}]}
    response = client.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_image")
    assert error["param"] == "messages[0].content[1].image_url.url"
    assert said in error["message"]
    chat = client.post("/api/conversations").json()["id"]
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": content})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "content[1].image_url.url")
    assert store.messages(chat) == []


@pytest.mark.parametrize("system", ["", "Be kind."])
def test_a_model_of_text_alone_says_so_and_nothing_is_kept(system: str, store: Store, tmp_path: Path) -> None:
    client = client_of(TextAlone(max_context=10**6), store, tmp_path, system)
    body = {"model": "tiny", "messages": [{"role": "user", "content": ASKED["en"]}]}
    for stream in (False, True):
        response = client.post("/v1/chat/completions", json=body | {"stream": stream})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_content", "messages[0]")
        assert "messages[0].content[1] is an image" in error["message"]
        assert "takes text alone" in error["message"]
    chat = client.post("/api/conversations").json()["id"]
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": ASKED["zh"]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_content")
    assert store.messages(chat) == []
    assert not (tmp_path / "media").exists()


def test_a_chat_keeps_its_images_and_takes_them_with_it(store: Store, tmp_path: Path) -> None:
    engine = FakeEngine(max_context=1000)
    client = client_of(engine, store, tmp_path)
    chat, told = chat_with(client, ASKED["en"])
    question = told[0]["user"]
    assert question["content"] == "What is this?"
    (text, image) = question["parts"]
    assert text == ASKED["en"][0]
    address = image["image_url"]["url"]
    assert (tmp_path / address).read_bytes() == picture()
    shown = client.get(f"/api/{address}")
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, picture(), "image/png")
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert shown.headers["x-content-type-options"] == "nosniff"
    again = client.post(f"/api/messages/{told[-1]['message']['id']}/regenerate")
    assert again.status_code == 200
    chat_with(client, "Are you sure?", told[-1]["message"]["id"], chat)
    seen = [prompt.messages[0].images[0] for prompt, _ in engine.seen]
    assert [image.data for image in seen] == [picture()] * 3
    other, _ = chat_with(client, ASKED["en"])
    assert client.delete(f"/api/conversations/{chat}").status_code == 200
    assert (tmp_path / address).is_file(), "another chat has it"
    client.delete(f"/api/conversations/{other}")
    assert not (tmp_path / address).exists()
    assert client.get(f"/api/{address}").status_code == 404
    assert client.get("/api/media/ab/..%2f..%2fstore.db").status_code == 404


def test_an_image_that_is_gone_is_said(store: Store, tmp_path: Path) -> None:
    client = client_of(FakeEngine(max_context=1000), store, tmp_path)
    chat, told = chat_with(client, ASKED["zh"])
    (tmp_path / told[0]["user"]["parts"][0]["image_url"]["url"]).unlink()
    body = {"content": "And now?", "parent_id": told[-1]["message"]["id"]}
    response = client.post(f"/api/conversations/{chat}/messages", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "image_missing")
    assert str(tmp_path) not in response.text


def test_bodies_may_be_as_large_as_images_where_they_are_taken(endpoint: Endpoint, store: Store) -> None:
    endpoint.play = says(stream_of(delta("A cat.", "stop")))
    large = data_url("png", "red", (1, 1)) + " " * WITH_FILE
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": large}}]}],
    }
    taken = client_of(endpoint.engine(), store, None).post("/v1/chat/completions", json=body)
    assert taken.status_code == 200
    refused = client_of(FakeEngine(), store, None).post("/v1/chat/completions", json=body | {"model": "tiny"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "content", [[], [{"type": "text", "text": " "}], [{"type": "video"}], [{"type": "text"}], 5, None]
)
def test_a_question_says_something(content: Any, store: Store, tmp_path: Path) -> None:
    client = client_of(FakeEngine(), store, tmp_path)
    chat = client.post("/api/conversations").json()["id"]
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": content})
    assert response.status_code == 400
    assert str(response.json()["error"]["param"]).startswith("content")
