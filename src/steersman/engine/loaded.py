"""Engines over a model's weights: all but an endpoint."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from steersman.distributed import parallel
from steersman.engine.backends.labelling import headed_engine
from steersman.engine.backends.local.engine import LocalEngine
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.backends.rounded import round_layers
from steersman.engine.backends.vllm import VllmEngine
from steersman.engine.own_settings import ends_of, not_applied
from steersman.engine.protocol import Engine
from steersman.engine.serving import Serving
from steersman.families.known import family_of
from steersman.types import SamplingParams
from steersman.weights.folders import (
    DTYPES,
    load_causal,
    load_tokenizer,
    pick_device,
    use_plain_attention,
)
from steersman.weights.lora import merged, named_weights
from steersman.weights.resolve import Say, called, resolve

BITS = {"int8": 8, "int4": 4}


def load(
    model: str, dtype: str, device: str, backend: str, say: Say, given: dict[str, Any], vllm_options: dict[str, Any]
) -> Engine:
    """See `load_engine`; `given`: its options, those of vLLM's own class apart."""
    if dtype not in DTYPES and dtype not in BITS:
        raise ValueError(f"dtype '{dtype}': expected {', '.join(DTYPES)}, {' or '.join(BITS)}")
    trust, template = given.pop("trust_remote_code", False), given.pop("template", "auto")
    folder = resolve(model, say=say)
    given["name"] = given.get("name") or called(model)
    given["version"] = given.get("version") or given["name"]
    if backend == "headed" and given.get("cache_int8"):
        raise ValueError("serve.kv_cache 'int8': an encoder keeps no keys and values; expected 'model'")
    if backend == "headed":
        return headed_engine(folder, dtype, device, trust, given["name"], given["version"])
    serving = Serving(backend=backend, bits=BITS.get(dtype, 0), **given)
    tokenizer = load_tokenizer(folder, template)
    if backend == "vllm" and serving.cache_int8:
        raise ValueError("serve.kv_cache 'int8': vLLM has its own setting, kv_cache_dtype; expected 'model'")
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
    loaded = load_causal(folder, "bfloat16" if serving.bits else dtype, trust)  # which holds config.json against bounds
    if backend == "auto" and (reason := _not_local(loaded.config)):
        say(f"{serving.name}: answered by the reference engine, a sequence at a time, since {reason}")
    if settings := not_applied(loaded):
        say(
            f"{serving.name}: its own generation settings ({settings}) are not applied: a request says how to sample, "
            "or serve.temperature"
        )
    return engine_of(loaded.to(pick_device(device)), tokenizer, serving, shared=False)


def _tried(engine: ReferenceEngine, dtype: str) -> ReferenceEngine:
    """The engine once it has computed a token. ValueError where the model's own code cannot in this dtype: some read
    the weights of their linear layers by themselves, or multiply by what stays in float32."""
    try:
        engine.generate([[0]], SamplingParams(max_tokens=1, temperature=0))
    except RuntimeError as error:
        kind, why = engine.model.config.model_type, str(error).partition("\n")[0]
        raise ValueError(
            f"{engine.model_name}: transformers' code of model type '{kind}' does not compute in {dtype} ({why}); "
            "expected another dtype, such as float32"
        ) from error
    return engine


def _not_local(config: Any) -> str:
    """Why the local engine does not compute this model, its rotations included; '' where it does."""
    try:
        family_of(config).shape(config)
    except ValueError as error:
        return str(error)
    return ""


def engine_of(model: Any, tokenizer: Any, serving: Serving, shared: bool = True) -> Engine:
    """An engine over a copy of a loaded model's weights; later changes arrive by `load_weights`. Not `shared`: nobody
    else holds the model, and no copy is made where the engine can take it as it is."""
    backend, name = serving.backend, serving.name
    serving = dataclasses.replace(serving, ends=serving.ends | ends_of(model))
    if backend == "auto":
        backend = "reference" if _not_local(model.config) else "local"
    if serving.bits == 4 and backend == "local":
        raise ValueError(
            f"{name}: dtype 'int4': expected int8, or a GGUF file of 4 bits for llama.cpp (steersman export); int4 is "
            "for models that only the reference engine computes"
        )
    if serving.cache_int8 and backend != "local":
        raise ValueError("serve.kv_cache 'int8': expected a model that the local backend computes")
    if backend == "reference":
        if parallel.size() > 1:
            raise ValueError(f"{name}: several processes generate with the local engine, which does not compute it")
        own = copy.deepcopy(merged(model)) if shared else merged(model)
        use_plain_attention(own)
        own = round_layers(own, serving.bits) if serving.bits else own
        engine = ReferenceEngine(
            own,
            tokenizer,
            model_name=name,
            version=serving.version,
            thinking=serving.thinking,
            today=serving.today,
            ends=serving.ends,
        )
        return engine if shared else _tried(engine, f"int{serving.bits}" if serving.bits else str(own.dtype)[6:])
    if backend != "local":
        raise ValueError(f"backend '{backend}': expected auto, local or reference")
    budget = None if serving.cache_mib is None else serving.cache_mib << 20
    decoder = Decoder(
        model.config,
        model.dtype,
        model.device,
        int8=serving.bits == 8,
        cache_bytes=budget,
        cache_int8=serving.cache_int8,
        native=serving.native,
    )
    decoder.load((weight, parallel.whole(tensor)) for weight, tensor in named_weights(model))
    return LocalEngine(decoder, tokenizer, serving)
