"""Requests of editors, role-play pages and programs written for other servers, from their sources of 2026-11-30."""

from __future__ import annotations

from client_parts import ASKED, CHAT, SCHEMA, USAGE, Form, call, said, tool

VLLM = {
    **{"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "top_k": -1, "min_p": 0, "repetition_penalty": 1},
    **{"ignore_eos": False, "use_beam_search": False, "stop_token_ids": [], "skip_special_tokens": True},
    **{"spaces_between_special_tokens": True, "length_penalty": 1, "min_tokens": 0, "best_of": 1},
    **{"include_stop_str_in_output": False, "logprobs": None, "truncate_prompt_tokens": None},
}
"""Every setting of vLLM as it is by itself, as programs copy them out of its documentation."""
STRICT = {"type": "function", "function": tool("read_file")["function"] | {"strict": True}}
MARK = {"copilot_cache_control": {"type": "ephemeral"}}
EDITORS: dict[str, dict[str, Form]] = {
    "VS Code (own model)": {
        "stream": (
            CHAT,
            {"messages": [ASKED[0] | MARK, said("user", [{"type": "text", "text": "Hi"}]) | MARK], "stream": True}
            | {"temperature": 0.1, "top_p": 1, "n": 1}
            | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [tool("read_file")], "stream": True, "n": 1, "prediction": {"type": "content", "content": "x"}}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", "", tool_calls=[call("read_file")], cot_id="1", cot_summary="Hm."),
                    said("tool", "rain", tool_call_id="call_1") | MARK,
                ]
            }
            | USAGE,
        ),
    },
    "Kilo Code": {
        "stream": (
            CHAT,
            {"messages": ASKED, "stream": True, "temperature": 0, "parallel_tool_calls": True, "max_tokens": 8} | USAGE,
        ),
        "tools": (
            CHAT,
            {"tools": [STRICT], "tool_choice": "auto", "parallel_tool_calls": True, "stream": True, "temperature": 0}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", None, tool_calls=[call("read_file")]),
                    said("tool", "rain", tool_call_id="call_1"),
                    said("user", [{"type": "text", "text": "<environment_details>x</environment_details>"}]),
                ]
            }
            | USAGE,
        ),
    },
    "Goose": {
        "tools": (
            CHAT,
            {"tools": [tool("developer__shell")], "stream": True, "max_tokens": 8}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", None, tool_calls=[call("developer__shell")], reasoning_content="Hm."),
                    said("tool", "rain", tool_call_id="call_1"),
                    said("user", "And now?"),
                ]
            }
            | USAGE,
        ),
    },
    "gptel": {
        "chat": (CHAT, {"messages": ASKED, "stream": False, "temperature": 1.0}),
        "tools": (
            CHAT,
            {"tools": [tool("search")], "parallel_tool_calls": True, "stream": True, "max_tokens": 8}
            | {
                "messages": [
                    *ASKED,
                    said("assistant", None, tool_calls=[call("search")]),
                    said("tool", "rain", tool_call_id="call_1"),
                ]
            },
        ),
    },
    "SillyTavern": {
        "stream": (
            CHAT,
            {"messages": [*ASKED, said("system", "[Go on.]")], "stream": True, "temperature": 1, "max_tokens": 8}
            | {"presence_penalty": 0, "frequency_penalty": 0, "top_p": 1, "top_k": 0, "stop": ["\nUser:"]}
            | {"logit_bias": {}, "n": 1, "logprobs": True, "top_logprobs": 10},
        ),
        "JSON schema": (
            CHAT,
            {"messages": ASKED, "stream": False, "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
    },
    "LMDeploy's client": {
        "chat": (
            CHAT,
            {"messages": ASKED, "temperature": 0.7, "top_p": 1.0, "n": 1, "max_tokens": 8, "stop": None, "user": None}
            | {"stream": False, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
            | {"session_id": -1, "ignore_eos": False, "skip_special_tokens": True, "kwargs": {}},
        ),
        "completions": (
            "completions",
            {"prompt": "Hi", "suffix": None, "temperature": 0.7, "n": 1, "max_tokens": 8, "stream": False, "top_p": 1.0}
            | {"top_k": 40, "repetition_penalty": 1.0, "session_id": -1, "ignore_eos": False, "kwargs": {}},
        ),
    },
    "programs for vLLM": {
        "chat": (CHAT, {"messages": ASKED, "max_tokens": 8, "add_generation_prompt": True} | VLLM),
        "completions": ("completions", {"prompt": "Hi", "max_tokens": 8, "echo": False} | VLLM),
    },
    "OpenCompass": {
        "chat": (CHAT, {"messages": ASKED[1:], "max_tokens": 8, "n": 1, "stop": None, "temperature": 0.7}),
    },
}
