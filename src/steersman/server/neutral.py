"""Parameters of other servers' APIs that ask for what is done here anyway.

Programs written for vLLM, SGLang, LMDeploy, ms-swift, llama.cpp, Ollama, Mistral, DashScope or text-generation-webui
name all of that server's settings in each request, most with the value that changes nothing. Such a value is accepted;
any other is refused by name, since it would change the answer, and with what to send instead where there is something.

Why so: decisions 115 and 118 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steersman.server.errors import ApiError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (False,),
    "bad_words": ([],),
    "best_of": (1,),
    "deferred": (False,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "early_stopping": (False,),
    "echo": (False,),
    "enable_search": (False,),
    "ignore_eos": (False,),
    "include_reasoning": (False,),
    "include_stop_str_in_output": (False,),
    "incremental_output": (True,),
    "kwargs": ({},),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_tokens": (0,),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "n_probs": (0,),
    "no_stop_trim": (False,),
    "num_beams": (1,),
    "plugins": ([],),
    "reasoning_format": ("auto", "hidden"),
    "repeat_penalty": (1,),
    "result_format": ("message",),
    "return_details": (False,),
    "return_hidden_states": (False,),
    "return_progress": (False,),
    "return_token_ids": (False,),
    "return_tokens": (False,),
    "return_tokens_as_token_ids": (False,),
    "safe_prompt": (False,),
    "separate_reasoning": (True,),
    "session_id": (-1,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": ([],),
    "stream_reasoning": (True,),
    "tfs": (1,),
    "tfs_z": (1,),
    "timings_per_token": (False,),
    "top_a": (0,),
    "typ_p": (1,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "vl_high_resolution_images": (False,),
    "xtc_probability": (0,),
    **dict.fromkeys(("audios", "images", "videos"), ([],)),
    "objects": ({},),
}
"""Parameter -> its values that change nothing."""
SPEED = (
    *("cache_prompt", "cache_salt", "guided_decoding_backend", "id_slot", "keep_alive", "n_keep", "priority"),
    "request_id",
)
"""Parameters of how fast an answer comes, or by what name it is known."""
ELSEWHERE = ("models", "provider", "route", "transforms", "usage")
"""OpenRouter's, of who answers and how a prompt too long is made to fit: there is one to answer here, who refuses such
a prompt. They have no effect, and are named in the answer's header."""
PREFIX = ("prefix", "partial")
"""Fields of a last message of the assistant that ask for its continuation (DeepSeek, Mistral; Qwen, Moonshot), which is
what is done with one."""
MARKS = ("cache_control", "copilot_cache_control", "cot_id", "cot_summary")
"""Fields of a message that no model is shown: marks for a cache of prompts, and an editor's notes on past thoughts."""
ENDS = {"add_generation_prompt": False, "continue_final_message": True}
"""Parameter -> its value where the last turn is the assistant's; the other one elsewhere."""


def refuse_other_end(given: Mapping[str, Any], continued: bool) -> None:
    """ApiError where a request wants a dialogue ended otherwise than here. `continued`: its last turn is an answer."""
    for name, value in ENDS.items():
        if given.get(name) not in (None, value is continued):
            told = "continues a last turn of the assistant, and answers any other"
            raise ApiError(400, f"{name}: this server {told}", param=name, code="unsupported_parameter")


def no_field(name: str, value: Any, continued: bool) -> bool:
    """Whether a message's field without a meaning here has none there either. `continued`: it is a last turn of the
    assistant."""
    if name in PREFIX and isinstance(value, bool):
        return continued or not value
    return value in (None, []) or name in MARKS
