"""New models: transformers' own classes with weights drawn from a seed, to be pretrained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

DEVIATION = 0.02
"""Of embeddings; steps of the optimizer soon decide on their length."""
HEAD_DEVIATION = 0.001
"""Of the head, so that every token is about as likely at first."""
WAYS_OUT = ("o_proj", "down_proj")
"""Matrices that write into the residual stream: zero at first, so that every layer begins as the identity."""


def decoder_config(kind: str, layers: int, width: int, intermediate: int, heads: int, **more: Any) -> Any:
    """The config of a decoder with as many key heads as query heads, of `width` / `heads` numbers each."""
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    return AutoConfig.for_model(kind, **sizes, rope_parameters=rope, initializer_range=DEVIATION, **more)


def new_decoder(config: Any, seed: int, dtype: torch.dtype) -> Any:
    """A decoder with its head; the same seed gives the same weights."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw(model, seed)
    return model.to(dtype)


@torch.no_grad()
def draw(model: Any, seed: int) -> None:
    """Matrices normal with deviation 1 / sqrt(inputs), those out of a layer zero, norms 1."""
    generator = torch.Generator().manual_seed(seed)
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, DEVIATION, generator=generator)
        elif isinstance(module, nn.Linear):
            if module is head:
                if module.weight is not embedding.weight:
                    module.weight.normal_(0.0, HEAD_DEVIATION, generator=generator)
            elif name.rpartition(".")[2] in WAYS_OUT:
                module.weight.zero_()
            else:
                module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
