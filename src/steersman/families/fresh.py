"""New models: transformers' own classes with weights drawn from a seed, to be pretrained.

Why so: decision 103 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from steersman.config.pretraining import ENCODER_DECODERS, ENCODERS
from steersman.families.encoder_decoder import UNBOUNDED

DEVIATION = 0.02
"""Of embeddings; steps of the optimizer soon decide on their length."""
HEAD_DEVIATION = 0.001
"""Of the head, so that every token is about as likely at first."""
WAYS_OUT = ("o_proj", "down_proj")
"""Matrices that write into the residual stream: zero at first, so that every layer begins as the identity."""


def decoder_config(kind: str, layers: int, width: int, intermediate: int, heads: int, **more: Any) -> Any:
    """The config of a decoder with as many key heads as query heads, of `width` / `heads` numbers each."""
    theta, window = more.pop("theta", 10_000.0), more.pop("window", 0)
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if kind == "gemma3_text":
        sizes["query_pre_attn_scalar"] = width // heads
        rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
        local = "sliding_attention" if window else "full_attention"
        more |= {
            "layer_types": [local, *["full_attention"] * (layers - 1)],
            "sliding_window": window or more["max_position_embeddings"],
        }
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
            scale = float(getattr(module, "embed_scale", 0.0))  # Gemma's, which brings states to length 1 a number
            module.weight.normal_(0.0, 1 / scale if scale else DEVIATION, generator=generator)
        elif isinstance(module, nn.Linear):
            if module is head:
                if module.weight is not embedding.weight:
                    module.weight.normal_(0.0, HEAD_DEVIATION, generator=generator)
            elif name.rpartition(".")[2] in WAYS_OUT:
                module.weight.zero_()
            else:
                module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)


def _t5(sizes: Mapping[str, int], context: int, **more: Any) -> Any:
    return AutoConfig.for_model(
        "t5",
        n_positions=max(context, UNBOUNDED),  # what it has read is its context, which relative positions do not bound
        d_model=sizes["width"],
        d_kv=sizes["width"] // sizes["heads"],
        d_ff=sizes["intermediate"],
        num_layers=sizes["layers"],
        num_decoder_layers=sizes["layers"],
        num_heads=sizes["heads"],
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=more["pad_token_id"],
        **more,
    )


def _bart(sizes: Mapping[str, int], context: int, **more: Any) -> Any:
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _bart_side(sizes).items()}
    return AutoConfig.for_model(
        "bart",
        d_model=sizes["width"],
        max_position_embeddings=2 * context,  # sentinels and ends come on top
        dropout=0.0,
        decoder_start_token_id=more["eos_token_id"],
        forced_eos_token_id=None,
        **sides,
        **more,
    )


def _bart_side(sizes: Mapping[str, int]) -> dict[str, int]:
    return {"layers": sizes["layers"], "attention_heads": sizes["heads"], "ffn_dim": sizes["intermediate"]}


def _encoder(kind: str, sizes: Mapping[str, int], context: int, **more: Any) -> Any:
    drop = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if kind == "bert" else {}
    return AutoConfig.for_model(
        kind,
        hidden_size=sizes["width"],
        intermediate_size=sizes["intermediate"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        max_position_embeddings=context,
        **drop,
        **more,
    )


def kind_of(config: Any) -> str:
    """The kind of new models that learns what this one can. ValueError where there is none."""
    if config.is_encoder_decoder:
        return "bart" if config.model_type == "bart" else "t5"
    masked = any("MaskedLM" in name for name in config.architectures or ())
    if masked and config.model_type not in ENCODERS:
        raise ValueError(f"'{config.model_type}': expected an encoder of {', '.join(ENCODERS)} to go on with")
    return str(config.model_type) if masked else "qwen3"


def other_config(kind: str, sizes: Mapping[str, int], context: int, tokenizer: Any) -> Any:
    """The config of an encoder-decoder (t5, bart) or an encoder (bert, modernbert)."""
    names = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
    more = {name: getattr(tokenizer, name, None) for name in names} | {"vocab_size": sizes["vocabulary"]}
    if kind in ENCODER_DECODERS:
        more = {name: value for name, value in more.items() if name not in ("cls_token_id", "sep_token_id")}
        return _t5(sizes, context, **more) if kind == "t5" else _bart(sizes, context, **more)
    return _encoder(kind, sizes, context, **more)


def parameters_of(config: Any, masked: bool = False, own_head: bool = False) -> int:
    """Parameters of a model of this config with its head, a shared matrix once; nothing is allocated. `own_head`: a
    checkpoint holds the head apart (transformers 5 ties T5's heads unless one does)."""
    seq2seq = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    auto = AutoModelForMaskedLM if masked else seq2seq
    with torch.device("meta"):
        model = auto.from_config(config, dtype=torch.float32)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    total = sum(int(p.numel()) for p in model.parameters())
    return total + (int(head.weight.numel()) if own_head and head.weight is embedding.weight else 0)


def new_other(config: Any, seed: int, dtype: torch.dtype) -> Any:
    """A model of such a config with its head, drawn as transformers draws it."""
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForMaskedLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto.from_config(config, dtype=torch.float32).to(dtype)
