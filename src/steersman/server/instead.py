"""What to send instead of a parameter of another server's API that is refused here."""

from __future__ import annotations

_HELD = "expected response_format with a JSON schema, regex or guided_choice: this server takes no grammar"
INSTEAD: dict[str, str] = {
    **dict.fromkeys(("ebnf", "grammar", "grammar_lazy", "guided_grammar", "structural_tag"), _HELD),
    **dict.fromkeys(("num_predict", "n_predict", "max_new_tokens", "max_length", "max_gen_len"), "expected max_tokens"),
    "do_sample": "expected temperature, 0 for the likeliest words",
    "extra_body": "expected its fields beside the messages: it is the client's name for them",
    "options": "expected its fields beside the messages, num_predict as max_tokens",
    "parameters": "expected its fields beside the messages",
    "prompt": "expected messages here, or this request at /v1/completions",
    "safe_prompt": "expected its words in a message of the system",
    "stop_sequences": "expected stop",
    "system": "expected a message of the role system",
    **dict.fromkeys(("guided_whitespace_pattern", "whitespace_pattern"), "expected regex for an answer's white space"),
    "repeat_penalty": "expected repetition_penalty",
    "thinking_budget": "how much a model thinks is a setting of the workspace; enable_thinking: false asks for none",
}


def instead(name: str) -> str:
    """The end of a refusal of this parameter: what to send, or nothing."""
    return f"; {INSTEAD[name]}" if name in INSTEAD else ""
