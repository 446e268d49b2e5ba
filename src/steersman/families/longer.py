"""A longer context for a trained decoder: scaled rotary positions, and a config that says so as transformers reads it.

- linear: positions divided by the factor (Chen et al. 2023, position interpolation)
- ntk: a larger base, theta * factor ** (d / (d - 2)), so that the slowest pair of a head's d dimensions turns as under
  linear and the fastest as before (bloc97 2023). Written as `rope_theta`, which every program reads
- yarn: fast pairs as before, slow ones as under linear, between them a ramp; attention sharper by 0.1 ln factor + 1
  (Peng et al. 2023)

Of models with local and global layers (Gemma 3) the global ones are scaled: the others never look that far.

Why so: decision 87 in docs/LOG.md.
"""

from __future__ import annotations

from typing import Any

from steersman.compute.layers import FAMILIES
from steersman.families.traits import backbone

METHODS = ("linear", "ntk", "yarn")
LOCAL = "sliding_attention"


def extend(config: Any, context: int, method: str) -> float:
    """Change a transformers config to `context` tokens; returns the factor.

    ValueError for a model that has no unscaled rotary positions, or whose context is that long already.
    """
    if method not in METHODS:
        raise ValueError(f"rope: expected one of {', '.join(METHODS)}, got '{method}'")
    parts = _scaled_parts(config)
    original = getattr(config, "max_position_embeddings", None)
    if not original:
        raise ValueError(f"rope={method}: '{config.model_type}' names no context (max_position_embeddings) to extend")
    if context <= original:
        raise ValueError(
            f"rope={method}: expected a context above the model's {original}, got {context}; leave rope out to train "
            "within it"
        )
    factor: float = context / original
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for parameters in parts:
        _scale(parameters, method, factor, original, int(head * parameters.get("partial_rotary_factor", 1.0)))
    config.max_position_embeddings = context
    return factor


def lengthen(model: Any, context: int, method: str) -> Any:
    """The same model with a longer context: `extend`, and rotary tables made anew."""
    extend(model.config, context, method)
    body = backbone(model)
    body.rotary_emb = type(body.rotary_emb)(config=body.config).to(model.device)
    return model


def _scale(parameters: dict[str, Any], method: str, factor: float, original: int, dimensions: int) -> None:
    if method == "ntk":
        parameters["rope_theta"] = parameters["rope_theta"] * factor ** (dimensions / (dimensions - 2))
        return
    parameters |= {"rope_type": method, "factor": factor}
    if method == "yarn":
        parameters["original_max_position_embeddings"] = original


def _scaled_parts(config: Any) -> list[dict[str, Any]]:
    """The rotary parameters of the layers that see the whole context. ValueError where there are none."""
    kind, rope = config.model_type, getattr(config, "rope_parameters", None)
    if config.is_encoder_decoder or not rope or not getattr(config, "num_attention_heads", None):
        raise ValueError(
            f"'{kind}' has no rotary positions (learned positions, ALiBi or relative ones cannot be extended); "
            "expected a decoder with RoPE, such as Llama, Qwen, Mistral or Gemma 3"
        )
    types = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if window and (types == {LOCAL} or (kind == "mistral" and not types)):
        raise ValueError(
            f"'{kind}': every layer sees the last {window} tokens alone (sliding_window), so a longer context would "
            "give it nothing; expected layers that see all"
        )
    if LOCAL in types and LOCAL not in rope:
        raise ValueError(
            f"'{kind}': layers with a window of {window} and layers that see all share their rotary positions, so none "
            "can be scaled alone"
        )
    nested = [value for name, value in rope.items() if isinstance(value, dict) and name != LOCAL]
    parts = nested or [rope]
    for parameters in parts:
        found = parameters.get("rope_type", "default")
        if found != "default":
            raise ValueError(
                f"the rotary positions of this model are scaled already (rope type '{found}'); expected one that is not"
            )
    if kind not in FAMILIES:
        raise ValueError(f"'{kind}': scaled positions are known of {', '.join(sorted(FAMILIES))} alone")
    return parts
