"""Requests of libraries in Go, Java, Kotlin, Ruby and Rust, of editors' plugins and of a chat page, from their sources
of 2026-11-30; see `client_forms.py`. Older ones send `functions`, OpenAI's first form of tools."""

from __future__ import annotations

from typing import Any

from client_agents import FLAT, heard
from client_parts import ASKED, CHAT, SCHEMA, USAGE, Form, call, said, tool

OLD: dict[str, Any] = tool("weather")["function"]
OLD_CALL = {"name": "weather", "arguments": '{"city": "Ulm"}'}
TEXT = [{"type": "text", "text": "Hi"}]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYA"
    "AAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def answered(name: str, result: Any = "rain", **more: Any) -> list[dict[str, Any]]:
    """A dialogue whose last turn is the result of a call."""
    return [
        *ASKED,
        {"role": "assistant", "tool_calls": [call(name)]} | more,
        said("tool", result, tool_call_id="call_1"),
    ]


LIBRARIES: dict[str, dict[str, Form]] = {
    "go-openai (first form)": {
        "tools": (
            CHAT,
            {"functions": [OLD], "function_call": "auto", "max_tokens": 8, "temperature": 0.5, "user": "u"}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", function_call=OLD_CALL),
                    said("function", "rain", name="weather"),
                ]
            },
        ),
    },
    "AutoGen 0.2 (first form)": {
        "tools": (
            CHAT,
            {"functions": [OLD], "temperature": 0, "stream": False}
            | {
                "messages": [
                    said("system", "Be kind."),
                    said("user", "Hi", name="user_proxy"),
                    said("assistant", None, function_call=OLD_CALL, name="assistant"),
                    said("function", "rain", name="weather"),
                ]
            },
        ),
    },
    "LangChain4j": {
        "chat": (
            CHAT,
            {"messages": [said("user", [*TEXT, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}])]}
            | {"temperature": 0.7, "max_completion_tokens": 8, "store": False, "metadata": {"a": "b"}, "seed": 7},
        ),
        "stream": (CHAT, {"messages": ASKED, "stream": True, "stop": ["x"], "logit_bias": {"50256": -100}} | USAGE),
        "tools": (CHAT, {"tools": [tool("w")], "tool_choice": "auto", "messages": answered("w"), "stream": True}),
    },
    "Koog": {
        "tools": (
            CHAT,
            {"tools": [tool("w")], "tool_choice": "auto", "stream": False, "parallel_tool_calls": True, "n": 1}
            | {"messages": answered("w", reasoning_content="Hm.", annotations=[]), "prompt_cache_key": "k"},
        ),
    },
    "ruby_llm": {
        "stream": (
            CHAT,
            {"messages": [said("developer", "Be kind."), said("user", "Hi")], "stream": True, "temperature": 0.7}
            | USAGE,
        ),
        "tools": (CHAT, {"tools": [tool("w")], "tool_choice": "auto", "stream": False, "messages": answered("w")}),
    },
    "rig": {
        "tools": (
            CHAT,
            {"tools": [tool("w")], "tool_choice": "auto", "temperature": 0.5}
            | {"messages": [said("system", TEXT), *answered("w", TEXT, content=[])[1:]]},
        ),
    },
    "browser-use": {
        "JSON schema": (
            CHAT,
            {"temperature": 0.2, "frequency_penalty": 0.3, "seed": 4, "service_tier": "auto"}
            | {
                "messages": [
                    said("system", TEXT),
                    said(
                        "user",
                        [
                            *TEXT,
                            {
                                "type": "image_url",
                                "image_url": {"url": PIXEL, "detail": "auto", "media_type": "image/png"},
                            },
                        ],
                    ),
                ]
            }
            | {"max_completion_tokens": 4096, "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
    },
    "Roo Code": {
        "stream": (
            CHAT,
            {"temperature": 0, "stream": True, "parallel_tool_calls": False, "tools": [tool("read_file")]}
            | {
                "messages": [
                    said("system", [TEXT[0] | {"cache_control": {"type": "ephemeral"}}]),
                    said("user", [TEXT[0] | {"cache_control": {"type": "ephemeral"}}]),
                    said("assistant", "I look.", tool_calls=[call("read_file")], reasoning_details=[{"type": "x"}]),
                    said("tool", "(empty)", tool_call_id="call_1"),
                ]
            }
            | USAGE,
        ),
    },
    "avante.nvim": {
        "stream": (
            CHAT,
            {"stream": True, "temperature": 0.75, "max_tokens": 20480, "tools": [tool("ls")]}
            | {"messages": answered("ls", "Error: no such folder")},
        ),
    },
    "codecompanion.nvim": {
        "responses": (
            "responses",
            {"store": False, "stream": True, "instructions": "Be kind.", "include": ["reasoning.encrypted_content"]}
            | {"tools": [FLAT | {"strict": True}, {"type": "web_search"}]}
            | {"context_management": [{"type": "compaction", "compact_threshold": 50000}]}
            | {
                "input": [
                    said("user", "Hi"),
                    {
                        "type": "reasoning",
                        "summary": [{"type": "summary_text", "text": "Hm."}],
                        "encrypted_content": "x",
                    },
                    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                ]
            },
        ),
    },
    "AstrBot": {
        "responses": (
            "responses",
            {"store": False, "stream": True, "instructions": "Be kind.", "tools": [FLAT], "tool_choice": "auto"}
            | {"input": [heard("assistant", "Yes?", phase="final_answer"), heard("user", "Hi")]},
        ),
    },
    "HuggingFace chat-ui": {
        "stream": (
            CHAT,
            {"messages": [said("system", ""), said("user", "Hi")], "stream": True, "max_tokens": 8, "temperature": 0.9}
            | {"top_p": 0.95, "frequency_penalty": 1.2},
        ),
        "responses": (
            "responses",
            {"stream": True, "instructions": "Be kind.", "max_output_tokens": 8, "temperature": 0.9, "top_p": 0.95}
            | {
                "input": [
                    said("assistant", "Yes?"),
                    said(
                        "user", [{"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}]
                    ),
                ]
            },
        ),
    },
    "EvalScope": {
        "stream": (
            CHAT,
            {"messages": [said("user", TEXT)], "stream": True, "max_tokens": 8, "seed": 42, "top_k": 50, "n": 1}
            | {"repetition_penalty": 1.0, "logprobs": False}
            | USAGE,
        ),
    },
    "programs that name some tools": {
        "tools": (
            CHAT,
            {"messages": ASKED, "tools": [tool("a"), tool("b")], "prompt_cache_options": {"mode": "implicit"}}
            | {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "b"}}]},
                }
            },
        ),
    },
}
"""What changes nothing of an answer, or is named in its header, is among them: a part's mark for a cache of prompts, a
compaction that this server does not do."""
