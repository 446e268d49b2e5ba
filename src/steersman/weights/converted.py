"""Models in forms that transformers does not load become plain folders in the cache, once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, filled by `make` unless it is there; whole or absent."""
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=folder.parent) as temporary:
        make(Path(temporary))
        Path(temporary).chmod(0o755)
        try:
            Path(temporary).rename(folder)
        except OSError:  # another process was first
            if not (folder / "config.json").is_file():
                raise
        else:
            Path(temporary).mkdir()
    return folder
