"""What differs between decoders outside of their layers: names of parts, whether rows may be packed, the head's scale.

Three ways lead through a decoder (`steersman.families.decoder` takes them):

- the families of `layers.FAMILIES`: our own path through transformers' modules
- `PACKED`: transformers' layers over packed rows, with our attention. Only models whose tokens meet in attention alone,
  and only those that tests compare with transformers
- any other: transformers' own forward pass, a dialogue at a time. Slower, and right for whatever transformers computes:
  states of convolutions and recurrences would leak from one document of a row into the next.
"""

from __future__ import annotations

from typing import Any

from steersman.compute.attention import NAME
from steersman.compute.layers import is_known, turns_by_length

PACKED = {
    *("apertus", "cohere2", "ernie4_5", "exaone4", "gemma2", "glm", "glm4", "glm4_moe", "gpt_oss", "granite"),
    *("granitemoe", "ministral", "ministral3", "mixtral", "olmo2", "olmo3", "olmoe", "phi3", "qwen3_moe", "seed_oss"),
    "smollm3",
}

SERVED_ONLY = {"rwkv"}
"""transformers has no gradients of them: its layers change in place what the backward pass would read."""


def packs(config: Any) -> bool:
    """Whether dialogues of this model may lie side by side in a row."""
    return is_known(config) or (config.model_type in PACKED and not turns_by_length(config))


def is_packed(model: Any) -> bool:
    """Whether a row is computed in a single pass: by our layers, or by transformers' layers with our attention."""
    config = backbone(model).config
    return is_known(config) or config._attn_implementation == NAME


def backbone(model: Any) -> Any:
    """The decoder below the head, as transformers calls it: `model`, `transformer`, ..."""
    return model.model if hasattr(model, "model") else model.base_model


def _stack(model: Any) -> Any:
    """What holds the layers: the backbone, or a part of it (OPT)."""
    body = backbone(model)
    return getattr(body, "decoder", body)


def layers(model: Any) -> Any:
    """The ModuleList of decoder layers. Raises ValueError for a model that has none."""
    body = _stack(model)
    for name in ("layers", "h", "blocks"):
        if hasattr(body, name):
            return getattr(body, name)
    raise ValueError(f"model type '{model.config.model_type}' has no list of decoder layers; expected a decoder")


def last_norm(model: Any) -> Any:
    """The module behind the last layer. Raises ValueError for a model that has none by a known name."""
    body = _stack(model)
    for name in ("norm", "final_layernorm", "embedding_norm", "ln_f", "final_layer_norm", "norm_f"):
        if hasattr(body, name):
            return getattr(body, name)
    raise ValueError(f"train_layers: model type '{model.config.model_type}' has no final norm; expected 0 (train all)")


def head_scale(config: Any) -> float:
    """The number that a packed model divides its logits by, like a temperature."""
    if config.model_type in ("granite", "granitemoe"):
        return float(config.logits_scaling)
    return 1.0 / float(config.logit_scale) if config.model_type == "cohere2" else 1.0


def context_of(config: Any) -> int:
    """Most tokens of prompt and answer together: with YaRN its original length times its factor, even where the config
    states the original alone (as Qwen tells users to write it); `max_sequence_length` beside scaled positions (as
    Vicuna's with 16k). 32,768 where the config names no limit."""
    rope = getattr(config, "rope_parameters", None) or {}
    original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    stretched = int(original * factor) if rope.get("rope_type") == "yarn" and original and factor else 0
    if rope.get("rope_type") == "linear":
        stretched = int(getattr(config, "max_sequence_length", None) or 0)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        if getattr(config, name, None):
            return max(int(getattr(config, name)), stretched)
    return 32768
