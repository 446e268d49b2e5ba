"""The workspace: a folder the user owns, and the rules by which things appear in it.

    steersman.toml          configuration
    data/NAME.jsonl         imported data, immutable, with NAME.manifest.json beside it
    store.db                people's rankings and feedback (written by the store alone)
    rounds/001/STAGE/       artifacts: sft, samples, rankings, reward, policy (grpo, rloo, dpo, kto), report
    promoted/NAME/          promoted models, kept whatever is made anew in their round
    current.json            which of them is current, and what was before (for rollback)

An artifact exists only when its `manifest.json` does; the manifest is written last. Everything is written
atomically: into a temporary sibling, fsync, rename. A stage works in `STAGE.partial/`, where its resume points
lie too, and the folder is renamed when the artifact is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import IO, Any

from steersman import __version__, config_file, locks
from steersman import config as configs
from steersman.progress import activity
from steersman.terminal import finite
from steersman.types import Manifest

CONFIG_NAME = "steersman.toml"
MANIFEST_NAME = "manifest.json"
STAGES = ("sft", "samples", "rankings", "reward", "policy", "report")
POLICIES = {"policy": "PPO", "grpo": "GRPO", "rloo": "RLOO", "dpo": "DPO", "kto": "KTO"}
"""Artifacts that are the SFT model improved: PPO's, and the alternatives that may lie beside it or in its place.

Each has the name of its method; in small letters that is the verb that makes it.
"""
ARTIFACTS = (*STAGES[:-1], *(name for name in POLICIES if name not in STAGES), STAGES[-1])
"""All that a round may hold, in the order of the loop."""
FINGERPRINT, POINTS = ".fingerprint", ".resume-*.safetensors"
"""Of an unfinished run: what it is made from, and its resume points (`models.stage_folder`), which sort by age."""
SHARDS = ".resume.json"
"""Of the resume point that several processes wrote together (`models.sharded_point`)."""
TORN = (".*.tmp", ".tmp*")
"""What a kill leaves of a file: ours, and safetensors'."""
CURRENT = "current.json"
WORDS = (".jsonl", ".html")
"""Endings of files that hold what people wrote or were told."""
BLOCK = 1 << 22
private: ContextVar[bool] = ContextVar("private", default=True)
"""Whether files with people's words are for their owner alone (`project.private`)."""


def now() -> str:
    """UTC time as ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def fsync_dir(path: Path) -> None:
    """Put the names in a folder on the disk. Windows opens no folders and needs none of this."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def umask() -> int:
    """What the process takes from the permissions of new files."""
    mask = os.umask(0o077)  # it can only be read by setting it; what another thread makes meanwhile is private
    os.umask(mask)
    return mask


