"""A resume point that several processes write together: each its shard, as safetensors, in one folder.

Two folders take turns, and a small file names the complete one; it is replaced atomically when every process has
written. Any number of processes can read it (PyTorch's distributed checkpoint cuts the parts anew).
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader as loader
from torch.distributed.checkpoint import state_dict_saver as saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, empty

from steersman.artifact.files import fsync_dir, write_json
from steersman.artifact.manifest import SHARDS
from steersman.distributed import parallel

NAME = SHARDS
FOLDERS = (".resume.0", ".resume.1")


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Replace the point in `path`; all processes call it. Raises the first process's write error, if any."""
    old = json.loads((path / NAME).read_text(encoding="utf-8"))["folder"] if (path / NAME).is_file() else FOLDERS[1]
    new = FOLDERS[1 - FOLDERS.index(old)]
    parallel.wait()  # all processes have read the name
    if parallel.is_first():
        shutil.rmtree(path / new, ignore_errors=True)
        (path / new).mkdir()
    parallel.wait()
    try:
        saver.save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(path / new), save_distributed=True))
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from None
    if parallel.is_first():
        fsync_dir(path / new)
        # as text, to preserve the order of keys, in which metrics are written
        write_json(path / NAME, {"folder": new, "state": json.dumps(state, ensure_ascii=False)}, words=True)
        shutil.rmtree(path / old, ignore_errors=True)
    parallel.wait()


def remove(path: Path) -> None:
    """Remove the point in `path`, if there is one."""
    (path / NAME).unlink(missing_ok=True)
    for folder in FOLDERS:
        shutil.rmtree(path / folder, ignore_errors=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) of the point in `path`: DTensors of this process's shards, in a lone process whole tensors."""
    point = json.loads((path / NAME).read_text(encoding="utf-8"))
    reader = HuggingFaceStorageReader(str(path / point["folder"]))
    alone = parallel.size() == 1
    mesh = None if alone else init_device_mesh("cpu", (parallel.size(),))
    tensors: dict[str, Tensor] = {}
    for name, entry in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(entry, TensorStorageMetadata), name
        size, dtype = entry.size, entry.properties.dtype
        if alone or not size:
            tensors[name] = torch.empty(size, dtype=dtype)
        else:
            tensors[name] = empty(size, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a lone process is one
        loader.load(tensors, storage_reader=reader, no_dist=alone)
    state = point["state"]
    return tensors, json.loads(state) if isinstance(
        state, str
    ) else state  # earlier versions wrote the state as an object
