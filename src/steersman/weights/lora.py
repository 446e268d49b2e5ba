"""LoRA (Hu et al. 2021): y = W x + B A x * alpha / rank, W frozen; adapter files are peft's.

B begins as zero, so a new adapter changes nothing. `families.twins` makes a second model over the same weights, which
lets several adapters share one base in memory. A base may be quantised (Dettmers et al. 2023); see `quantized`.

Why so: decisions 14 and 15 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from steersman import installed
from steersman.artifact.files import file_sha256, hash_json, write_json
from steersman.compute.products import linear
from steersman.config import ModelConfig, PpoConfig, PreferenceConfig, RewardConfig, SftConfig
from steersman.distributed import parallel
from steersman.families.known import family_of
from steersman.families.outputs import last_layers, train_last_layers
from steersman.families.twins import twin
from steersman.weights import checks
from steersman.weights.folders import DTYPES, pick_device

ADAPTER = "adapter"
"""Folder of the adapter inside the folder of the merged model."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""peft's names begin with this."""


class LoraLinear(nn.Module):
    """A frozen linear layer and its low-rank update: x [..., in] -> [..., out]. Names of weights are peft's."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.base_layer, self.scale = base, alpha / rank
        place: dict[str, Any] = {"device": base.weight.device, "dtype": dtype, "bias": False}
        self.lora_A = nn.Linear(base.in_features, rank, **place)
        self.lora_B = nn.Linear(rank, base.out_features, **place)

    @property
    def weight(self) -> Tensor:
        """The frozen matrix: T5 reads its dtype."""
        return self.base_layer.weight

    def forward(self, x: Tensor) -> Tensor:
        base, down, up = self.base_layer, self.lora_A, self.lora_B
        if type(base) is not nn.Linear:  # quantised
            return torch.add(base(x), up(down(x)), alpha=self.scale)
        return torch.add(linear(x, base), linear(linear(x, down), up), alpha=self.scale)


def set_trainable(model: Any, config: SftConfig | RewardConfig | PreferenceConfig | PpoConfig, seed: int) -> None:
    """Choose what a stage trains: the last `train_layers` layers (0: all), or with `lora_rank` adapters on them.

    Adapters go on every linear layer inside the decoder layers; a scalar head is trained too. Raises ValueError
    where there are none.
    """
    if not config.adapters.lora_rank:
        train_last_layers(model, config.adapters.train_layers)
        return
    layers = last_layers(model, config.adapters.train_layers)
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        for name in [name for name, module in layer.named_modules() if isinstance(module, nn.Linear)]:
            adapted = _adapt(layer, name, config.adapters.lora_rank, config.adapters.lora_alpha, _dtype(model))
            down = adapted.lora_A.weight
            with torch.no_grad():  # peft's initialisation
                down.copy_((torch.rand(down.shape, generator=generator) * 2 - 1) / math.sqrt(down.shape[1]))
                adapted.lora_B.weight.zero_()
    if not any(isinstance(module, LoraLinear) for module in model.modules()):
        raise ValueError(f"lora_rank: model type '{model.config.model_type}' has no linear layers to adapt; expected 0")
    if hasattr(model, "score"):
        model.score.requires_grad_(True)


def _dtype(model: Any) -> torch.dtype:
    """The dtype of adapters: that of the embedding, which is never quantised."""
    dtype: torch.dtype = family_of(model).embedding(model).weight.dtype
    return dtype


def _adapt(model: nn.Module, name: str, rank: int, alpha: float, dtype: torch.dtype) -> LoraLinear:
    base = model.get_submodule(name)
    assert isinstance(base, nn.Linear)
    adapted = LoraLinear(base, rank, alpha, dtype)
    model.set_submodule(name, adapted)
    return adapted


def _matrix(linear: Any) -> Tensor:
    """A linear layer's effective matrix [out, in], unsharded: de-quantised, adapter added in float32, `_rounded`."""
    if isinstance(linear, LoraLinear):
        down, up = linear.lora_A.weight.detach(), linear.lora_B.weight.detach()
        return _rounded(_matrix(linear.base_layer).float() + up.float() @ down.float() * linear.scale, up.dtype)
    weight = parallel.whole(linear.weight)
    if _is_quantised(linear):
        weight = dequantize_bnb_weight(linear.weight, getattr(linear, "state", None))
    return weight.detach()


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 `x` in `dtype`: bfloat16 is rounded up or down at random, the nearer the likelier, with a fixed seed.

    Stochastic rounding (Gupta et al. 2015): to the nearest, an update smaller than half a weight's last digit is lost.
    """
    if dtype != torch.bfloat16:
        return x.to(dtype)
    generator = torch.Generator(x.device).manual_seed(0)
    noise = torch.randint(1 << 16, x.shape, generator=generator, dtype=torch.int32, device=x.device)
    return ((x.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(dtype)


def named_weights(model: Any, trained_only: bool = False) -> Iterator[tuple[str, Tensor]]:
    """(transformers' name, weight) one at a time, adapters merged; `trained_only`: those that training changes."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("base_layer", "lora_A", "lora_B"):
            continue
        adapted = isinstance(module, LoraLinear)
        plain = module.base_layer if adapted else module
        for key, parameter in plain.named_parameters(recurse=False):
            matrix = key == "weight" and isinstance(plain, nn.Linear)
            if not trained_only or parameter.requires_grad or (adapted and matrix):
                yield f"{name}.{key}", _matrix(module) if matrix else parameter.detach()


def merged(model: Any) -> Any:
    """An equivalent model without adapters: itself, or a twin with adapters merged, its new matrices on the CPU."""
    changed = {n: m for n, m in model.named_modules() if isinstance(m, LoraLinear) or _is_quantised(m)}
    if not changed:
        return model
    plain = twin(model)
    for name, module in changed.items():
        if name.endswith(".base_layer"):
            continue
        base = module.base_layer if isinstance(module, LoraLinear) else module
        linear = nn.Linear(base.in_features, base.out_features, device="meta")
        linear.weight, linear.bias = nn.Parameter(_matrix(module).cpu(), requires_grad=False), base.bias
        plain.set_submodule(name, linear)
    if getattr(plain, "hf_quantizer", None) is not None:
        plain.hf_quantizer.remove_quantization_config(plain)
    return plain


def _is_quantised(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and not module.weight.is_floating_point()


@torch.no_grad()
def settle(model: Any, folder: Path, base: Path) -> None:
    """After training, write the adapters as peft does into `folder`/adapter and add them to the weights in place.

    Later measurements then use the same rounded weights that `save_model` writes (a quantised base keeps its
    adapters; `merged` adds them). `base`: the folder that the model was loaded from,
    remembered by the adapter (`adapter_base`). Does nothing where there are no adapters.
    """
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    if not adapted:
        return
    tensors = parallel.whole_state(model, {n for n, p in model.named_parameters() if p.requires_grad})
    if parallel.is_first():
        _write(model, adapted, tensors, folder / ADAPTER, base)
    for name, module in adapted.items():
        weight = module.base_layer.weight
        if not _is_quantised(module.base_layer):
            parallel.local(weight).copy_(parallel.part(_matrix(module), weight))
            model.set_submodule(name, module.base_layer)


def _write(model: Any, adapted: dict[str, LoraLinear], tensors: dict[str, Tensor], folder: Path, base: Path) -> None:
    first = next(iter(adapted.values()))
    rank = first.lora_A.weight.shape[0]
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": first.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        **family_of(model).adapter_targets(model, list(adapted)),
        "modules_to_save": ["score"] if hasattr(model, "score") else None,
        "inference_mode": True,
    }
    folder.mkdir(exist_ok=True)
    write_json(folder / CONFIG, config)
    save_file(
        {PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / WEIGHTS,
        metadata={"base": weights_hash(base)},  # a single key: safetensors writes several keys in random order
    )


def weights_hash(folder: Path) -> str:
    """One hash over a model folder's weights; a file is read once per process, unless it was replaced."""
    files = [(path, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    return hash_json({path.name: _hash_once(path, s.st_ino, s.st_size, s.st_mtime_ns) for path, s in files})


@functools.lru_cache(maxsize=64)
def _hash_once(path: Path, *_version: int) -> str:
    return file_sha256(path)


def adapter_base(folder: Path) -> str | None:
    """`weights_hash` of the model that the folder's adapter was trained on; None where it has no adapter of ours."""
    file = folder / ADAPTER / WEIGHTS
    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as opened:
        return (opened.metadata() or {}).get("base")


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(settings, tensors by the model's names) of a folder that peft or `settle` wrote; ValueError if it is none."""
    for file in (folder / CONFIG, folder / WEIGHTS):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; expected a folder that peft wrote")
    config = checks.read_object(folder / CONFIG)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS}: damaged or truncated weights: {error}") from None
    return config, {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def put_adapter(model: Any, folder: Path) -> None:
    """Load the adapter that `settle` wrote below `folder` into a model, its scalar head included."""
    config, tensors = read_adapter(folder / ADAPTER)
    for name in tensors:
        if name.endswith(".lora_A.weight"):
            _adapt(model, name.removesuffix(".lora_A.weight"), config["r"], config["lora_alpha"], _dtype(model))
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    assert not unknown, unknown


def quantized(model_config: ModelConfig, lora_rank: int) -> dict[str, Any]:
    """transformers' arguments for a base in 8 bits (Dettmers et al. 2022) or 4 (NF4, 2023); {} if not configured.

    Raises ValueError without adapters to train, without a GPU, and without bitsandbytes.
    """
    if model_config.quantize == "none":
        return {}
    if not lora_rank:
        raise ValueError(f"model.quantize = '{model_config.quantize}': such weights stay frozen; expected a lora_rank")
    if pick_device(model_config.device).type != "cuda":
        raise ValueError(f"model.quantize = '{model_config.quantize}': expected a CUDA device; on a CPU use 'none'")
    if parallel.size() > 1:
        raise ValueError(
            f"model.quantize = '{model_config.quantize}': such weights are not split over processes yet; expected one "
            "process, or model.quantize = 'none'"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(f"model.quantize: needs bitsandbytes; install it with: {installed.command('quantize')}")
    from transformers import BitsAndBytesConfig

    settings: dict[str, Any] = {"llm_int8_skip_modules": ["lm_head", "score"]}
    if model_config.quantize == "8bit":
        settings |= {"load_in_8bit": True}
    else:
        settings |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        settings |= {"bnb_4bit_compute_dtype": DTYPES[model_config.dtype]}
    return {"quantization_config": BitsAndBytesConfig(**settings)}
