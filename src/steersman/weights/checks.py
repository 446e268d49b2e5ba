"""Checks of a model folder before a model is built from it: files from strangers are often damaged, and some are made
to hang or exhaust a machine. Every problem is a ValueError that names the file.

Why so: decision 6 in docs/LOG.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from steersman.families.traits import context_of
from steersman.progress import note

INDEX = "model.safetensors.index.json"
LARGEST_JSON = 64 << 20
DEEPEST = 24
COUNT = re.compile(
    r"^(num_(?!nextn|kv_shared|mtp)|n_(layer|head|embd|positions)|d_model|head_dim|sliding_window$|max_position)|_(size|heads)$"
)
"""Settings that are counts; 0 is allowed only where it is transformers' default."""
MOST = {"layer": 4096, "expert": 4096, "label": 1 << 16, "head": 1 << 16, "mamba_chunk": 4096, "conv": 4096}
POSITIVE = re.compile(r"(theta|_scalar|scaling|multiplier|softcapping|logit_scale|factor|_alpha)$")
GROWTH = 1000.0
"""Most characters that a tokenizer's replacements may make of one: its parser aborts the process when out of memory."""
TOKEN = re.compile(r"^(bos|eos|pad|sep|decoder_start)_token_id$")


@dataclass(frozen=True)
class Stored:
    """A tensor as its file's header describes it."""

    file: Path
    shape: tuple[int, ...]
    kind: str
    """The dtype as named by safetensors: BF16, F32, U8, ..."""


def read_json(path: Path) -> Any:
    """Raises ValueError for deep nesting and for numbers that are not finite."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object, as `read_json` does."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def check_files(folder: Path) -> None:
    """ValueError where a file of the folder is a pipe or a device, which could be read without end."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError(f"{path}: neither a file nor a folder")


def _settings(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """(path, key, value, containing object) of each value that is no object. ValueError where nested too deeply."""
    if depth > DEEPEST:
        raise ValueError(f"{path.split('.')[0]}: nested too deeply")
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict):
            yield from _settings(item, where, depth + 1)
        else:
            yield where, str(key), item, value


def check_config(folder: Path, tensors: int) -> dict[str, Any]:
    """config.json, its numbers within reason. Raises ValueError that names the setting.

    `tensors`: how many the weights hold, at least as many as there are layers.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no config.json; expected a Hugging Face model folder")
    config = read_object(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[\w.-]{1,100}", kind):
        raise ValueError(f"{path}: model_type: expected a name such as llama, got {str(kind)[:100]!r}")
    defaults, heads = _defaults(kind), config.get("objectives", [])
    if not isinstance(heads, list) or not all(isinstance(name, str) for name in heads):
        raise ValueError(f"{path}: objectives: expected a list of names, got {str(heads)[:100]}")
    for key in ("objective_weights", "reward_shift", "reward_scale"):
        values = config.get(key, [1.0])
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(v, int | float) for v in values) or len(values) not in (1, len(heads)):
            raise ValueError(f"{path}: {key}: expected a number for each of {len(heads) or 1} objectives")
    try:
        for where, key, value, around in _settings(config):
            if problem := _problem(key, value, defaults.get(key), around, tensors):
                raise ValueError(f"{where}: expected {problem}, got {str(value)[:100]}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _defaults(kind: str) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    try:
        return dict(vars(CONFIG_MAPPING[kind]()))
    except Exception:  # transformers reports unknown types; some config classes have no defaults
        return {}


def _problem(key: str, value: Any, default: Any, around: Mapping[str, Any], tensors: int) -> str | None:
    """The expectation that a setting's value violates; None where the value is allowed."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if number and abs(value) >= 1 << 53:
        return "a number below 2^53"
    if isinstance(value, str) and len(value) > 1 << 20:
        return "a short text"
    if value is None or isinstance(value, list):
        wrong = [x for x in value or () if isinstance(x, float) and not math.isfinite(x)]
        return "finite numbers" if wrong else None
    if COUNT.search(key) and key != "gap_size":  # ALBERT's files say 0 of it, and nothing reads it
        most = next((most for part, most in MOST.items() if part in key), 1 << 40)
        most = max(1, tensors) if key in ("num_hidden_layers", "n_layer", "num_layers") else most
        if number and value == default:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            return f"a whole number from 1 to {most}{', as many tensors as there are' if most == tensors else ''}"
    if POSITIVE.search(key) and not isinstance(value, bool) and (not number or value <= 0) and value != default:
        return "a number above 0"
    if key.endswith(("_eps", "epsilon")) and (not number or not 0 <= value <= 0.1):
        return "a number from 0 to 0.1"
    if key.endswith(("dropout", "_pdrop")) and not isinstance(value, bool) and (not number or not 0 <= value < 1):
        return "a share from 0 to 1"
    vocabulary, whole = around.get("vocab_size"), isinstance(value, int) and not isinstance(value, bool)
    if TOKEN.search(key) and isinstance(vocabulary, int) and not (whole and -1 <= value < vocabulary):
        return f"the id of a token, below vocab_size = {vocabulary}"
    experts = next((around[n] for n in ("num_experts", "num_local_experts", "n_routed_experts") if around.get(n)), None)
    if key == "num_experts_per_tok" and isinstance(experts, int) and number and value > experts:
        return f"at most the number of experts, {experts}"
    return None


