"""Requests of gateways, knowledge bases and chat programs, from their sources of 2026-11-29; see `client_forms.py`."""

from __future__ import annotations

from client_parts import ASKED, CHAT, SCHEMA, USAGE, Form, call, said, tool

NO_THOUGHTS = {"enable_thinking": False}
"""What these send where a model's name says Qwen 3: it should answer without thinking."""
HI = [said("user", "hi")]
APPS: dict[str, dict[str, Form]] = {
    "RAGFlow": {
        "chat": (CHAT, {"messages": ASKED, "temperature": 0.1, "top_p": 0.3, "presence_penalty": 0.4} | NO_THOUGHTS),
        "stream": (CHAT, {"messages": ASKED, "stream": True, "frequency_penalty": 0.7, "temperature": 0.1}),
        "tools": (
            CHAT,
            {"tools": [tool("search")], "tool_choice": "auto", "stream": True, "temperature": 0.1}
            | {
                "messages": [
                    *ASKED,
                    {"role": "assistant", "tool_calls": [call("search", index=0)]},
                    said("tool", "rain", tool_call_id="call_1"),
                ]
            },
        ),
        "embeddings": ("embeddings", {"input": ["one"], "encoding_format": "float"}),
    },
    "FastGPT": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.01, "max_tokens": 8, "stop": ["a", "b"]} | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [tool("tXq")], "tool_choice": "auto", "parallel_tool_calls": True, "stream": True}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "I look.", reasoning_text="Hm."),
                    {"role": "assistant", "tool_calls": [call("tXq")]},
                    said("tool", "rain", tool_call_id="call_1", name="tXq"),
                ]
            },
        ),
        "JSON schema": (
            CHAT,
            {"messages": ASKED, "response_format": {"type": "json_schema", "json_schema": SCHEMA}, "stream": False},
        ),
    },
    "new-api": {
        "chat": (CHAT, {"messages": HI, "stream": False, "max_tokens": 16}),
        "stream": (CHAT, {"messages": HI, "stream": True, "max_tokens": 16} | USAGE),
        "responses": ("responses", {"input": HI, "stream": True}),
        "embeddings": ("embeddings", {"input": ["hello world"]}),
    },
    "Cherry Studio": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.7, "max_tokens": 8} | NO_THOUGHTS | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [tool("web")], "stream": True}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("web")]),
                    said("tool", [{"type": "text", "text": "rain"}], tool_call_id="call_1"),
                ]
            },
        ),
    },
    "AnythingLLM": {
        "chat": (CHAT, {"messages": ASKED, "temperature": 0.7, "max_tokens": 1024}),
        "stream": (CHAT, {"messages": ASKED, "temperature": 0.7, "max_tokens": 1024, "stream": True} | USAGE),
    },
    "Qwen-Agent": {
        "tools": (
            CHAT,
            {"tools": [tool("weather")], "stream": True, "seed": 535768317}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", reasoning_content="", tool_calls=[call("weather")]),
                    said("tool", "rain", id="call_1", extra={"function_id": "call_1"}),
                ]
            },
        ),
    },
}
