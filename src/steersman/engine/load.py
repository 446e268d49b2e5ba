"""`load_engine`: a model name or folder -> an `Engine`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Unpack

from steersman.distributed import parallel
from steersman.engine.backends.local.engine import LocalEngine
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.backends.remote import RemoteEngine
from steersman.engine.backends.vllm import VllmEngine
from steersman.engine.protocol import Engine
from steersman.engine.serving import Loading, Serving
from steersman.families.known import family_of
from steersman.weights.folders import (
    DTYPES,
    load_causal,
    load_tokenizer,
    pick_device,
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
    say: Say = lambda _: None,
    **options: Unpack[Loading],
) -> Engine:
    """Load a model for generation.

    `model`: a folder, a GGUF file, or a name as `model.base` takes it. `dtype`: 'bfloat16', 'float32', or 'int8'
    (bfloat16 with int8 weight matrices; local backend). `device`: 'auto', 'cpu' or 'cuda'. `backend`:

    - 'auto': local where it computes the model, else reference
    - 'local': the fast engine; Llama, Mistral, Qwen2/2.5/3, Gemma 3
    - 'reference': transformers' own forward pass, any model that generates, encoder-decoders too
    - 'vllm': vLLM, where it is installed; keyword arguments that are not in `Loading` go to its LLM class
    - 'openai': the endpoint at `url`, with `api_key`; `model` is its name there, `max_context` its context

    `options`: `steersman.engine.serving.Loading`, explained at `Serving` there: name, version, max_slots, cache_mib,
    reuse, independent, native, thinking, today, trust_remote_code, template, url, api_key, max_context.
    Raises ValueError on anything that cannot be loaded.
    """
    given: dict[str, Any] = dict(options)
    url, api_key = given.pop("url", ""), given.pop("api_key", "")
    trust, template = given.pop("trust_remote_code", False), given.pop("template", "auto")
    max_context = given.pop("max_context", 32768)
    vllm_options = {key: given.pop(key) for key in [*given] if key not in Loading.__annotations__}
    _check(dtype, backend, url, vllm_options)
    if backend == "openai":
        return RemoteEngine(
            url, str(model), api_key=api_key, max_context=max_context, parallel=given.get("max_slots", 128)
        )
    folder = resolve(str(model), say=say)
    given["name"] = given.get("name") or folder.name
    given["version"] = given.get("version") or given["name"]
    serving = Serving(backend=backend, int8=dtype == "int8", **given)
    tokenizer = load_tokenizer(folder, template)
    if backend == "vllm":
        return VllmEngine(
            str(folder),
            tokenizer,
            dtype=dtype,
            model_name=serving.name,
            version=serving.version,
            max_slots=serving.max_slots,
            thinking=serving.thinking,
            today=serving.today,
            **vllm_options,
        )
    loaded = load_causal(folder, "bfloat16" if serving.int8 else dtype, trust)  # which holds config.json against bounds
    if backend == "auto" and (reason := _not_local(loaded.config)):
        say(f"{serving.name}: answered by the reference engine, a sequence at a time, since {reason}")
    return engine_of(loaded.to(pick_device(device)), tokenizer, serving)


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


def engine_of(model: Any, tokenizer: Any, serving: Serving) -> Engine:
    """An engine over a copy of a loaded model's weights; later changes arrive by `load_weights`."""
    backend, name = serving.backend, serving.name
    if backend == "auto":
        backend = "reference" if _not_local(model.config) else "local"
    if serving.int8 and backend != "local":
        raise ValueError("dtype 'int8': expected a model that the local backend computes")
    if backend == "reference":
        if parallel.size() > 1:
            raise ValueError(f"{name}: several processes generate with the local engine, which does not compute it")
        own = copy.deepcopy(merged(model))
        use_plain_attention(own)
        return ReferenceEngine(
            own, tokenizer, model_name=name, version=serving.version, thinking=serving.thinking, today=serving.today
        )
    if backend != "local":
        raise ValueError(f"backend '{backend}': expected auto, local or reference")
    budget = None if serving.cache_mib is None else serving.cache_mib << 20
    decoder = Decoder(
        model.config, model.dtype, model.device, int8=serving.int8, cache_bytes=budget, native=serving.native
    )
    decoder.load((weight, parallel.whole(tensor)) for weight, tensor in named_weights(model))
    return LocalEngine(decoder, tokenizer, serving)
