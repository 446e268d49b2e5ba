"""A decoder's sizes and its family's variations, as the local engine needs them.

Why so: decision 97 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steersman.compute.layers import FAMILIES, has_known_layers
from steersman.families.rope import scalings_of, switch_of
from steersman.families.traits import context_of

SILU, GELU = ("silu", "swish"), ("gelu_pytorch_tanh",)
"""transformers' names of the activation of a family's MLP."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, and the variations between families."""

    layers: int
    vocabulary: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    scale: float
    embed_scale: float
    gelu: bool
    sandwich_norms: bool
    """Whether the outputs of attention and MLP are normalised too (Gemma 3)."""
    norm_offset: float
    """1 where norm weights are stored minus one (Gemma)."""
    qk_norm: bool
    tied: bool
    windows: tuple[int, ...]
    """Per layer: how many past tokens it attends to; 0 is all."""
    rope_scalings: tuple[dict[str, Any], ...]
    """Per layer, as `rope.rotations` takes them."""
    context: int

    @property
    def switch(self) -> int:
        """See `rope.switch_of`."""
        return switch_of(self.rope_scalings)


def _unusual(config: Any, activations: tuple[str, ...]) -> str:
    """What this model has and others of its family do not, such as ReluLLaMA and Granite Code; '' where nothing."""
    own = getattr(config, "hidden_activation", None) or config.hidden_act
    if own not in activations:
        return f"hidden_act '{own}'"
    if cap := getattr(config, "final_logit_softcapping", None):
        return f"final_logit_softcapping = {cap}"
    return next((f"{name} = true" for name in ("attention_bias", "mlp_bias") if getattr(config, name, False)), "")


def shape_of(config: Any) -> Shape:
    """The shape that a transformers config describes.

    Raises ValueError for a model that the local engine does not compute exactly; use the reference backend there.
    """
    kind = config.model_type
    if not has_known_layers(config):
        raise ValueError(f"model type '{kind}' is not one of {', '.join(sorted(FAMILIES))}, or a variant of it")
    layers = config.num_hidden_layers
    gemma = kind == "gemma3_text"
    if unusual := _unusual(config, GELU if gemma else SILU):
        raise ValueError(f"it has {unusual}, which the local engine does not compute")
    types = getattr(config, "layer_types", None) or ["full_attention"] * layers
    window = getattr(config, "sliding_window", None) or 0
    if kind in ("llama", "qwen2", "qwen3") and not (kind != "llama" and getattr(config, "use_sliding_window", False)):
        window = 0
    sliding = [(kind == "mistral" and window > 0) or t == "sliding_attention" for t in types]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        layers=layers,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        eps=config.rms_norm_eps,
        scale=config.query_pre_attn_scalar**-0.5 if gemma else head_dim**-0.5,
        embed_scale=config.hidden_size**0.5 if gemma else 1.0,
        gelu=gemma,
        sandwich_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        qk_norm=kind in ("qwen3", "gemma3_text"),
        tied=bool(config.tie_word_embeddings),
        windows=tuple(window if s else 0 for s in sliding),
        rope_scalings=tuple(scalings_of(config, head_dim)),
        context=context_of(config),
    )
