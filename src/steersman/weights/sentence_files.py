"""Files of sentence-transformers: how a model's states become one vector, and which texts it was made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from steersman.artifact.files import write_json
from steersman.weights import checks

POOLINGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
"""How states become one vector -> its name in the files."""
POOLING = "1_Pooling"
NORMALIZE = "2_Normalize"
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "Identity": lambda x: x,
    "ReLU": F.relu,
    "GELU": F.gelu,
    "SiLU": F.silu,
    "Sigmoid": torch.sigmoid,
}
KNOWN = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
"""Modules whose vectors are computed here."""


@dataclass(frozen=True)
class Dense:
    """A layer behind the pooling."""

    weight: Tensor
    bias: Tensor | None
    activation: str

    def __call__(self, vectors: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(vectors.device)
        return ACTIVATIONS[self.activation](F.linear(vectors, self.weight.to(vectors.device), bias))


@dataclass(frozen=True)
class Behind:
    """What comes behind a model's states."""

    pooling: str
    dense: tuple[Dense, ...] = ()
    most: int = 0
    """Tokens of a text, marks and all; 0: as many as the model takes."""
    lower: bool = False
    """Whether texts are read in small letters."""


def behind(folder: Path) -> Behind:
    """As the folder's files say; the mean where there are none. ValueError for what is not computed here."""
    path = folder / "sentence_bert_config.json"
    said = checks.read_object(path) if path.is_file() else {}
    most = said.get("max_seq_length")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ValueError(f"{path}: max_seq_length: expected a number of tokens, got {most!r}")
    dense = tuple(_dense(folder / place) for kind, place in modules_of(folder) if kind == "Dense")
    return Behind(pooling_of(folder), dense, most or 0, said.get("do_lower_case") is True)


def modules_of(folder: Path) -> list[tuple[str, str]]:
    """(kind, folder below) of what modules.json names, in order; none where it is absent.

    ValueError for kinds and orders that would give other vectors than those computed here.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return []
    said = checks.read_json(path)
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise ValueError(f"{path}: expected a list of objects")
    found = [(str(one.get("type", "")).rpartition(".")[2], str(one.get("path", ""))) for one in said]
    if strange := [place for _, place in found if place != Path(place).name and place]:
        raise ValueError(f"{path}: path '{strange[0]}': expected a folder beside it")
    kinds = [kind for kind, _ in found if kind != "Dropout"]
    if unknown := [kind for kind in kinds if kind not in KNOWN]:
        raise ValueError(f"{path}: '{unknown[0]}' is not computed here; expected {', '.join(KNOWN)}")
    inner = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Dense" for kind in inner):
        raise ValueError(f"{path}: expected Transformer, Pooling, Dense layers and Normalize, got {', '.join(kinds)}")
    return found


def _dense(folder: Path) -> Dense:
    said = checks.read_object(folder / "config.json")
    activation = str(said.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"{folder / 'config.json'}: activation_function '{activation}': expected one of {', '.join(ACTIVATIONS)}"
        )
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; the layer behind the pooling is read from safetensors alone")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a safetensors file: {checks.said(error)}") from None
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    sizes = said.get("out_features"), said.get("in_features")
    if weight is None or tuple(weight.shape) != sizes or (bias is None) == bool(said.get("bias", True)):
        raise ValueError(f"{path}: expected linear.weight [{sizes[0]}, {sizes[1]}] and a bias as config.json says")
    return Dense(weight.float(), None if bias is None else bias.float(), activation)


def pooling_of(folder: Path, usual: str = "mean") -> str:
    """How the folder's states become one vector: as its files say, else the `usual` way.

    Raises ValueError for a way that is not one of `POOLINGS`.
    """
    path = folder / POOLING / "config.json"
    if not path.is_file():
        return usual
    said = checks.read_object(path)
    mode = said.get("pooling_mode")  # newer files name it
    chosen = (
        [str(mode)] if mode else [key for key, on in said.items() if key.startswith("pooling_mode_") and on is True]
    )
    found = {key: name for name, key in POOLINGS.items()} | {name: name for name in POOLINGS} | {"lasttoken": "last"}
    if len(chosen) != 1 or chosen[0] not in found:
        raise ValueError(f"{path}: expected one of {', '.join(POOLINGS.values())}, got {', '.join(chosen) or 'none'}")
    return found[chosen[0]]


def prompts_of(folder: Path) -> tuple[str, str]:
    """What the model wants before questions and before passages."""
    path = folder / "config_sentence_transformers.json"
    said = checks.read_object(path).get("prompts") if path.is_file() else None
    named: dict[str, Any] = said if isinstance(said, dict) else {}
    found = [
        next((str(named[n]) for n in names if named.get(n)), "") for names in (("query",), ("passage", "document"))
    ]
    return found[0], found[1]


def save_pooling(folder: Path, width: int, pooling: str, most: int, lower: bool = False) -> None:
    """What sentence-transformers needs to load the folder: states -> one vector -> of length 1."""
    path = "sentence_transformers.models"
    modules = [("", "Transformer"), (POOLING, "Pooling"), (NORMALIZE, "Normalize")]
    made = [
        {"idx": i, "name": str(i), "path": place, "type": f"{path}.{kind}"} for i, (place, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", made)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": most, "do_lower_case": lower})
    (folder / POOLING).mkdir(exist_ok=True)
    (folder / NORMALIZE).mkdir(exist_ok=True)
    modes = {key: name == pooling for name, key in POOLINGS.items()}
    write_json(folder / POOLING / "config.json", {"word_embedding_dimension": width, **modes})
    write_json(folder / NORMALIZE / "config.json", {})
