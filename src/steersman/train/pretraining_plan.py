"""Memory and time of pretraining, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from steersman.artifact.files import read_object
from steersman.compute.vocabulary import keeps
from steersman.config import ModelConfig, PretrainConfig
from steersman.config.pretraining import DECODERS, ENCODER_DECODERS, ENCODERS
from steersman.families.fresh import kind_of, parameters_of
from steersman.families.shape import Shape
from steersman.kernels import ops
from steersman.progress import duration
from steersman.train.budget import free_memory, shape_in, shown
from steersman.train.denoising import is_causal
from steersman.train.dial import Recipe, Sizes
from steersman.train.memory import FLOAT, Setting, predict
from steersman.train.order import evenly_spaced
from steersman.train.pretrain import SAMPLE, new_config
from steersman.train.speed import UNCERTAINTY, operations_per_second
from steersman.weights.checks import stored_tensors
from steersman.weights.folders import DTYPES, pick_device, read_config, text_config


def sizes_of(base: Path, vocabulary: int) -> Sizes:
    """Of a model's folder. ValueError where it is a decoder whose sizes are not known, or has fewer entries."""
    kind = kind_of(read_config(base))
    if kind in DECODERS:
        shape = shape_in(base)
        found = Sizes(
            shape.layers, shape.hidden, shape.intermediate, shape.vocabulary, shape.tied, kind, shape.head_dim
        )
    else:
        c = read_config(base)
        inner = next(int(getattr(c, n)) for n in ("intermediate_size", "d_ff", "encoder_ffn_dim") if hasattr(c, n))
        found = Sizes(c.num_hidden_layers, c.hidden_size, inner, c.vocab_size, True, kind)
    if found.vocabulary < vocabulary:
        raise ValueError(
            f"{base}: has {found.vocabulary} entries, the corpus's tokenizer {vocabulary}; expected its own"
        )
    return found


def _shape(sizes: Sizes, context: int) -> Shape:
    layers = sizes.layers * (2 if sizes.kind in ENCODER_DECODERS else 1)
    return Shape(
        layers=layers,
        vocabulary=sizes.vocabulary,
        hidden=sizes.width,
        intermediate=sizes.intermediate,
        heads=sizes.heads,
        kv_heads=sizes.heads,
        head_dim=sizes.head_size,
        eps=1e-6,
        scale=sizes.head_size**-0.5,
        embed_scale=1.0,
        gelu=False,
        sandwich_norms=sizes.kind == "gemma3_text",
        norm_offset=0.0,
        qk_norm=True,
        tied=sizes.tied,
        windows=(0,) * layers,
        rope_scalings=({},) * layers,
        context=context,
    )


def _row(config: PretrainConfig, recipe: Recipe) -> int:
    """Tokens of one pass."""
    return min(max(config.pass_tokens, config.context), recipe.batch_tokens)


def parameters(config: PretrainConfig, base: Path | Sizes, tokenizer: Any) -> int:
    """Of the model as it is made, or as it is in a folder."""
    masked = config.shape.kind in ENCODERS
    if isinstance(base, Sizes):
        return parameters_of(new_config(config, base, tokenizer), masked)
    made = text_config(read_config(base))
    # as the file says: transformers reads an encoder-decoder's as true
    said = read_object(base / "config.json", "a config of transformers").get("tie_word_embeddings")
    apart = said is False and "lm_head.weight" in stored_tensors(base)
    return parameters_of(made, masked, apart)


def memory(config: PretrainConfig, sizes: Sizes, recipe: Recipe, model: ModelConfig, parameters: int) -> dict[str, int]:
    """Bytes of each part at the peak."""
    dtype, device = DTYPES[model.dtype], pick_device(model.device)
    row = _row(config, recipe)
    setting = Setting(
        stage="sft",
        row_tokens=row,
        accumulate=recipe.batch_tokens > row,
        itemsize=dtype.itemsize,
        on_gpu=device.type != "cpu",
        kernels=ops.multiplies(torch.empty(0, dtype=dtype, device=device)),
        longest=config.context,
        checkpointing=config.checkpointing,
    )
    parts = predict(_shape(sizes, config.context), setting)
    if config.kept.spike_deviations:
        # held, and copied once more where a resume point is written
        parts["point that a spike goes back to"] = 2 * 3 * FLOAT * parameters
    if config.kept.average != "none":
        parts["averaged weights"] = (2 + 2 * bool(config.kept.spike_deviations)) * FLOAT * parameters
    return parts


def evaluations(config: PretrainConfig, recipe: Recipe) -> tuple[int, int]:
    """(how many there are, before and after among them; tokens that pass through the model in all of them)."""
    count = 2 + len(evenly_spaced(recipe.steps, config.evals)) + (config.kept.average != "none")
    beginning, grown = 16, SAMPLE // 2  # a sample is read anew for each of its tokens
    samples = config.samples * SAMPLE * (beginning + grown) if is_causal(config) else 0
    return count, count * max(config.context, config.eval_tokens) + (count - 1) * samples


def cost(config: PretrainConfig, sizes: Sizes, recipe: Recipe, model: ModelConfig, parameters: int) -> list[str]:
    """Memory and time, said. ValueError where the memory is not there."""
    device = pick_device(model.device)
    needed, free = memory(config, sizes, recipe, model, parameters), free_memory(device.type != "cpu")
    peak = sum(needed.values())
    if model.memory_check and peak > free:
        raise ValueError(
            f"pretrain: not started, since its memory is predicted to reach {shown(peak)} and {shown(free)} are free. "
            "A smaller model, or --set pretrain.checkpointing=true, pretrain.pass_tokens and "
            "pretrain.kept.spike_deviations=0 take less. To start it as it is: --set model.memory_check=false"
        )
    speed = operations_per_second(DTYPES[model.dtype], device)
    row, itemsize = _row(config, recipe), DTYPES[model.dtype].itemsize
    again = 0 if keeps(row, sizes.vocabulary, itemsize) else 2 * sizes.head * recipe.tokens  # logits are made twice
    count, read = evaluations(config, recipe)
    looking = read * sizes.operations(config.context) / 3  # without gradients
    return [
        f"memory: up to {shown(peak)}, {shown(free)} are free",
        f"time: about {duration((recipe.operations + again + looking) / speed)} on this machine, "
        f"{duration(looking / speed)} of it for {count} evaluations; right within a factor of "
        f"{UNCERTAINTY:g} where nothing else runs on it",
    ]
