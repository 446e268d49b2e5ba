"""The workspace: a folder the user owns, and its layout.

    steersman.toml          configuration
    data/NAME.jsonl         imported data, immutable, with NAME.manifest.json beside it
    store.db                people's rankings and feedback (by the store alone), or a database by URL
    rounds/001/STAGE/       artifacts, one folder a stage (`steersman.rounds` lists the stages)
    promoted/NAME/          promoted models, kept whatever is made anew in their round
    current.json            which of them is current, and what was before (for rollback)

An artifact exists only when its `manifest.json` does; the manifest is written last. Everything is written
atomically: into a temporary sibling, fsync, rename. A stage works in `STAGE.partial/`, where its resume points
lie too, and the folder is renamed when the artifact is whole.

Why so: decision 5 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from steersman import config as configs
from steersman import config_file, locks, plugins
from steersman.artifact.files import atomic_write, fsync_dir, is_inside, now, private, read_object, write_json
from steersman.artifact.manifest import MANIFEST_NAME, identity, verify

CONFIG_NAME = "steersman.toml"
CURRENT = "current.json"
STORE_VARIABLE = "STEERSMAN_STORE"
"""Environment variable that names another database than the workspace's settings."""
RENAMED = {"policy": "ppo"}
"""Earlier names of artifacts, found in old workspaces (docs/ARCHITECTURE.md) -> present names."""
ROUND = re.compile("(?!0+$)([0-9]{3}|[1-9][0-9]{3,5})")
"""A round's folder."""
NAME = re.compile(r"[a-z][a-z0-9_]*")


def renamed(name: str) -> str:
    """The present name of an artifact such as 'policy' or '001/policy'; any other name unchanged."""
    round_, slash, artifact = name.rpartition("/")
    return f"{round_}{slash}{RENAMED.get(artifact, artifact)}"


def renamed_keys(inputs: Mapping[str, str]) -> dict[str, str]:
    """A manifest's inputs under present names."""
    return {renamed(name): value for name, value in inputs.items()}


def link(source: str, target: str) -> None:
    """A hard link, or a copy where the file system has none. Artifacts are replaced, never changed in place."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _is_whole(folder: Path, mark: str) -> bool:
    try:
        return identity(verify(folder)) == mark
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Paths of one workspace, its configuration, and which model is promoted."""

    root: Path
    config: configs.Config
    pinned: int = dataclasses.field(default=0, kw_only=True)
    """The round to work in, even if later ones are opened; 0: the last one."""

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
    def open(
        root: Path | None = None, settings: tuple[str, ...] = (), tell: Callable[[str], None] | None = None
    ) -> Workspace:
        """The workspace at `root`, or the nearest one at or above the current folder.

        `tell` receives a note if the settings file is of the old form.
        """
        found = Workspace.find(root)
        written = config_file.load(found / CONFIG_NAME, tell)
        plugins.check_trust(written, found, str(found / CONFIG_NAME))
        config = config_file.with_overrides(written, settings)
        plugins.admit_named(plugins.named(config).values(), found)
        private.set(config.project.private)
        return Workspace(found, config)

    @staticmethod
    def find(root: Path | None) -> Path:
        """Folder of the workspace at `root`, or of the nearest one at or above the current folder."""
        if root is not None:
            if not (root / CONFIG_NAME).is_file():
                raise ValueError(f"{root}: no {CONFIG_NAME} there; make one with: steersman init {root}")
            return root
        here = Path.cwd()
        places = [p for p in (here, *here.parents) if (p / CONFIG_NAME).is_file()]
        if not places:
            raise ValueError(f"{here}: no {CONFIG_NAME} here or above; make a workspace with: steersman init DIR")
        return places[0]

    def pin(self) -> Workspace:
        """The same workspace fixed to the current round, even if `steersman next` opens another."""
        return dataclasses.replace(self, pinned=self.round)

    def named(self, model: str) -> str:
        """The folder of a pretrained model of the workspace, or the name as it is: another model's."""
        own = self.root / "models" / model
        return str(own) if model and not Path(model).is_absolute() and (own / "config.json").is_file() else model

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store_path(self) -> Path:
        return self.root / "store.db"

    @property
    def store(self) -> str | Path:
        """The database of people's words: a URL, or a file, by default store.db.

        The environment goes before the settings, so that stages that a server starts use the server's database.
        """
        chosen = os.environ.get(STORE_VARIABLE) or self.config.store.url
        if "://" in chosen:
            return chosen
        return self.root / chosen if chosen else self.store_path

    @property
    def has_store(self) -> bool:
        """Whether something may be stored; a database that is named by URL counts, it is filled when first opened."""
        return isinstance(self.store, str) or self.store.is_file()

    @property
    def store_shown(self) -> str:
        """`store` without its password."""
        return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", str(self.store))

    def rounds(self) -> list[int]:
        folder = self.root / "rounds"
        found = [p for p in folder.iterdir() if ROUND.fullmatch(p.name) and p.is_dir()] if folder.is_dir() else []
        return sorted(int(p.name) for p in found)

    def check_round(self, number: int) -> None:
        """ValueError where there is no such round."""
        if number not in (known := self.rounds()):
            there = ", ".join(map(str, known)) or "the rounds that steersman run makes; there are none yet"
            raise ValueError(f"{self.root}: no round {number}; expected one of {there}")

    @property
    def round(self) -> int:
        """The round that stages work in: the last one, or 1."""
        return self.pinned or (self.rounds() or [1])[-1]

    def stage_dir(self, stage: str, round_: int | None = None) -> Path:
        """Folder of the stage's artifact, existing or to be made; by its earlier name if an old workspace has that."""
        assert NAME.fullmatch(stage), stage
        folder = self.root / "rounds" / f"{round_ or self.round:03d}"
        for name in (stage, *(old for old, new in RENAMED.items() if new == stage)):
            if any((folder / f"{name}{suffix}").exists() for suffix in ("", ".partial")):
                return folder / name
        return folder / stage

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
        return [{**entry, "stage": renamed(entry["stage"])} for entry in promoted]

    def current(self) -> Path | None:
        """Folder of the promoted model, or None before the first promotion."""
        history = self.history()
        return self.root / history[-1]["path"] if history else None

    def promote(self, stage: str, round_: int) -> dict[str, Any]:
        """Make `rounds/ROUND/STAGE` the current model, after checking that it is whole; returns its entry.

        Its files are linked (or copied, where links are not possible) into `promoted/`, so that making the stage
        anew neither changes what is served nor what a rollback brings back.
        """
        folder = self.stage_dir(stage, round_)
        mark = identity(verify(folder))
        kept = self.root / "promoted" / f"{round_:03d}-{stage}-{mark[:8]}"
        if not _is_whole(kept, mark):
            temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(folder, temporary, copy_function=link, ignore=shutil.ignore_patterns(".*"))
            if identity(verify(temporary)) != mark:
                shutil.rmtree(temporary)
                raise ValueError(f"{folder}: was made anew while it was being promoted; promote again")
            shutil.rmtree(kept, ignore_errors=True)  # damaged since it was promoted
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
            history = self.history()
            if history and history[-1]["identity"] == mark:
                return history[-1]
            write_json(self.root / CURRENT, {"promoted": [*history, entry]})
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
