"""A model folder as one GGUF file, for llama.cpp, Ollama and whatever else reads it.

Tensors are read, converted and written one by one, so that memory holds one of them. What llama.cpp computes otherwise
than the model was trained is refused, never written.

Why so: decision 125 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from steersman.artifact.files import naming
from steersman.families.outputs import context_of
from steersman.progress import activity
from steersman.text.template import Template
from steersman.weights import checks
from steersman.weights.folders import TEXT_PART, check_folder, load_tokenizer, read_config, text_config
from steersman.weights.gguf import attention_scale
from steersman.weights.gguf_words import PROBES, Words, words_of
from steersman.weights.quantise import KINDS, stored, type_of

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
}
"""transformers' model types -> llama.cpp's architectures."""
SEEING = ("vision", "model.vision", "model.multi_modal", "multi_modal")
"""Beginnings of the names of tensors that see images."""
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q4_k": 14}
WRITTEN = 30e6
"""Bytes of weights per second."""


@dataclass
class Written:
    """What was written."""

    path: Path
    kind: str
    bytes: int = 0
    types: Counter[str] = field(default_factory=Counter)
    """How many tensors took each type."""
    words: Words | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """A tensor to write: its name there, where it is read, and what is done to it."""

    name: str
    file: Path | None
    source: str
    shape: tuple[int, ...]
    change: Callable[[Tensor], Tensor] | None = None

    def read(self) -> Tensor:
        assert self.file is not None
        with safe_open(self.file, framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(self.source).float()
        return self.change(tensor) if self.change else tensor


def write_gguf(folder: Path, path: Path, kind: str, name: str = "") -> Written:
    """Write the model of a Hugging Face folder; `kind` is one of KINDS, `name` what it is called in the file.

    `path` is replaced as a whole or not at all. Raises ValueError for a model or a tokenizer that llama.cpp has no
    counterpart for.
    """
    from gguf import GGUFWriter

    if kind not in KINDS:
        raise ValueError(f"gguf: expected one of {', '.join(KINDS)}, got {kind}")
    check_folder(folder)
    config = text_config(read_config(folder))
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(
            f"{folder}: type '{config.model_type}' is not written as GGUF; expected one of {known}; or --gguf none"
        )
    tokenizer = load_tokenizer(folder)
    parts, seeing = _parts(folder, config, architecture)
    rows = next(part.shape[0] for part in parts if part.name == "token_embd.weight")
    words = words_of(tokenizer, rows)
    done = Written(path, kind, words=words)
    if seeing:
        done.notes.append(f"{seeing} tensors that see images are left out: the file takes text alone")
    partial = path.with_name(f"{path.name}.partial")
    writer = GGUFWriter(str(partial), architecture)
    try:
        writer.add_name(name or folder.name)
        writer.add_file_type(FILE_TYPES[kind])
        writer.add_quantization_version(2)
        _write_sizes(writer, config, rows, done)
        factors = _write_positions(writer, config)
        _write_words(writer, tokenizer, words)
        with naming(path):
            _write_tensors(writer, parts, factors, done)
            writer.close()  # what it holds is written now, before the file takes its name
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # of a full disk it was said above
            writer.close()
        partial.unlink(missing_ok=True)
    done.bytes = path.stat().st_size
    done.notes += _notes(done)
    return done


def _notes(done: Written) -> list[str]:
    notes = []
    if done.words and done.words.differ:
        notes.append(
            f"llama.cpp has no way to cut words like this tokenizer's; the nearest, {done.words.pre}, makes other "
            f"tokens of {done.words.differ} of {len(PROBES)} probe texts"
        )
    if done.words and done.words.at_first:
        notes.append(
            "this tokenizer puts a space before a text and none behind special tokens, llama.cpp both or neither: "
            + (
                "here both, which changes prompts with"
                if done.words.prefix
                else "here neither, which changes texts without"
            )
            + " special tokens in them"
        )
    if done.kind == "q4_k" and (other := {k: n for k, n in done.types.items() if k not in ("Q4_K", "F32")}):
        notes.append("not Q4_K: " + ", ".join(f"{n} tensors {k}" for k, n in sorted(other.items())))
    return notes


def _parts(folder: Path, config: Any, architecture: str) -> tuple[list[_Part], int]:
    """The tensors to write, and how many see images and are not written. ValueError where another has no place."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture)
    assert isinstance(arch, MODEL_ARCH)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    out, lost, seeing = [], [], 0
    for source, tensor in sorted(checks.stored_tensors(folder).items()):
        own = source
        for pattern, to in TEXT_PART.items():
            own = re.sub(pattern, to, own)
        tied = config.tie_word_embeddings and own == "lm_head.weight"
        if tied or own.endswith(("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")):
            continue
        if own.startswith(SEEING):
            seeing += 1
            continue
        name = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if name is None:
            lost.append(source)
            continue
        change, shape = _change(name, tensor.shape, config, architecture)
        out.append(_Part(name, tensor.file, source, shape, change))
    if lost:
        raise ValueError(f"{folder}: llama.cpp's {architecture} has no place for {', '.join(lost[:3])} ({len(lost)})")
    return out, seeing


