"""`load_engine`: a model name or folder -> something that generates."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from steersman.distributed import parallel
from steersman.engine.backends.local.engine import LocalEngine
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.backends.remote import RemoteEngine
from steersman.engine.backends.vllm import VllmEngine
from steersman.engine.protocol import Engine, Reuse
from steersman.families.registry import family_of
from steersman.weights.folders import (
    DTYPES,
    load_causal,
    load_tokenizer,
    pick_device,
    read_config,
    text_config,
    use_plain_attention,
)
from steersman.weights.lora import merged, named_weights
from steersman.weights.resolve import Say, resolve


def load_engine(
    model: str | Path,
    *,
    dtype: str = "bfloat16",
    device: str = "auto",
    backend: str = "auto",
    name: str | None = None,
    version: str | None = None,
    max_slots: int = 128,
    cache_mib: int | None = None,
    reuse: Reuse = "streams",
    independent: bool = False,
    native: bool = True,
    trust_remote_code: bool = False,
    template: str = "auto",
    thinking: str = "keep",
    today: bool = True,
    url: str = "",
    api_key: str = "",
    max_context: int = 32768,
    say: Say = lambda _: None,
    **vllm_options: Any,
) -> Engine:
    """Load a model for generation.

    `model`: a folder, a GGUF file, or a name as `model.base` takes it. `dtype`: 'bfloat16', 'float32', or 'int8'
    (bfloat16 with int8 weight matrices; local backend). `device`: 'auto', 'cpu' or 'cuda'. `backend`:

    - 'auto': local where it computes the model, else reference
    - 'local': the fast engine; Llama, Mistral, Qwen2/2.5/3, Gemma 3
    - 'reference': transformers' own forward pass, any model that generates, encoder-decoders too
    - 'vllm': vLLM, where it is installed; further keyword arguments go to its LLM class
    - 'openai': the endpoint at `url`, with `api_key`; `model` is its name there, `max_context` what it takes

    `max_slots`: sequences together at most. `cache_mib`: memory for keys and values of running sequences; by default
    40 % of the machine's (finished dialogues are kept in a quarter more). `reuse`, `independent`: see `LocalEngine`.
    `native`: whether few sequences are decoded by step.c, which is compiled on first use, or on a GPU by CUDA graphs.
    `template`, `thinking`: as in the section [model] of a workspace's settings. `today`: a chat template that writes a
    date writes today's, not the day of `steersman.text.template.DAY`. `version` is stamped on completions.
    Raises ValueError on anything that cannot be loaded.
    """
    _check(dtype, backend, url, vllm_options)
    if backend == "openai":
        return RemoteEngine(url, str(model), api_key=api_key, max_context=max_context, parallel=max_slots)
    folder = resolve(str(model), say=say)
    name = name or folder.name
    common: dict[str, Any] = {"version": version or name, "max_slots": max_slots, "thinking": thinking, "today": today}
    tokenizer = load_tokenizer(folder, template)
    if backend == "vllm":
        return VllmEngine(str(folder), tokenizer, dtype=dtype, model_name=name, **common, **vllm_options)
    if backend == "auto" and (reason := _not_local(text_config(read_config(folder, trust_remote_code)))):
        say(f"{name}: answered by the reference engine, a sequence at a time, since {reason}")
    loaded = load_causal(folder, "bfloat16" if dtype == "int8" else dtype, trust_remote_code)
    return engine_of(
        loaded.to(pick_device(device)),
        tokenizer,
        backend=backend,
        name=name,
        cache_mib=cache_mib,
        reuse=reuse,
        int8=dtype == "int8",
        independent=independent,
        native=native,
        **common,
    )


def _check(dtype: str, backend: str, url: str, vllm_options: dict[str, Any]) -> None:
    if dtype not in DTYPES and dtype != "int8":
        raise ValueError(f"dtype '{dtype}': expected {', '.join(DTYPES)} or int8")
    if vllm_options and backend != "vllm":
        raise ValueError(f"unknown option '{next(iter(vllm_options))}' of load_engine")
    if backend == "openai" and not url:
        raise ValueError("backend 'openai': expected the endpoint's url, such as http://127.0.0.1:8000/v1")


def _not_local(config: Any) -> str:
    """Why the local engine does not compute this model, its rotations included; '' where it does."""
    try:
        family_of(config).shape(config)
    except ValueError as error:
        return str(error)
    return ""


def engine_of(
    model: Any,
    tokenizer: Any,
    *,
    backend: str = "auto",
    name: str,
    version: str,
    max_slots: int = 128,
    cache_mib: int | None = None,
    reuse: Reuse = "streams",
    independent: bool = False,
    int8: bool = False,
    native: bool = True,
    thinking: str = "keep",
    today: bool = True,
) -> Engine:
    """An engine over a copy of a loaded model's weights; later changes arrive by `load_weights`."""
    if backend == "auto":
        backend = "reference" if _not_local(model.config) else "local"
    if int8 and backend != "local":
        raise ValueError("dtype 'int8': expected a model that the local backend computes")
    if backend == "reference":
        if parallel.size() > 1:
            raise ValueError(f"{name}: several processes generate with the local engine, which does not compute it")
        own = copy.deepcopy(merged(model))
        use_plain_attention(own)
        return ReferenceEngine(own, tokenizer, model_name=name, version=version, thinking=thinking, today=today)
    if backend != "local":
        raise ValueError(f"backend '{backend}': expected auto, local or reference")
    budget = None if cache_mib is None else cache_mib << 20
    decoder = Decoder(model.config, model.dtype, model.device, int8=int8, cache_bytes=budget, native=native)
    decoder.load((weight, parallel.whole(tensor)) for weight, tensor in named_weights(model))
    return LocalEngine(
        decoder,
        tokenizer,
        model_name=name,
        version=version,
        max_slots=max_slots,
        reuse=reuse,
        independent=independent,
        thinking=thinking,
        today=today,
    )
