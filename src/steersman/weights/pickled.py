"""Pickled weights (pytorch_model.bin), as most Chinese T5 and BART models are published, as safetensors.

PyTorch's restricted reader builds tensors and nothing else: a file that wants code run is refused, and none is run.

Why so: decision 104 in docs/LOG.md.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

from steersman.artifact.files import file_sha256, write_json
from steersman.progress import activity
from steersman.weights import checks
from steersman.weights.converted import made_once

MODULES = ("[0-9]_*/*.json", "[0-9]_*/*.safetensors")
"""What sentence-transformers keeps of how states become vectors."""
INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
CONVERTED = 200e6
"""Bytes per second."""


def pickled_files(folder: Path) -> list[Path]:
    """The .bin files of a model that has no safetensors; none where it has. ValueError for a bad index."""
    if any(folder.glob("*.safetensors")):
        return []
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        return []
    places = checks.read_object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(re.fullmatch(r"[\w.-]+\.bin", str(v)) for v in places.values()):
        raise ValueError(f"{folder / INDEX}: weight_map: expected names of tensors and .bin files of this folder")
    files = [folder / str(name) for name in sorted(set(places.values()))]
    if lost := [path for path in files if not path.is_file()]:
        raise ValueError(f"{lost[0]}: missing, but {INDEX} lists it")
    return files


def unpickled(folder: Path, kept: Sequence[str], cache: Path, say: Callable[[str], None]) -> Path:
    """The folder itself, or where its weights are pickled one of safetensors in the cache, made once per content.

    `kept`: patterns of the other files that it takes over.
    """
    files = pickled_files(folder)
    if not files:
        return folder
    patterns = [*kept, *MODULES]
    others = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file() and path.name != INDEX}

    def convert(into: Path) -> None:
        say(f"{folder.name}: pickled weights, converted to safetensors (once)")
        with activity(f"converting {folder.name}", about=sum(f.stat().st_size for f in files) / CONVERTED):
            _convert(files, into)
        for path in others:
            copy = into / path.relative_to(folder)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
        _name_kind(into / "config.json", say)

    named = [(path.relative_to(folder).as_posix(), path) for path in sorted({*others, *files})]
    said = "".join(f"{name} {file_sha256(path)}\n" for name, path in named)
    return made_once(cache / f"{folder.name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}-unpickled", convert)


def _name_kind(path: Path, say: Callable[[str], None]) -> None:
    """Write model_type into a config.json that names the class alone, as umT5's do."""
    config = checks.read_object(path)
    if "model_type" in config:
        return
    kinds = {made: kind for kind, made in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.items()}
    made = str(next(iter(config.get("architectures") or ()), ""))
    if made in kinds:
        say(f"config.json has no model_type: it is {kinds[made]}, as architectures names {made}")
        write_json(path, config | {"model_type": kinds[made]})


def _convert(files: Sequence[Path], into: Path) -> None:
    places: dict[str, str] = {}
    size = 0
    for number, path in enumerate(files, 1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05}-of-{len(files):05}.safetensors"
        # tied weights stand in such files several times with one memory, which safetensors does not write
        state = {key: tensor.detach().clone().contiguous() for key, tensor in _tensors(path).items()}
        save_file(state, into / name, metadata={"format": "pt"})
        places |= dict.fromkeys(state, name)
        size += sum(tensor.nbytes for tensor in state.values())
    if len(files) > 1:
        write_json(into / checks.INDEX, {"metadata": {"total_size": size}, "weight_map": places})


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged or hostile pickle may raise errors of many types
        raise ValueError(f"{path}: damaged, or more than tensors; none of it was run: {checks.said(error)}") from None
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path}: expected tensors by their names, got {type(state).__name__}")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path}: '{str(key)[:80]}': expected a tensor, got {type(tensor).__name__}")
    return state
