"""Requests as clients make them that are no Python packages, read from their sources on 2026-11-28.

Each is a body for a path of `/v1`; `read` takes an answer apart as these clients do. `bench/clients.py` sends them to a
running server, `tests/test_client_forms.py` to one with a scripted engine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from client_agents import AGENTS
from client_apps import APPS
from client_editors import EDITORS
from client_libraries import LIBRARIES
from client_parts import ASKED, CHAT, SCHEMA, USAGE, Form, call, said, tool

FORMS: dict[str, dict[str, Form]] = {
    "Open WebUI": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.8, "top_p": 0.9, "min_p": 0.0, "max_tokens": 8}
            | {"frequency_penalty": 0.0, "presence_penalty": 0.0, "seed": 0, "stop": ["\n\n"], "logit_bias": {}}
            | {"response_format": {"type": "text"}}
            | USAGE,
        ),
        "chat": (CHAT, {"messages": [said("user", "Title?")], "stream": False, "max_completion_tokens": 8}),
        "tools": (
            CHAT,
            {"tools": [tool("get_weather")], "stream": True, "max_tokens": 8}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("get_weather", index=0)]),
                    said("tool", "rain", tool_call_id="call_1"),
                ]
            },
        ),
        "embeddings": ("embeddings", {"input": ["one", "two"]}),
    },
    "LibreChat": {
        "stream": (
            CHAT,
            {"stream": True, "temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
            | {"max_tokens": 8, "user": "65f0c0ffee"}
            | {"messages": [said("system", "Be kind."), said("user", [{"type": "text", "text": "Hi"}])]}
            | USAGE,
        ),
        "chat": (CHAT, {"messages": ASKED, "stream": False, "temperature": 0.2, "max_tokens": 8, "user": "65f0"}),
        "tools": (
            CHAT,
            {"tools": [tool("weather_mcp_files")], "stream": True, "max_tokens": 8, "user": "65f0"}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("weather_mcp_files")]),
                    said("tool", "rain", name="weather_mcp_files", tool_call_id="call_1"),
                ]
            },
        ),
    },
    "Dify": {
        "chat": (CHAT, {"max_tokens": 5, "messages": [said("user", "ping")]}),
        "stream": (
            CHAT,
            {"stream": True, "temperature": 0.7, "top_p": 1, "max_tokens": 8, "presence_penalty": 0, "user": "abc-123"}
            | {"frequency_penalty": 0, "stop": ["Human:"], "messages": ASKED, "response_format": {"type": "text"}}
            | USAGE,
        ),
        "tools": (
            CHAT,
            {"stream": True, "tool_choice": "auto", "tools": [tool("weather")], "max_tokens": 8, "user": "abc-123"}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("weather")]),
                    said("tool", "rain", tool_call_id="call_1"),
                ]
            },
        ),
        "JSON schema": (
            CHAT,
            {"messages": ASKED, "max_tokens": 40, "response_format": {"type": "json_schema", "json_schema": SCHEMA}}
            | {"stream": True},
        ),
        "completions": ("completions", {"prompt": "ping", "max_tokens": 5}),
        "embeddings": ("embeddings", {"input": ["ping"], "encoding_format": "float"}),
    },
    "NextChat": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.5, "presence_penalty": 0, "frequency_penalty": 0}
            | {"top_p": 1},
        ),
        "chat": (
            CHAT,
            {"messages": ASKED, "stream": False, "temperature": 0.5, "presence_penalty": 0, "frequency_penalty": 0}
            | {"top_p": 1, "max_tokens": 8},
        ),
        "tools": (
            CHAT,
            {"tools": [tool("weather")], "stream": True, "temperature": 0.5, "presence_penalty": 0, "top_p": 1}
            | {
                "frequency_penalty": 0,
                "messages": [
                    *ASKED,
                    {"role": "assistant", "tool_calls": [call("weather")]},
                    said("tool", "rain", name="weather", tool_call_id="call_1"),
                ],
            },
        ),
    },
    "LobeChat": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.7, "top_p": 1, "presence_penalty": 0, "user": "u_1"}
            | {"frequency_penalty": 0}
            | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [tool("lobe-weather____get____builtin")], "stream": True, "temperature": 0.7, "top_p": 1}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("lobe-weather____get____builtin")]),
                    said("tool", "rain", name="lobe-weather____get____builtin", tool_call_id="call_1"),
                ]
            },
        ),
        "JSON schema": (
            CHAT,
            {"messages": ASKED, "user": "u_1", "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
        "responses": (
            "responses",
            {"input": [said("developer", "Be kind."), said("user", [{"type": "input_text", "text": "Hi"}])]}
            | {"store": False, "stream": True, "temperature": 0.7, "top_p": 1},
        ),
        "embeddings": ("embeddings", {"input": ["one"], "encoding_format": "float", "dimensions": 2, "user": "u_1"}),
    },
}

FORMS |= AGENTS | APPS | EDITORS | LIBRARIES


def read(path: str, lines: Iterable[str]) -> str:
    """The words of an answer, streamed or whole; the number of vectors of embeddings. Raises where a client would."""
    lines = [line for line in lines if line]
    if path == "embeddings":
        vector = json.loads(lines[0])["data"][0]["embedding"]
        return str(len(base64.b64decode(vector) if isinstance(vector, str) else [float(x) for x in vector]) and 1)
    if not lines[0].startswith(("data:", "event:", ":")):
        (choice,) = json.loads("\n".join(lines))["choices"]
        return str(choice["message"]["content"] if "message" in choice else choice["text"])
    texts, ended = [], False
    for line in lines:
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            ended = True
            continue
        event = json.loads(line.removeprefix("data: "))
        if path == "responses":
            texts.append(event["delta"] if event["type"] == "response.output_text.delta" else "")
            ended = ended or event["type"] in ("response.completed", "response.incomplete")
        elif path == "messages":
            texts.append(event["delta"].get("text", "") if event["type"] == "content_block_delta" else "")
            ended = ended or event["type"] == "message_stop"
        elif event["choices"]:
            (choice,) = event["choices"]
            texts.append(choice["delta"].get("content") or "")
    assert ended, "the stream has no end"
    return "".join(texts)