def _change(
    name: str, shape: tuple[int, ...], config: Any, architecture: str
) -> tuple[Callable[[Tensor], Tensor] | None, tuple[int, ...]]:
    """What llama.cpp stores otherwise: Llama's rotated halves lie interleaved, Gemma's norms hold the whole gain,
    GPT-2's matrices stand the other way."""
    if architecture == "llama" and (".attn_q." in name or ".attn_k." in name):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        return lambda x: x.view(heads, 2, len(x) // heads // 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape), shape
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return lambda x: x + 1.0, shape
    turned = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
    if architecture == "gpt2" and name.endswith(turned):
        return lambda x: x.T.contiguous(), (shape[1], shape[0])
    return None, shape


def _write_sizes(writer: Any, config: Any, rows: int, done: Written) -> None:
    writer.add_vocab_size(rows)
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
            raise ValueError(f"activation_function '{config.activation_function}': llama.cpp's gpt2 has gelu_new alone")
        return
    head = _head_size(config)
    computed = "gelu_pytorch_tanh" if config.model_type.startswith("gemma") else "silu"
    if (own := getattr(config, "hidden_activation", None) or config.hidden_act) != computed:
        raise ValueError(f"hidden_act '{own}': llama.cpp computes {computed} in {config.model_type}")
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    window = getattr(config, "sliding_window", None)
    if config.model_type.startswith("gemma"):
        if _windowed(config, head):
            writer.add_sliding_window(window)
        else:  # llama.cpp then has no window in any layer
            done.notes.append(
                "every layer attends to all: llama.cpp of December 2025 or newer computes that; Ollama's own engine "
                "for Gemma 3 takes a window in five of six layers for granted"
            )
        for key, add in (
            ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
            ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ):
            if getattr(config, key, None):
                add(getattr(config, key))
    elif window and getattr(config, "use_sliding_window", True) and window < context_of(config):
        done.notes.append(f"the window of {window} tokens is not kept: beyond it llama.cpp attends to all")


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _windowed(config: Any, head: int) -> bool:
    """Whether some layers have a window. ValueError for a Gemma that llama.cpp computes otherwise."""
    every = 2 if config.model_type == "gemma2" else 6
    whole = [kind == "full_attention" for kind in config.layer_types]
    none = config.model_type != "gemma2" and all(whole)
    if not none and whole != [number % every == every - 1 for number in range(len(whole))]:
        raise ValueError(
            f"layer_types: llama.cpp's {config.model_type} attends to all in every {every}th layer alone"
            f"{'' if every == 2 else ', or in all layers'}"
        )
    if config.query_pre_attn_scalar != (scale := attention_scale(config, head)):
        raise ValueError(f"query_pre_attn_scalar = {config.query_pre_attn_scalar}: llama.cpp takes {scale}")
    return not none


def _write_positions(writer: Any, config: Any) -> Tensor | None:
    """Rotary settings; returns the factors that Llama 3's scaling needs as a tensor of its own."""
    from gguf import RopeScalingType

    if config.model_type == "gpt2":
        return None
    rope = config.rope_parameters
    local = rope.get("sliding_attention")
    rope = rope.get("full_attention", rope)
    kind, head = rope.get("rope_type", "default"), _head_size(config)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if local is not None:
        if local.get("rope_type", "default") != "default":
            raise ValueError(f"rope type '{local['rope_type']}' of layers with a window is not written as GGUF")
        writer.add_rope_freq_base_swa(float(local["rope_theta"]))
    if kind == "llama3":
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        plain = 1.0 / float(rope["rope_theta"]) ** (torch.arange(0, head, 2).float() / head)
        factors: Tensor = plain / scaled
        return factors
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR if kind == "linear" else RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if kind == "yarn":
        _write_yarn(writer, rope)
    elif kind not in ("default", "linear"):
        raise ValueError(f"rope type '{kind}' is not written as GGUF; expected default, linear, llama3 or yarn")
    return None


def _write_yarn(writer: Any, rope: Any) -> None:
    writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))
    usual = {"beta_fast": 32, "beta_slow": 1, "truncate": True, "attention_factor": None, "mscale": None}
    if odd := [key for key, value in usual.items() if rope.get(key, value) not in (value, None)]:
        raise ValueError(
            f"rope_parameters: {', '.join(odd)} of yarn: expected the usual ones; GGUF readers ignore others"
        )


def _write_words(writer: Any, tokenizer: Any, words: Words) -> None:
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.kinds)
    if words.merges:
        writer.add_token_merges(words.merges)
    if words.scores:
        writer.add_token_scores(words.scores)
    if words.prefix is not None:
        writer.add_add_space_prefix(words.prefix)
    if words.charsmap:
        writer.add_precompiled_charsmap(words.charsmap)
    if words.trims is not None:
        writer.add_remove_extra_whitespaces(words.trims)
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    ids = tokenizer("a").input_ids
    writer.add_add_bos_token(ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)  # a text that has ended is not gone on with
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
        writer.add_eot_token_id(Template(tokenizer).end_of_turn)


def _write_tensors(writer: Any, parts: list[_Part], factors: Tensor | None, done: Written) -> None:
    from gguf import GGML_QUANT_SIZES

    types = {part.name: type_of(done.kind, part.name, part.shape) for part in parts}
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", tuple(factors.shape), factors.numpy().dtype, factors.nbytes)
    for part in parts:
        block, size = GGML_QUANT_SIZES[types[part.name]]
        row = part.shape[-1] // block * size
        shape = (*part.shape[:-1], row)
        count = row * (part.shape[0] if len(part.shape) > 1 else 1)
        bytes_ = torch.uint8 if types[part.name].name not in ("F32", "F16") else None
        kind = _numpy(types[part.name].name)
        writer.add_tensor_info(part.name, shape if bytes_ else part.shape, kind, count, raw_dtype=types[part.name])
        done.types[types[part.name].name] += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors.numpy())
    size = sum(part.file.stat().st_size for part in parts[:1] if part.file)
    with activity(f"writing {done.path.name}", about=size / WRITTEN):
        for part in parts:
            try:
                writer.write_tensor_data(stored(part.read(), types[part.name]))
            except ValueError as error:
                raise ValueError(f"{part.source}: {error}") from None


def _numpy(name: str) -> Any:
    import numpy as np

    return np.dtype({"F32": np.float32, "F16": np.float16}.get(name, np.uint8))
