"""A model's own generation settings (generation_config.json, or an old config.json): what is heeded, what is said.

Where answers end is part of the model: its tokens end answers here too. How to sample is said by who asks.
"""

from __future__ import annotations

from typing import Any

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
"""Without effect in transformers too unless `do_sample` is true."""
HEEDED = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "do_sample"),
    *("max_length", "max_new_tokens", "use_cache", "cache_implementation", "cache_config", "output_attentions"),
    *("output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate", "trust_remote_code"),
    *("compile_config", "disable_compile", "low_memory", "remove_invalid_values", "renormalize_logits"),
}
"""Settings that are heeded, or change no answer. Lengths are those of a request."""
NEUTRAL: dict[str, Any] = {
    **{"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "length_penalty": 1.0, "temperature": 1.0},
    **{"top_k": 0, "top_p": 1.0, "typical_p": 1.0, "num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1},
    **{"no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_length": 0, "diversity_penalty": 0.0},
}


def ends_of(model: Any) -> frozenset[int]:
    """Tokens at which the model's own settings end an answer, without those outside of its vocabulary."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    rows = int(model.get_output_embeddings().weight.shape[0])
    tokens = named if isinstance(named, list) else [] if named is None else [named]
    if wrong := [token for token in tokens if not isinstance(token, int)]:
        where = f"{getattr(model, 'name_or_path', '')}/generation_config.json"
        raise ValueError(f"{where}: eos_token_id: expected ids of tokens, got {wrong[0]!r}")
    return frozenset(token for token in tokens if 0 <= token < rows)


def not_applied(model: Any) -> str:
    """The model's settings that transformers' `generate` would apply and no engine here does; '' where there are none.

    `forced_bos_token_id` of encoder-decoders is applied, and Marian's `bad_words_ids`.
    """
    settings = getattr(model, "generation_config", None)
    if settings is None:
        return ""
    given = settings.to_diff_dict()
    done = {"forced_bos_token_id"} if model.config.is_encoder_decoder else set()
    done |= {"bad_words_ids"} if getattr(model, "final_logits_bias", None) is not None else set()
    idle = () if given.get("do_sample") else SAMPLING
    told = []
    for name, value in sorted(given.items()):
        if name.startswith("_") or name in HEEDED or name in done or name in idle:
            continue
        if value is None or value is False or value == NEUTRAL.get(name):
            continue
        text = str(value)
        told.append(f"{name} {text if len(text) <= 40 else text[:37] + '...'}")
    return ", ".join(told)
