"""A stage's working folder and its resume points: everything needed to go on after a kill and end with the same bits.

A stage works in `OUTPUT.partial/`; a finished one replaces OUTPUT. A resume point is one safetensors file of tensors
with the JSON state and a hash of both in its metadata. It appears whole or not at all, the last few are kept, and a
run resumes from the newest whose content agrees with its hash. All randomness of a stage comes from (seed, step), so no
random states are kept. A point of another configuration or other inputs is not used, and stays until the user
allows its removal. Inside `resumable` a signal to stop saves a point of the stage's current state.

Training does not wait for the disk: `save` copies the tensors, a thread writes the copy. Several processes write one
point together instead (`sharded_point`) and wait for it.

Why so: decision 4 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steersman import progress, stopping
from steersman.artifact import sharded_point, unfinished
from steersman.artifact.files import TORN, fsync_dir, naming
from steersman.artifact.manifest import POINTS, finish, sweep, write_manifest
from steersman.distributed import parallel

BEST = ".best.safetensors"
_writer = ThreadPoolExecutor(1, "checkpoint")
"""One writer thread per process: a failed run's writing is finished before another run reads its folder."""


def flush() -> None:
    """Wait for all pending writes of the process, ignoring their errors."""
    _writer.submit(lambda: None).result()


def partial_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


