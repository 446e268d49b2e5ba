"""`load_engine`: a model name or folder -> an `Engine`. Imports torch for what computes, not for an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from steersman.engine.backends.remote import RemoteEngine
from steersman.engine.protocol import Engine
from steersman.engine.serving import Loading

if TYPE_CHECKING:
    from steersman.weights.resolve import Say


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

    `model`: a folder, a GGUF file, or a name as `model.base` takes it. `dtype`: 'bfloat16', 'float32', 'int8' (bfloat16
    with int8 weight matrices) or 'int4' (of the reference backend alone, so for encoder-decoders). `device`: 'auto',
    'cpu' or 'cuda'. `backend`:

    - 'auto': local where it computes the model, else reference
    - 'local': the fast engine; Llama, Mistral, Qwen2/2.5/3, Gemma 3
    - 'reference': transformers' own forward pass, any model that generates, encoder-decoders too
    - 'vllm': vLLM, where it is installed; keyword arguments that are not in `Loading` go to its LLM class
    - 'headed': vectors or labels of texts, by what `steersman encoder` made
    - 'openai': the endpoint at `url`, with `api_key`; `model` is its name there, `max_context` its context

    `options`: `steersman.engine.serving.Loading`, explained at `Serving` there: name, version, max_slots, cache_mib,
    cache_int8, reuse, independent, native, thinking, today, trust_remote_code, template, url, api_key, max_context.
    Raises ValueError on anything that cannot be loaded.
    """
    given: dict[str, Any] = dict(options)
    url, api_key = given.pop("url", ""), given.pop("api_key", "")
    max_context = given.pop("max_context", 32768)
    others = {key: given.pop(key) for key in [*given] if key not in Loading.__annotations__}
    if others and backend != "vllm":
        raise ValueError(f"unknown option '{next(iter(others))}' of load_engine")
    if backend != "openai":
        from steersman.engine.loaded import load

        return load(str(model), dtype, device, backend, say, given, others)
    if given.get("cache_int8"):
        raise ValueError("serve.kv_cache 'int8': the endpoint keeps its own keys and values; expected 'model'")
    if not url:
        raise ValueError("backend 'openai': expected the endpoint's url, such as http://127.0.0.1:8000/v1")
    slots, name = given.get("max_slots", 128), given.get("name") or ""
    return RemoteEngine(url, str(model), api_key=api_key, max_context=max_context, parallel=slots, name=name)
