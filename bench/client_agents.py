"""Requests of programs that write code and of automations, from their sources of 2026-11-29, n8n's written down as
LangChain's; see `client_forms.py`."""

from __future__ import annotations

from typing import Any

from client_parts import ASKED, CHAT, SCHEMA, USAGE, Form, call, said, tool

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FLAT = {"type": "function", "name": "weather", "description": "Weather of a city", "strict": False, "parameters": CITY}
CACHED = {"cache_control": {"type": "ephemeral"}}
WORDS = [{"type": "text", "text": "Hi"}]
CODE_STOPS = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<|endoftext|>", "</code>", "\n\n", "/src/"]


def heard(role: str, text: str, **more: Any) -> dict[str, Any]:
    """A turn of the Responses API."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]} | more


def asked_by_codex(*rest: dict[str, Any]) -> dict[str, Any]:
    """Codex CLI: it names its helpers under one name, edits by words, and always offers a search that others run."""
    spawn = FLAT | {"name": "spawn_agent"}
    tools: list[dict[str, Any]] = [
        FLAT | {"name": "exec_command"},
        {"type": "custom", "name": "apply_patch", "description": "Edits files."}
        | {"format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch"'}},
        {"type": "namespace", "name": "multi_agent_v1", "description": "Helpers.", "tools": [spawn]},
        {"type": "web_search", "external_web_access": False},
    ]
    about = {
        "instructions": "You are a coding agent.",
        "input": [heard("developer", "Be kind."), heard("user", "Hi"), *rest],
    }
    how = {"tool_choice": "auto", "parallel_tool_calls": True, "store": False, "stream": True, "include": []}
    return about | how | {"tools": tools, "reasoning": None, "prompt_cache_key": "019c", "client_metadata": {"x": "1"}}


def asked_by_claude(*rest: dict[str, Any]) -> dict[str, Any]:
    """Claude Code, which marks what to cache and lets newer models think as much as they like."""
    tools = [{"name": "Bash", "description": "Runs a command", "input_schema": CITY, "eager_input_streaming": True}]
    system = [{"type": "text", "text": "You are a coding agent."}, {"type": "text", "text": "Be kind."} | CACHED]
    how = {"max_tokens": 32000, "stream": True, "metadata": {"user_id": "user_1"}, "thinking": {"type": "adaptive"}}
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    first = said("user", [WORDS[0] | CACHED])
    return how | {"system": system, "messages": [first, *rest], "tools": tools, "context_management": edits}


USED = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"city": "Ulm"}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
AGENTS: dict[str, dict[str, Form]] = {
    "Cline": {
        "stream": (CHAT, {"messages": [ASKED[0], said("user", WORDS)], "temperature": 0, "stream": True} | USAGE),
        "tools": (
            CHAT,
            {"tools": [tool("read_file")], "stream": True, "temperature": 0}
            | USAGE
            | {
                "messages": [
                    ASKED[0],
                    said("user", WORDS),
                    said("assistant", "I look.", tool_calls=[call("read_file")], reasoning_details=[{"type": "x"}]),
                    said("tool", "rain", tool_call_id="call_1"),
                    said("user", [*WORDS, *WORDS]),
                ]
            },
        ),
    },
    "Continue": {
        "stream": (CHAT, {"messages": ASKED, "max_tokens": 8, "temperature": 0.5, "stream": True, "stop": CODE_STOPS}),
        "completions": (
            "completions",
            {"prompt": "def f(", "max_tokens": 5, "temperature": 0.01, "stream": False, "stop": CODE_STOPS},
        ),
    },
    "Zed": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "max_completion_tokens": 8, "temperature": 1.0}
            | {"prompt_cache_key": "thread-1"}
            | USAGE,
        ),
        "tools": (
            CHAT,
            {"stream": True, "tools": [tool("grep")], "tool_choice": "auto", "parallel_tool_calls": False}
            | USAGE
            | {
                "messages": [
                    *ASKED,
                    said("assistant", [], tool_calls=[call("grep")], reasoning_content="Hm."),
                    said("tool", WORDS, tool_call_id="call_1"),
                ]
            },
        ),
    },
    "Vercel AI SDK": {
        "stream": (CHAT, {"messages": ASKED, "max_tokens": 8, "temperature": 0, "stream": True} | USAGE),
        "JSON schema": (
            CHAT,
            {
                "messages": ASKED,
                "response_format": {"type": "json_schema", "json_schema": SCHEMA | {"description": "d"}},
            },
        ),
        "responses": (
            "responses",
            {"input": [said("system", "Be kind."), heard("user", "Hi")], "max_output_tokens": 8, "stream": True}
            | {"include": ["web_search_call.action.sources"], "tools": [FLAT], "tool_choice": "auto"},
        ),
    },
    "Codex CLI": {
        "responses": ("responses", asked_by_codex()),
        "tools": (
            "responses",
            asked_by_codex(
                heard("assistant", "I look."),
                {"type": "reasoning", "summary": [], "encrypted_content": None},
                {"type": "function_call", "name": "spawn_agent", "namespace": "multi_agent_v1", "arguments": "{}"}
                | {"call_id": "call_1"},
                {"type": "function_call_output", "call_id": "call_1", "output": "done"},
                {
                    "type": "custom_tool_call",
                    "status": "completed",
                    "call_id": "c2",
                    "name": "apply_patch",
                    "input": "***",
                },
                {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
            ),
        ),
    },
    "Claude Code": {
        "stream": ("messages", asked_by_claude()),
        "tools": (
            "messages",
            asked_by_claude(
                said("assistant", [THOUGHT, {"type": "text", "text": "I look."}, USED]),
                said("user", [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}, WORDS[0] | CACHED]),
                said("system", "The time is noon."),
                said("user", "And now?"),
            ),
        ),
        "JSON schema": (
            "messages",
            {
                "messages": [said("user", "Title?")],
                "max_tokens": 32000,
                "stream": True,
                "thinking": {"type": "disabled"},
            }
            | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA["schema"]}}},
        ),
    },
    "Home Assistant": {
        "responses": (
            "responses",
            {"input": [{"type": "message"} | said("developer", "Be kind."), {"type": "message"} | said("user", "Hi")]}
            | {"max_output_tokens": 8, "user": "01J", "store": False, "stream": True, "temperature": 1, "top_p": 1}
            | {"tools": [FLAT]},
        ),
    },
    "n8n": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0.7, "top_p": 1, "frequency_penalty": 0, "n": 1}
            | {"presence_penalty": 0, "response_format": {"type": "text"}}
            | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [tool("calculator")], "n": 1, "stream": False, "parallel_tool_calls": True}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("calculator")]),
                    said("tool", "4", tool_call_id="call_1"),
                ]
            },
        ),
        "embeddings": ("embeddings", {"input": ["one"], "encoding_format": "base64"}),
    },
}
