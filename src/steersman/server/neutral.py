"""Parameters of other servers' APIs that ask for what is done here anyway.

Programs written for vLLM, LMDeploy, ms-swift, llama.cpp or text-generation-webui name all of that server's settings in
each request, most with the value that changes nothing. Such a value is accepted; any other is refused by name, since it
would change the answer.

Why so: decision 115 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steersman.server.errors import ApiError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (False,),
    "best_of": (1,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "early_stopping": (False,),
    "echo": (False,),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "kwargs": ({},),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_tokens": (0,),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "num_beams": (1,),
    "repeat_penalty": (1,),
    "return_details": (False,),
    "session_id": (-1,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": ([],),
    "tfs": (1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "typ_p": (1,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "xtc_probability": (0,),
    **dict.fromkeys(("audios", "images", "videos"), ([],)),
    "objects": ({},),
}
"""Parameter -> its values that change nothing."""
SPEED = ("cache_prompt", "id_slot", "n_keep", "priority")
"""Parameters of how fast an answer comes."""
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