class StageFolder:
    """The working folder of one stage run, and its resume points, of which the last `keep` stay on disk."""

    def __init__(
        self,
        output: Path,
        stage: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        save_seconds: float = 90.0,
        keep: int = 2,
    ) -> None:
        self.output, self.stage, self.config, self.inputs = output, stage, dict(config), dict(inputs)
        self.path = partial_of(output)
        self.save_seconds, self.keep = save_seconds, keep
        self._saved_at = time.monotonic()
        self._copies: dict[str, Tensor] = {}
        self._writing: Future[None] = _writer.submit(lambda: None)
        self.wait()
        if parallel.is_first():
            self._open()
        parallel.wait()

    def _open(self) -> None:
        """Go on in the folder of these settings and inputs, or start an empty one. ValueError if it is of others."""
        if said := unfinished.clear_for(self.path, self.stage, self.config, self.inputs):
            progress.note(said)
        if not self.path.is_dir():
            self.path.mkdir(parents=True)
            unfinished.sign(self.path, self.stage, self.config, self.inputs)
        for pattern in TORN:
            for torn in self.path.rglob(pattern):
                torn.unlink()

    @contextlib.contextmanager
    def resumable(self, point: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]] | None]) -> Iterator[None]:
        """Signals to stop wait for `parallel.halt`; then the result of `point`, (tensors, state), is saved.

        Whenever `halt` is called, `point` must return a state to resume from, or None if there is nothing to save yet.
        """
        with naming(self.path), stopping.deferred():
            try:
                yield
            except stopping.Stop as stop:
                if (found := point()) is not None:
                    with progress.activity("saving a resume point"):
                        self.save(*found)
                        self.wait()
                    stop.where.append(f"a resume point is saved in {self.path}")
                raise

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, state) of the newest whole resume point; None before the first. ValueError if all are damaged."""
        damaged: list[Path] = []
        points = self._points()
        shards = self.path / sharded_point.NAME
        # both exist if a kill came before the older was removed
        if shards.is_file() and not (points and points[-1].stat().st_mtime_ns > shards.stat().st_mtime_ns):
            return sharded_point.load(self.path)
        for path in reversed(points):
            try:
                found = _read(path)
            except ValueError as error:
                progress.note(str(error))
                damaged.append(path)
                continue
            for useless in damaged:
                useless.unlink(missing_ok=True)
            if damaged:
                progress.note(f"{self.path}: going on from the resume point before")
            return found
        if damaged:
            raise ValueError(
                f"{damaged[0]}: damaged, as is every other resume point; --fresh begins anew (or move {self.path} away)"
            )
        return None

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Copy now, write in the background. Raises the error of the previous point's writing, if any.

        Several processes call it together, and all wait.
        """
        self.wait()
        if parallel.size() > 1:
            sharded_point.save(self.path, tensors, state)
            if parallel.is_first():
                for old in self._points():
                    old.unlink()
            self._saved_at = time.monotonic()
            return
        number = int(points[-1].name.split("-")[1].split(".")[0]) + 1 if (points := self._points()) else 1
        self._start(self.path / f".resume-{number:06d}.safetensors", tensors, state)
        self._saved_at = time.monotonic()

    def save_best(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Like `save`, for the one set of weights kept beside the resume points because it is the best so far."""
        self._start(self.path / BEST, tensors, record)

    def load_best(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, record) of the last `save_best`. Raises ValueError if they are damaged or gone."""
        self.wait()
        try:
            return _read(self.path / BEST)
        except ValueError as error:
            raise ValueError(f"{error}; --fresh begins anew (or move {self.path} away)") from None

    def wait(self) -> None:
        """Wait for pending writes. Raises their error."""
        self._writing.result()

    def agree_to_save(self) -> bool:
        """Whether all processes, which call this together, shall save a resume point now, by the first one's clock.

        False while a point is still being written. Raises that point's error, and Stop after a signal.
        """
        parallel.halt()
        due = self._writing.done() and time.monotonic() - self._saved_at >= self.save_seconds
        if self._writing.done():
            self.wait()
        return bool(*parallel.add(due and parallel.is_first()))

    def finish(self, metrics: Mapping[str, Any], notes: tuple[str, ...] = ()) -> None:
        """Hash the files, write the manifest, give the folder its name; resume points go last."""
        self.wait()
        if parallel.is_first():
            with progress.activity("hashing what was made"):
                write_manifest(self.path, self.stage, self.config, self.inputs, metrics, notes)
            finish(self.path, self.output)
            sweep(self.output)
            sharded_point.remove(self.output)
        parallel.wait()

    def _points(self) -> list[Path]:
        return sorted(self.path.glob(POINTS))

    def _start(self, path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        self.wait()
        copies = {name: self._copy(name, tensor) for name, tensor in tensors.items()}
        self._writing = _writer.submit(self._write, path, copies, json.dumps(state, ensure_ascii=False))

    def _copy(self, name: str, tensor: Tensor) -> Tensor:
        """A copy on the CPU, in memory that is reused: fresh pages cost as much as writing the file."""
        kept = self._copies.get(name)
        if kept is None or (kept.shape, kept.dtype) != (tensor.shape, tensor.dtype):
            kept = self._copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return kept.copy_(tensor.detach())

    def _write(self, path: Path, tensors: dict[str, Tensor], state: str) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            save_file(tensors, temporary, metadata={"state": state, "sha256": _digest(tensors, state)})
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except (SafetensorError, OSError) as error:
            temporary.unlink(missing_ok=True)
            raise _disk_error(error, path, sum(x.nbytes for x in tensors.values())) from None
        fsync_dir(self.path)
        if path.name != BEST:
            sharded_point.remove(self.path)
        for old in self._points()[: -self.keep]:
            old.unlink()


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """sha256 over names, types, shapes and bytes of CPU tensors, and the state."""
    total = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) of a file. Raises ValueError where it is truncated or its hash does not match."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(tensors, metadata["state"]) != metadata["sha256"]:
            raise ValueError("its content differs from its hash")
        return tensors, json.loads(metadata["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged resume point ({error})") from None


def _disk_error(error: Exception, where: Path, size: int) -> Exception:
    """The error with file and size; safetensors hides the errno of a full disk in its text."""
    if getattr(error, "errno", None) == errno.ENOSPC or any(s in str(error) for s in ("No space left", "os error 28")):
        return OSError(errno.ENOSPC, f"No space left on device (needs {size >> 20} MiB)", str(where))
    return error
