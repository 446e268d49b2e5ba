"""What requests of clients are made of."""

from __future__ import annotations

from typing import Any

Form = tuple[str, dict[str, Any]]
"""Path below /v1, and the body without its model."""
USAGE = {"stream_options": {"include_usage": True}}
CHAT = "chat/completions"
SCHEMA = {
    "name": "answer",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    },
}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Weather of a city", "parameters": parameters},
    }


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"city": "Ulm"}'}} | more


ASKED = [said("system", "Be kind."), said("user", "Hi")]
