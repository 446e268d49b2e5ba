"""Manifests: an artifact is a folder whose `manifest.json` names every file of it; it is written last."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman import __version__
from steersman.artifact.files import TORN, file_sha256, fsync_dir, hash_json, is_inside, now, read_object, write_json
from steersman.types import Manifest

MANIFEST_NAME = "manifest.json"
FINGERPRINT, POINTS = ".fingerprint", ".resume-*.safetensors"
"""Files of an unfinished run: its fingerprint, and its resume points (`artifact.stage_folder`), which sort by age."""
SHARDS = ".resume.json"
"""Folder of a resume point that several processes wrote together (`artifact.sharded_point`)."""


def tree_hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below `folder`, the manifest and hidden files left out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST_NAME)
    named = {str(p.relative_to(folder)): p for p in paths}
    return {
        name: file_sha256(p) for name, p in named.items() if not any(part.startswith(".") for part in Path(name).parts)
    }


def write_manifest(
    folder: Path,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    metrics: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> Manifest:
    """Hash the folder's files and write its manifest, which makes it an artifact."""
    manifest = Manifest(stage, now(), __version__, config, inputs, tree_hashes(folder), metrics or {}, notes)
    write_json(folder / MANIFEST_NAME, dataclasses.asdict(manifest))
    return manifest


_FIELDS: dict[str, type] = {
    **dict.fromkeys(("stage", "created", "code_version"), str),
    **dict.fromkeys(("config", "inputs", "files", "metrics"), dict),
    "notes": list,
}


def read_manifest(folder: Path) -> Manifest:
    """Read an artifact's manifest. Raises ValueError where the artifact is missing or its manifest invalid."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(f"{folder}: no {MANIFEST_NAME} there; the artifact is missing or unfinished")
    raw = {"metrics": {}, "notes": [], **read_object(path, "a manifest")}
    for name in (*_FIELDS, *raw):
        if name not in raw or name not in _FIELDS or not isinstance(raw[name], _FIELDS[name]):
            found = type(raw[name]).__name__ if name in raw else "nothing"
            expected = _FIELDS[name].__name__ if name in _FIELDS else f"only {', '.join(_FIELDS)}"
            raise ValueError(f"{path}: not a manifest: {name}: expected {expected}, found {found}")
    for name in ("inputs", "files"):
        for key, value in raw[name].items():
            if not isinstance(value, str) or (name == "files" and not is_inside(key)):
                raise ValueError(
                    f"{path}: not a manifest: {name}: expected names inside the artifact and hashes, found {key!r}: "
                    f"{value!r}"
                )
    if not all(isinstance(note, str) for note in raw["notes"]):
        raise ValueError(f"{path}: not a manifest: notes: expected texts, found {raw['notes']!r}")
    return Manifest(**{**raw, "notes": tuple(raw["notes"])})


def verify(folder: Path) -> Manifest:
    """Compare every file with the manifest; ValueError names the first that is missing or altered."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing, but its manifest lists it; make the artifact again or restore the file")
        if file_sha256(path) != expected:
            raise ValueError(f"{path}: its content differs from its manifest (truncated or altered); make it again")
    return manifest


def identity(manifest: Manifest) -> str:
    """A hash of an artifact's stage, config, inputs and files (not of the time it was made)."""
    return hash_json([manifest.stage, manifest.config, manifest.inputs, manifest.files])


def finish(partial: Path, final: Path) -> None:
    """Rename a finished `STAGE.partial` to `STAGE`, replacing a stale one."""
    stale = final.with_name(f"{final.name}.stale")
    shutil.rmtree(stale, ignore_errors=True)
    if final.exists():
        final.replace(stale)
    partial.replace(final)
    fsync_dir(final.parent)


def sweep(final: Path) -> None:
    """Remove a finished stage's temporary files, and the artifact that it replaced.

    Done after the renaming, and again when the artifact is found, in case of a kill in between.
    """
    for pattern in (FINGERPRINT, POINTS, ".best.*", ".*.sha256", *TORN):
        for path in final.rglob(pattern):
            path.unlink(missing_ok=True)
    shutil.rmtree(final.with_name(f"{final.name}.stale"), ignore_errors=True)