def mode_of(path: Path, words: bool) -> int:
    """Permissions of a new file: those that the umask leaves, and for people's words the owner's alone."""
    return (0o600 if private.get() and (words or path.suffix in WORDS) else 0o666) & ~umask()


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", words: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary sibling of `path`; on success fsync and rename it, on any error remove it.

    `words`: people's are in it, whatever the file is called (see `private`).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with open(
                temporary, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "\n"
            ) as file:
                temporary.chmod(mode_of(path, words))
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """A full or read-only disk in here is said of `path`: a write that fails does not name its file.

    safetensors hides the errno in its text.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except Exception as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from None
        raise


def write_json(path: Path, value: Any, words: bool = False) -> None:
    """NaN and infinity become null: JSON has neither, and other readers would refuse the file."""
    with atomic_write(path, words=words) as file:
        json.dump(finite(value), file, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")


def read_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON object out of a file of ours. Raises ValueError that names the file, and that it should be `what`."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: not {what}: nested too deeply") from None
    except ValueError as error:  # of JSON, of UTF-8, of an integer of thousands of digits
        raise ValueError(f"{path}: not {what}: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: not {what}: expected an object, found {type(raw).__name__}")
    return raw


def file_sha256(path: Path) -> str:
    total, done = hashlib.sha256(), 0
    with open(path, "rb") as file, activity(f"reading {path.name}", path.stat().st_size >> 20, "MiB") as shown:
        while block := file.read(BLOCK):
            total.update(block)
            done += len(block)
            shown.done = done >> 20
    return total.hexdigest()


def hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


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
    """Raises ValueError where the artifact is missing or its manifest is not one."""
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


def is_inside(name: str) -> bool:
    """Whether a relative path stays below where it begins."""
    path = PurePosixPath(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


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
    """What an artifact *is*: a hash of its stage, config, inputs and files (not of when it was made)."""
    return hash_json([manifest.stage, manifest.config, manifest.inputs, manifest.files])


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where the file system has none. Artifacts are replaced, never changed in place."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def finish(partial: Path, final: Path) -> None:
    """Rename a finished `STAGE.partial` to `STAGE`, replacing a stale one."""
    stale = final.with_name(f"{final.name}.stale")
    shutil.rmtree(stale, ignore_errors=True)
    if final.exists():
        final.replace(stale)
    partial.replace(final)
    fsync_dir(final.parent)


def sweep(final: Path) -> None:
    """Remove what a finished stage needed while it ran, and the artifact that it replaced.

    Done after the renaming, and again by who finds the artifact: a kill in between leaves nothing behind for good.
    """
    for pattern in (FINGERPRINT, POINTS, ".best.*", ".*.sha256", *TORN):
        for path in final.rglob(pattern):
            path.unlink(missing_ok=True)
    shutil.rmtree(final.with_name(f"{final.name}.stale"), ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Paths of one workspace, its configuration, and which model is promoted."""

    root: Path
    config: configs.Config
    pinned: int = dataclasses.field(default=0, kw_only=True)
    """The round to work in, whatever is opened meanwhile; 0: the last one."""

    @staticmethod
    def create(root: Path, config: configs.Config) -> Workspace:
        if (root / CONFIG_NAME).exists():
            raise ValueError(f"{root / CONFIG_NAME} exists already; this folder is a workspace")
        config_file.check_trust(config, str(root / CONFIG_NAME))
        (root / "data").mkdir(parents=True, exist_ok=True)
        (root / "rounds").mkdir(exist_ok=True)
        with atomic_write(root / CONFIG_NAME) as file:
            file.write(config_file.to_toml(config))
        return Workspace(root, config)

    @staticmethod
    def open(root: Path | None = None, settings: tuple[str, ...] = ()) -> Workspace:
        """The workspace at `root`, or the nearest one at or above the current folder."""
        if root is not None:
            if not (root / CONFIG_NAME).is_file():
                raise ValueError(f"{root}: no {CONFIG_NAME} there; make one with: steersman init {root}")
            found = root
        else:
            here = Path.cwd()
            places = [p for p in (here, *here.parents) if (p / CONFIG_NAME).is_file()]
            if not places:
                raise ValueError(f"{here}: no {CONFIG_NAME} here or above; make a workspace with: steersman init DIR")
            found = places[0]
        config = config_file.with_overrides(config_file.load(found / CONFIG_NAME), settings)
        private.set(config.project.private)
        return Workspace(found, config)

    def pin(self) -> Workspace:
        """The same, staying in the round of now when `steersman next` opens another beside it."""
        return dataclasses.replace(self, pinned=self.round)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store_path(self) -> Path:
        return self.root / "store.db"

    def rounds(self) -> list[int]:
        folder = self.root / "rounds"
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []

    @property
    def round(self) -> int:
        """The round that stages work in: the last one, or 1."""
        return self.pinned or (self.rounds() or [1])[-1]

    def stage_dir(self, stage: str, round_: int | None = None) -> Path:
        assert stage in ARTIFACTS, stage
        return self.root / "rounds" / f"{round_ or self.round:03d}" / stage

    def partial_dir(self, stage: str) -> Path:
        final = self.stage_dir(stage)
        return final.with_name(f"{stage}.partial")

    def next_round(self) -> int:
        """Open the next round; stages then work in it. Returns its number."""
        with locks.brief(self.root / "rounds"):
            number = self.round + 1
            (self.root / "rounds" / f"{number:03d}").mkdir(parents=True)
        return number

    def has(self, stage: str, round_: int | None = None) -> bool:
        return (self.stage_dir(stage, round_) / MANIFEST_NAME).is_file()

    def history(self) -> list[dict[str, Any]]:
        """Promotions, oldest first; the last is current. Each: {round, stage, path, identity, time}.

        Raises ValueError where current.json is damaged, or names a folder outside the workspace.
        """
        path = self.root / CURRENT
        if not path.is_file():
            if path.exists() or path.is_symlink():
                raise ValueError(f"{path}: not a file; move it away, restore it, or promote again")
            return []
        try:
            promoted: Any = read_object(path, "a list of promotions").get("promoted")
        except ValueError as error:
            raise ValueError(f"{error}; restore it or promote again") from None
        kinds = {"round": int, "stage": str, "path": str, "identity": str, "time": str}
        for number, entry in enumerate(promoted if isinstance(promoted, list) else [None]):
            good = isinstance(entry, dict) and all(type(entry.get(name)) is kind for name, kind in kinds.items())
            if not good or not is_inside(entry["path"]) or not 0 < entry["round"] < 10**6:
                raise ValueError(
                    f"{path}: expected an object with a list 'promoted' of round, stage, path (inside the workspace), "
                    f"identity and time; entry {number} is {json.dumps(entry)[:200]}; restore it or promote again"
                )
        return list(promoted)

    def current(self) -> Path | None:
        """Folder of the promoted model, or None before the first promotion."""
        history = self.history()
        return self.root / history[-1]["path"] if history else None

    def promote(self, stage: str, round_: int) -> dict[str, Any]:
        """Make `rounds/ROUND/STAGE` the current model, after checking that it is whole.

        Its files are linked (or copied, where links are not possible) into `promoted/`, so that making the stage
        anew neither changes what is served nor what a rollback brings back.
        """
        folder = self.stage_dir(stage, round_)
        mark = identity(verify(folder))
        kept = self.root / "promoted" / f"{round_:03d}-{stage}-{mark[:8]}"
        if not (kept / MANIFEST_NAME).is_file():
            temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(folder, temporary, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
            if identity(verify(temporary)) != mark:
                shutil.rmtree(temporary)
                raise ValueError(f"{folder}: was made anew while it was being promoted; promote again")
            temporary.replace(kept)
            fsync_dir(kept.parent)
        entry = {
            "round": round_,
            "stage": stage,
            "path": str(kept.relative_to(self.root)),
            "identity": mark,
            "time": now(),
        }
        with locks.brief(self.root / CURRENT):
            write_json(self.root / CURRENT, {"promoted": [*self.history(), entry]})
        return entry

    def rollback(self) -> dict[str, Any]:
        """Make the previously promoted model current again; returns its entry."""
        with locks.brief(self.root / CURRENT):
            history = self.history()
            if len(history) < 2:
                raise ValueError(
                    f"{self.root / CURRENT}: nothing to roll back to; {len(history)} model(s) were promoted"
                )
            verify(self.root / history[-2]["path"])
            write_json(self.root / CURRENT, {"promoted": history[:-1]})
        return dict(history[-2])
