"""How a model of the workspace is served: what its engine is asked for, and the memory that this takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steersman.config import Config


def serving_options(config: Config, dtype: str = "") -> dict[str, Any]:
    """Arguments of `load_engine`; `dtype`: in place of `serve.dtype`."""
    options: dict[str, Any] = config.model.loading | {"today": True, "name": config.project.name}
    dtype = dtype or config.serve.dtype
    if dtype != "model":
        options["dtype"] = dtype
    return options | {"cache_int8": config.serve.kv_cache == "int8"}


def serving_memory(config: Config, folder: Path, free: int | None) -> tuple[dict[str, Any], str]:
    """(facts, text): weights, and how many dialogues the keys and values hold, of a server over a folder's model."""
    import torch

    from steersman.engine.backends.local.cache import default_budget, token_bytes
    from steersman.engine.backends.local.working import working_bytes
    from steersman.engine.room import Room
    from steersman.train.budget import shape_in
    from steersman.train.memory import embedding_parameters, model_parameters
    from steersman.weights.folders import DTYPES, pick_device, read_config

    options = serving_options(config)
    if read_config(folder, config.model.trust_remote_code).is_encoder_decoder:
        return _of_reference(folder, options["dtype"], free)
    shape, device = shape_in(folder, config.model.trust_remote_code), pick_device(config.model.device)
    if options["dtype"] == "int4":
        raise ValueError("serve.dtype 'int4': the local engine refuses it for this model; expected int8")
    int8 = options["dtype"] == "int8"
    dtype = torch.bfloat16 if int8 else DTYPES[options["dtype"]]
    weights = model_parameters(shape, head=True) * dtype.itemsize
    if int8:  # the embedding stays in bfloat16, so a tied head is a matrix of its own
        tables = embedding_parameters(shape)
        layers = model_parameters(shape, head=True) - tables * (1 if shape.tied else 2)
        weights = (dtype.itemsize + 1) * tables + layers
    free_for_both = None if free is None else max(0, free - weights)
    budget = default_budget(device, weights) if free_for_both is None else int(0.8 * free_for_both)
    slots = max(config.serve.streams, 128)

    def holds(cache_int8: bool) -> Room:
        working = working_bytes(shape, dtype, device, cache_int8)
        return Room(token_bytes(shape, dtype, cache_int8), budget, shape.context, slots, cache_int8, working)

    room = holds(options["cache_int8"])
    facts = {"model": str(folder), "weights_bytes": weights, "kept_bytes": budget // 4, "cache": room.to_json()}
    text = (
        f"weights: {weights / 2**30:.2f} GiB\n{room}\n"
        f"finished dialogues that may go on: at most {budget / 2**32:.1f} GiB beside that; those of running ones are "
        "taken from the system as tokens are written\n"
        "a prompt that fits the context but not the cache is refused with 400, one that fits later waits\n"
    )
    if not options["cache_int8"]:
        text += f'with serve.kv_cache = "int8": {holds(True)}\n'
    return facts, text


def _of_reference(folder: Path, dtype: str, free: int | None) -> tuple[dict[str, Any], str]:
    """The same of an encoder-decoder, which the reference engine serves."""
    from steersman.engine.backends.rounded import bytes_of
    from steersman.weights.folders import DTYPES

    bits = {"int8": 8, "int4": 4}.get(dtype, 0)
    read = bytes_of(folder, DTYPES["bfloat16" if bits else dtype])
    weights = bytes_of(folder, DTYPES["bfloat16"], bits) if bits else read
    loading = f", {read / 2**30:.2f} while they are read" if bits else ""
    text = (
        f"weights: {weights / 2**30:.2f} GiB{loading}\n"
        "answered by the reference engine, a token of one sequence at a time; its keys and values are not planned\n"
    )
    if free is not None and read > free:
        raise ValueError(
            f"the weights take {read / 2**30:.2f} GiB while they are read; expected as much, got {free / 2**30:.2f}"
        )
    return {"model": str(folder), "weights_bytes": weights}, text
