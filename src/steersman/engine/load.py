"""`load_engine`: a model name or folder -> something that generates."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from steersman.engine.decoder import FAMILIES, Decoder
from steersman.engine.local import LocalEngine
from steersman.engine.protocol import Engine
from steersman.engine.reference import ReferenceEngine
from steersman.models.load import load_causal, load_tokenizer, pick_device
from steersman.models.resolve import Say, resolve


def load_engine(
    model: str | Path,
    *,
    dtype: str = "bfloat16",
    device: str = "auto",
    backend: str = "auto",
    name: str | None = None,
    version: str | None = None,
    max_slots: int = 128,
    trust_remote_code: bool = False,
    say: Say = lambda _: None,
) -> Engine:
    """Load a model for generation.

    `backend`: 'local' (the fast engine; Llama, Mistral, Qwen2/3, Gemma 3), 'reference' (transformers' own
    generate, any decoder) or 'auto' (local where it can). Raises ValueError on anything that cannot be loaded.
    """
    folder = resolve(str(model), say=say)
    name = name or folder.name
    where = pick_device(device)
    loaded = load_causal(folder, dtype, trust_remote_code).to(where)
    tokenizer = load_tokenizer(folder)
    return engine_of(loaded, tokenizer, backend=backend, name=name, version=version or name, max_slots=max_slots)


def engine_of(
    model: Any, tokenizer: Any, *, backend: str = "auto", name: str, version: str, max_slots: int = 128
) -> Engine:
    """An engine over a copy of a loaded model's weights; later changes arrive by `load_weights`."""
    if backend == "auto":
        backend = "local" if model.config.model_type in FAMILIES else "reference"
    if backend == "reference":
        own = copy.deepcopy(model)
        own.set_attn_implementation("sdpa")
        return ReferenceEngine(own, tokenizer, model_name=name, version=version)
    if backend != "local":
        raise ValueError(f"backend '{backend}': expected auto, local or reference")
    decoder = Decoder(model.config, model.dtype, model.device)
    decoder.load(model.state_dict().items())
    return LocalEngine(decoder, tokenizer, model_name=name, version=version, max_slots=max_slots)