def weight_files(folder: Path) -> list[Path]:
    """The .safetensors files of a model, as its index lists them. Raises ValueError on a bad index or missing files."""
    index, single = folder / INDEX, folder / "model.safetensors"
    if (folder / "adapter_config.json").is_file():  # it names another model to load instead
        raise ValueError(f"{folder}: holds an adapter (adapter_config.json); expected a whole model, merged")
    if single.is_file() or not index.is_file():
        found = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
        if not found:
            raise ValueError(f"{folder}: no .safetensors weights (pickled .bin weights are not loaded)")
        return found
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index}: weight_map: expected names of tensors and their files")
    names = set()
    for name in places.values():
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]+\.safetensors", name):
            raise ValueError(f"{index}: weight_map: expected .safetensors files of this folder, got {str(name)[:99]!r}")
        names.add(name)
    for name in sorted(names):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: missing, but {INDEX} lists it")
    return [folder / name for name in sorted(names)]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a model, from the files' headers only. Raises ValueError on a damaged or truncated file."""
    found: dict[str, Stored] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (it is no mapping)
                    part = file.get_slice(name)
                    found[name] = Stored(path, tuple(part.get_shape()), str(part.get_dtype()))
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path}: damaged or truncated weights: {error}") from None
    return found


def computed_without(model: Any, unused: Iterable[str], within: str, layers: int) -> list[str]:
    """Those of the weights without a module of their own that belong to a module, or to one of the layers.

    `within`: a pattern of the names of a layer's weights, with its number."""
    modules, inside = dict(model.named_modules()), re.compile(within)
    return [
        name
        for name in unused
        if not name.endswith(("inv_freq", "position_ids"))
        and (name.rpartition(".")[0] in modules or ((at := inside.match(name)) and int(at[1]) < layers))
    ]


def check_shapes(model: Any, stored: Mapping[str, Stored], renamed: Mapping[str, str], file: Path) -> None:
    """ValueError unless the weights are of the sizes that config.json (`file`) says. `model`: built on the meta device.

    For tensors whose names transformers converts, only total sizes are compared.
    """
    config = read_object(file)
    wanted = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    whole = {name for name, x in model.state_dict().items() if not x.is_floating_point()}
    whole |= {name.removeprefix(f"{model.base_model_prefix}.") for name in whole}
    check_quantised(config, file)
    rest = 0
    for name, tensor in stored.items():
        own = name
        for pattern, to in renamed.items():
            own = re.sub(pattern, to, own)
        expected = wanted.pop(own, None) or wanted.pop(f"{model.base_model_prefix}.{own}", None)
        if expected is None:
            rest += math.prod(tensor.shape)
        elif tensor.kind[0] in "IU" and own not in whole and "quantization_config" not in config:
            raise ValueError(
                f"{tensor.file}: {name}: whole numbers ({tensor.kind}), and no quantization_config says "
                "what they stand for; expected BF16, F16 or F32, or the model as a GGUF file"
            )
        elif expected != tensor.shape and tensor.kind not in ("U8", "I8", "I32"):  # packed by quantisation
            odd = set(expected) - set(tensor.shape)
            fields = [f"{where} = {value}" for where, _, value, _ in _settings(config) if _is_in(value, odd)]
            raise ValueError(
                f"{tensor.file}: {name}: shape {list(tensor.shape)}; config.json"
                f"{' (' + ', '.join(fields[:3]) + ')' if fields else ''} makes it {list(expected)}"
            )
    head = {"lm_head.weight", "score.weight", *model.all_tied_weights_keys}
    made = model._keys_to_ignore_on_load_missing or ()  # computed position tables, which no checkpoint contains
    head |= {name for name in wanted if any(re.search(pattern, name) for pattern in made)}
    missing = sum(math.prod(shape) for name, shape in wanted.items() if name not in head)
    if missing > 16 * (rest + 1024):
        lost = max((name for name in wanted if name not in head), key=lambda name: math.prod(wanted[name]))
        raise ValueError(f"{file} describes {lost} {list(wanted[lost])}, which the weights do not hold")


