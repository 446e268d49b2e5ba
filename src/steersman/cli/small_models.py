"""What `steersman serve` loads beside the models that answer: encoders, and indexes of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from steersman.artifact.manifest import MANIFEST_NAME
from steersman.artifact.workspace import Workspace
from steersman.progress import activity
from steersman.rounds.inputs import model_hash, resolved
from steersman.weights.resolve import called

if TYPE_CHECKING:
    from steersman.engine.apart.process import Open
    from steersman.engine.protocol import Engine
    from steersman.server.encoders import Encoders


def beside(space: Workspace, opened: Open, known: Callable[[str], bool]) -> Encoders:
    """What serve.embeddings, serve.moderation, serve.router and serve.indexes name. `known`: whether a model is
    served."""
    from steersman.server.encoders import open_encoders, open_indexes

    config = space.config.serve
    encoders = open_encoders(config, small(space, opened), known)
    if not config.indexes:
        return encoders
    hashed = model_hash(_folder_of(space, config.embeddings)) if config.embeddings else ""
    return open_indexes([space.root / name for name in config.indexes], encoders, hashed)


def small(space: Workspace, opened: Open) -> Callable[[str], Engine]:
    """The engine of a model that serve.embeddings, serve.moderation or serve.router names: a folder, seen from the
    workspace too, or what model.base takes."""
    from steersman.engine.apart.wire import Wanted

    def made(name: str) -> Engine:
        folder, shown = _folder_of(space, name), called(_spec(space, name))
        names = {"name": shown, "version": shown}
        options = {"backend": "headed", "dtype": space.config.model.dtype, "device": space.config.model.device, **names}
        with activity(f"loading {shown}"):
            return opened(Wanted(str(folder), options, made_of(folder)), True)

    return made


def _folder_of(space: Workspace, name: str) -> Path:
    return resolved(_spec(space, name))


def _spec(space: Workspace, name: str) -> str:
    own = space.root / name
    return str(own) if own.is_dir() else space.named(name)


def made_of(folder: Path) -> str:
    """What says that a folder's model is another."""
    path = folder / MANIFEST_NAME
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
