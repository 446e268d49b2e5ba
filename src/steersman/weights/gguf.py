"""Reads from a GGUF file the settings that transformers ignores: head size, scaling of rotary positions.

Without them a model loads but computes wrong numbers: the rotations of Llama 3.1 and later are in a separate tensor.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from steersman.families.outputs import context_of
from steersman.progress import note
from steersman.weights.gguf_words import cut_as_said, with_marks

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

GEMMA_27B = {"gemma2": 46, "gemma3": 62}
"""Layers of the size of each whose attention is not scaled by the head's size."""


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Let everybody who reads a GGUF file meanwhile share one reader and one table of tensor names.

    To parse a vocabulary takes seconds, a table 40 ms; transformers makes a reader for each thing that it asks a file
    for, and a table for each module of the model.
    """
    import gguf

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    shared = functools.cache(reader)
    gguf.GGUFReader, gguf.get_tensor_name_map = lambda file: shared(str(file)), functools.cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def completed(file: Path, config: Any) -> Any:
    """transformers' config of a file, with the missing settings added.

    Raises ValueError on an unknown scaling of positions.
    """
    from gguf import GGUFReader

    reader = GGUFReader(file)

    def of(name: str) -> Any:
        field = reader.get_field(f"{architecture}.{name}")
        return None if field is None else field.contents()

    general = reader.get_field("general.architecture")
    architecture = "" if general is None else str(general.contents())
    if of("attention.key_length") and hasattr(config, "head_dim"):
        config.head_dim = int(of("attention.key_length"))
    if architecture in GEMMA_27B:  # the scale of attention is in no file: llama.cpp derives it so
        config.query_pre_attn_scalar = attention_scale(config, config.head_dim)
    if architecture == "gemma3" and not of("attention.sliding_window"):
        config.layer_types = ["full_attention"] * config.num_hidden_layers
        config.sliding_window = context_of(config)
    if architecture == "gpt2" and of("context_length"):
        config.n_positions = int(of("context_length"))
    names = {t.name.split(".", 2)[-1] for t in reader.tensors}
    for setting, name in (("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_up.bias")):
        if name in names and hasattr(config, setting):  # else the biases would be left out
            setattr(config, setting, True)
    whole = dict(getattr(config, "rope_parameters", None) or {})
    rope = whole.get("full_attention", whole)  # Gemma 3's local layers are not scaled
    factors = next((t.data for t in reader.tensors if t.name == "rope_freqs.weight"), None)
    kind = of("rope.scaling.type") or "none"
    if factors is not None:
        _set_llama3(file, config, rope, torch.from_numpy(np.array(factors, dtype=np.float32).reshape(-1)))
    elif kind in ("linear", "yarn"):
        scaled = rope | {"rope_type": kind, "factor": float(of("rope.scaling.factor") or 1.0)}
        if kind == "yarn":
            original = of("rope.scaling.original_context_length") or context_of(config)
            scaled["original_max_position_embeddings"] = int(original)
        config.rope_parameters = scaled if rope is whole else whole | {"full_attention": scaled}
    elif kind != "none":
        raise ValueError(f"{architecture}.rope.scaling.type: '{kind}' is not known; expected none, linear or yarn")
    return config


def attention_scale(config: Any, head: int) -> int:
    """The query_pre_attn_scalar that llama.cpp takes for a Gemma: the head's size, but for the largest models."""
    wide = config.num_hidden_layers == GEMMA_27B[config.model_type.removesuffix("_text")]
    return int(config.hidden_size // config.num_attention_heads) if wide else head


def cut_words(file: Path, tokenizer: Any) -> Any:
    """The tokenizer of a file, cutting texts into words as the file says; told where it cannot."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    model, pre = (reader.get_field(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if model is None or model.contents() != "gpt2":
        return tokenizer
    tokens, kinds = (reader.get_field(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    if tokens is not None and kinds is not None:
        tokenizer = with_marks(tokenizer, tokens.contents(), kinds.contents())
    if pre is None or pre.contents() == "default":
        return tokenizer
    said = cut_as_said(tokenizer, str(pre.contents()))
    if said is None:
        note(f"{file.name}: words cut as '{pre.contents()}' are not known here; numbers and signs may be other tokens")
    return said or tokenizer


def _set_llama3(file: Path, config: Any, rope: dict[str, Any], factors: torch.Tensor) -> None:
    """Set Llama 3's scaling (rope_type llama3) that has these `factors`, one for each pair of a head's dimensions."""
    theta, size = float(rope.get("rope_theta", 10000.0)), 2 * len(factors)
    config.rope_parameters = rope | {"rope_type": "llama3", "factor": round(float(factors.max()), 3), **LLAMA3}
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / theta ** (torch.arange(0, size, 2).float() / size)
    if scaled.shape != plain.shape or not torch.allclose(plain / scaled, factors, rtol=1e-2):
        raise ValueError(f"{file}: rope_freqs.weight: factors that are not Llama 3's; expected those of 3.1 to 3.3")