def check_quantised(config: Mapping[str, Any], file: Path) -> None:
    """ValueError for a quantisation that transformers does not know: it would take the packed numbers for weights."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    said = config.get("quantization_config")
    if said is None:
        return
    said = said if isinstance(said, dict) else {"quant_method": said}
    method = said.get("quant_method")
    bits = said.get("load_in_4bit") or said.get("load_in_8bit")  # of bitsandbytes, old files do not name it
    if str(method) not in AUTO_QUANTIZER_MAPPING and not (bits and method in (None, "bitsandbytes")):
        raise ValueError(
            f"{file}: quantization_config.quant_method: {str(method)[:40]!r} is not known to transformers; expected "
            "the model in BF16, F16 or F32, or as a GGUF file"
        )


def _is_in(value: Any, sizes: set[int]) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in sizes


def check_finite(model: Any, folder: Path) -> None:
    """ValueError that names the first weight with NaN or infinity. Reads every weight once."""
    for name, parameter in model.named_parameters():
        # a finite sum proves that all are finite; otherwise (it may have overflowed) each is checked
        if not parameter.is_floating_point() or parameter.sum().isfinite():
            continue
        if bad := int((~parameter.isfinite()).sum()):
            raise ValueError(f"{folder}: {name}: {bad} of {parameter.numel()} weights are no finite numbers")


@torch.no_grad()
def check_forward(model: Any, given: Mapping[str, Any], folder: Path) -> None:
    """ValueError unless a forward pass with `given` works and is finite, which settings alone cannot show."""
    try:
        logits = model(**given, use_cache=False).logits
    except Exception as error:  # a layer may raise any error
        raise ValueError(f"{folder}/config.json: a step with it fails: {said(error)}") from None
    if not logits.isfinite().all():
        raise ValueError(f"{folder}/config.json: a step with it computes no finite numbers")


def tell_scale(config: Any, folder: Path) -> None:
    """Old configs scale positions and keep the length before that; newer ones name the one after it."""
    rope = getattr(config, "rope_parameters", None) or {}
    named, factor = getattr(config, "max_position_embeddings", None), rope.get("factor")
    if rope.get("rope_type") == "linear" and named and factor and context_of(config) == named:
        note(
            f"{folder}: positions are scaled by {factor:g}, and its context is taken to be the {named} tokens of "
            f"max_position_embeddings; where those are of before, write {int(named * factor)} into config.json"
        )


def said(error: BaseException) -> str:
    """A library error's first line (two if the first ends in a colon), with its type unless ValueError or OSError."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return line[:300] if isinstance(error, ValueError | OSError) and line else f"{type(error).__name__}: {line[:300]}"


EMPTY = 500
"""Entries below which a vocabulary may be of special tokens alone."""


def check_entries(tokenizer: Any, ids: Any, folder: Path) -> None:
    """ValueError where a text has no `ids`, or for special tokens alone: transformers makes such a tokenizer where a
    folder's files are missing."""
    if not ids:
        raise ValueError(f"{folder}: no usable tokenizer: it makes no tokens of a text")
    if len(tokenizer) < EMPTY:
        special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
        if not set(tokenizer.get_vocab()) - special - {"\u2581"}:  # the sign of a word's beginning
            raise ValueError(
                f"{folder}: no usable tokenizer: it has special tokens alone; expected its files, such as "
                "tokenizer.json, vocab.txt or a .model"
            )


def check_replacements(folder: Path) -> None:
    """Raises ValueError where a tokenizer's chain of replacements makes a text too long: each may double it."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    parts = read_object(path)
    for name in ("normalizer", "decoder"):
        growth = _growth(parts.get(name))
        if growth > GROWTH:
            raise ValueError(
                f"{path}: {name}: its replacements make up to {growth:.3g} characters of one; expected at most "
                f"{GROWTH:g}"
            )


def _growth(node: Any) -> float:
    """Most characters that the node makes of one. Malformed nodes are left to the tokenizer's own parser."""
    if not isinstance(node, dict):
        return 1.0
    parts = node.get("normalizers", node.get("decoders"))
    if isinstance(parts, list):
        return min(1e300, math.prod(map(_growth, parts)))
    content, pattern = node.get("content"), node.get("pattern")
    if node.get("type") != "Replace" or not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    return max(1.0, len(content) / max(1, len(str(pattern.get("String", "")))))
