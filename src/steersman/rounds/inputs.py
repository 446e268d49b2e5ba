"""Where a stage's inputs come from: the round and the data of a workspace, or files and folders that options name.

A stage lists its sources. Each source finds its input in both cases, and says which of the workspace's data it would
take now, from which status sees that an artifact is stale. Inputs have the names that `lineage` compares.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from steersman.artifact.files import hash_json
from steersman.artifact.manifest import identity, read_manifest, tree_hashes, verify
from steersman.artifact.workspace import Workspace
from steersman.config import Config
from steersman.data.kinds import JUDGED
from steersman.plugins import digest, load
from steersman.progress import activity
from steersman.progress import note as say
from steersman.rounds.given_files import Files, hashes
from steersman.rounds.opened import opened
from steersman.types import Conversation, Ranking


@dataclass(frozen=True)
class Option:
    """The option that names an input where there is no workspace."""

    flag: str
    help: str
    holds: Literal["files", "text", "texts"] = "files"
    needed: bool = False
    instead: tuple[str, ...] = ()
    """Flags that make this option unnecessary."""

    @property
    def key(self) -> str:
        return self.flag.removeprefix("--")

    def unless(self, other: Option) -> Option:
        """The same option, not needed where `other` is given."""
        return dataclasses.replace(self, instead=(other.key,))


@dataclass(frozen=True)
class Given:
    """The option values of a stage without a workspace, and the reader of their files."""

    files: Files
    options: Mapping[str, Any]

    def paths(self, option: Option | None) -> list[Path]:
        return list(self.options.get(option.key) or ()) if option else []

    def text(self, option: Option | None) -> str:
        return str(self.options.get(option.key) or "") if option else ""


@dataclass(frozen=True)
class Found:
    """An input that was found: its hash for the manifest, and its value, read when the stage begins."""

    hashes: Mapping[str, str]
    read: Callable[[], Any]
    version: str = ""
    """For a model: the policy version stamped on its answers"""


@dataclass(frozen=True)
class Source(ABC):
    """One input of a stage, and the option that names it where there is no workspace."""

    name: str
    option: Option | None
    compares: ClassVar[bool] = False
    """Whether the source takes every improved model of the round."""

    @abstractmethod
    def of_round(self, space: Workspace) -> Found: ...

    @abstractmethod
    def of_files(self, given: Given) -> Found: ...

    def changes(self, space: Workspace, recorded: Mapping[str, str]) -> list[str]:
        """Differences between its present inputs and those `recorded`, in words such as 'data:shop is new'."""
        return []


def need(space: Workspace, name: str) -> Path:
    """Folder of a finished and whole stage of this round."""
    from steersman.rounds.registry import get

    stage = get(name)
    folder = space.stage_dir(stage.name)
    if not space.has(stage.name):
        raise ValueError(f"{folder}: not there yet; make it with: steersman {stage.verb}")
    try:
        verify(folder)
    except ValueError as error:
        raise ValueError(f"{error}; to make it again: steersman {stage.verb} (what is there is put aside)") from None
    return folder


def resolved(model: str) -> Path:
    """A model's folder: the one of that path, else a pretrained one of the workspace around, else as `model.base` is
    found."""
    from steersman.weights.resolve import resolve

    return resolve(_around(model), say=say)


def _around(model: str) -> str:
    if not model or Path(model).exists():
        return model
    try:
        return Workspace(Workspace.find(None), Config()).named(model)
    except ValueError:
        return model


def base_model(space: Workspace) -> Path:
    return resolved(space.named(space.config.model.base))


def model_hash(folder: Path) -> str:
    return hash_json(tree_hashes(folder))


def artifact_hash(space: Workspace, name: str) -> str:
    return identity(read_manifest(space.stage_dir(name)))


@dataclass(frozen=True)
class Model(Source):
    """A model: 'base', or a stage's artifact of the round."""

    artifact: str | Callable[[Config], str] = ""
    """Name of the artifact; '': the same as the input's name."""
    watched: bool = False
    """Whether to print a note where the artifact is stale."""

    def of_round(self, space: Workspace) -> Found:
        from steersman.rounds.lineage import changed_since
        from steersman.rounds.registry import get

        wanted = self.artifact(space.config) if callable(self.artifact) else self.artifact or self.name
        if wanted == "base":
            folder = base_model(space)
            return Found({"base": model_hash(folder)}, lambda: folder, f"{space.round:03d}/base")
        stage = get(wanted)
        made = need(space, stage.name)
        if self.watched and (changed := changed_since(space, stage.name)):
            say(f"caution: the {stage.title} is stale ({changed} changed); make it again: steersman {stage.verb}")
        return Found({stage.name: artifact_hash(space, stage.name)}, lambda: made, f"{space.round:03d}/{stage.name}")

    def of_files(self, given: Given) -> Found:
        folder = resolved(given.text(self.option))
        return Found({self.name: model_hash(folder)}, lambda: folder, folder.name)


@dataclass(frozen=True)
class Beginning(Model):
    """The model that a round starts from: the base model, or as `steersman round` says the promoted one."""

    def of_round(self, space: Workspace) -> Found:
        began = opened(space)
        if began is None or began.start is None:
            return super().of_round(space)
        folder = space.root / began.start["path"]
        verify(folder)
        return Found({self.name: model_hash(folder)}, lambda: folder)


def gathered(space: Workspace) -> Path | None:
    """Folder of the training data of a round of `steersman round`; None in a round that was opened by hand."""
    from steersman.rounds.gather import GATHERED

    return space.stage_dir(GATHERED) if space.has(GATHERED) else None


def of_gathered(space: Workspace, *read: Callable[[Path], list[Any]]) -> Found | None:
    """The round's gathered records that the functions read; None in a round that was opened by hand."""
    if (folder := gathered(space)) is None:
        return None
    return Found({folder.name: identity(verify(folder))}, lambda: [record for of in read for record in of(folder)])


@dataclass(frozen=True)
class Dialogues(Source):
    """Demonstrations or prompts: data sets of that kind, split and purpose."""

    kind: str
    split: str
    purpose: str | None = None
    demanded: str = ""
    """The error message's name for missing data; '' where the stage can do without."""
    otherwise: str = ""
    """The split to use where the first has no data."""
    used: Callable[[Config], bool] = lambda _config: True

    def paths(self, space: Workspace) -> list[Path]:
        from steersman.data.dataset import find

        if not self.used(space.config):
            return []
        found = find(space, self.kind, self.split, self.purpose)
        return found or (find(space, self.kind, self.otherwise, self.purpose) if self.otherwise else [])

    def of_round(self, space: Workspace) -> Found:
        from steersman.rounds.gather import demonstrations

        mine = self.kind == "demonstrations" and self.split == "train" and self.used(space.config)
        if mine and (found := of_gathered(space, demonstrations)):
            return found
        paths = self.paths(space)
        if self.demanded and not paths:
            expected = f"expected some: steersman data import {self._such(space)}"
            raise ValueError(f"{space.data}: no {self.demanded}; {expected}")
        inputs = data_hashes(paths)
        return Found(inputs, lambda: read_dialogues(paths, self.kind, space.config.data.max_line_mb, inputs))

    def _such(self, space: Workspace) -> str:
        """What to import: of prompts the questions of dialogues in the same split, where there are some."""
        from steersman.data.dataset import find

        asked = find(space, "demonstrations", self.split) if self.kind == "prompts" else []
        if not asked:
            return "FILE (or: data import shop)" if space.config.project.domain == "shop" else "FILE"
        name = asked[0].relative_to(space.root)
        how = f"{name} --kind prompts --split {self.split} --name {asked[0].stem}-prompts"
        return f"FILE (or, for the questions of {asked[0].stem}: data import {how})"

    def of_files(self, given: Given) -> Found:
        paths = given.paths(self.option)
        return Found(hashes(paths), lambda: given.files.dialogues(paths, self.kind))

    def changes(self, space: Workspace, recorded: Mapping[str, str]) -> list[str]:
        if self.kind == "demonstrations" and self.split == "train" and gathered(space):
            return []
        return new_data(self.paths(space), recorded)


def data_hashes(paths: list[Path]) -> dict[str, str]:
    """Data sets and their content hashes, as inputs."""
    from steersman.data.dataset import read_info

    return {f"data:{(info := read_info(path)).name}": info.sha256 for path in paths}


def new_data(paths: list[Path], recorded: Mapping[str, str]) -> list[str]:
    return [f"{name} is new" for path in paths if (name := f"data:{path.stem}") not in recorded]


def read_dialogues(paths: list[Path], kind: str, limit_mb: float, inputs: Mapping[str, str]) -> list[Conversation]:
    """The records of data sets. ValueError where a data set no longer has the hash in `inputs`."""
    from steersman.data.dataset import load_conversations, read_info

    with activity("reading the data"):
        out = [c for path in paths for c in load_conversations(path, kind, limit_mb)]
    for path in paths:
        if read_info(path).sha256 != inputs[f"data:{path.stem}"]:
            raise ValueError(f"{path}: was replaced while it was read; run the same command again")
    return out


@dataclass(frozen=True)
class Rankings(Source):
    """Rankings of this round (exported from the store), of earlier ones and imported ones."""

    instead: Callable[[Workspace], bool] = lambda _space: False
    """Whether the stage can do without rankings, having other data to learn from."""
    labelled: bool = False
    """Whether files may instead contain single answers labelled good or bad."""

    def of_round(self, space: Workspace) -> Found:
        from steersman.data.dataset import find, load_rankings
        from steersman.rounds.export import RANKINGS_FILE, export_rankings, has_rankings
        from steersman.rounds.gather import comparisons, labels

        if found := of_gathered(space, comparisons, labels):
            return found
        paths = find(space, "rankings", "train")
        inputs = data_hashes(paths)
        if has_rankings(space):
            manifest, folder = export_rankings(space, space.round)
            paths = [folder / RANKINGS_FILE, *paths]
            inputs["rankings"] = identity(manifest)
        for earlier in [r for r in space.rounds() if r < space.round and space.has("rankings", r)]:
            folder = space.stage_dir("rankings", earlier)
            paths.append(folder / RANKINGS_FILE)
            inputs[f"{earlier:03d}/rankings"] = identity(verify(folder))
        if not paths and not self.instead(space):
            project = space.config.project
            judged = project.domain != "none" or project.judge
            judge = "let the rule judge do it (steersman rank --simulated) " if judged else ""
            raise ValueError(
                f"{space.root}: no rankings; rank in the terminal (steersman rank), on the page (steersman serve), "
                f"{judge}or import some (steersman data import FILE)"
            )
        records = [r for path in paths for r in load_rankings(path, space.config.data.max_line_mb, tell=say)]
        return Found(inputs, lambda: records)

    def of_files(self, given: Given) -> Found:
        paths = given.paths(self.option)

        def read() -> list[Ranking]:
            return given.files.judged(paths, JUDGED) if self.labelled else given.files.rankings(paths)

        return Found(hashes(paths), read)

    def changes(self, space: Workspace, recorded: Mapping[str, str]) -> list[str]:
        from steersman.data.dataset import find

        if gathered(space):
            return []
        out = new_data(find(space, "rankings", "train"), recorded)
        return [*out, "rankings is new"] if space.has("rankings") and "rankings" not in recorded else out


@dataclass(frozen=True)
class Feedback(Source):
    """Feedback from chats: edited answers, and for a stage that takes labels also likes and dislikes."""

    labelled: bool = False

    def of_round(self, space: Workspace) -> Found:
        from steersman.rounds.export import feedback_for, feedback_identity, imported_feedback

        if gathered(space):  # among the rankings
            return Found({}, list)
        imported = self._imported(space)
        inputs, said = data_hashes(imported), feedback_for(space, self.labelled)
        if said:
            inputs["feedback"] = feedback_identity(said)
        return Found(inputs, lambda: said + (imported_feedback(space) if imported else []))

    def of_files(self, given: Given) -> Found:
        paths = given.paths(self.option)
        return Found(hashes(paths), lambda: given.files.judged(paths, "feedback"))

    def exists(self, space: Workspace) -> bool:
        from steersman.rounds.export import feedback_for

        return bool(self._imported(space) or feedback_for(space, self.labelled))

    def changes(self, space: Workspace, recorded: Mapping[str, str]) -> list[str]:
        from steersman.rounds.export import feedback_for, feedback_identity

        if gathered(space):
            return []
        out = new_data(self._imported(space), recorded)
        now, before = feedback_for(space, self.labelled), recorded.get("feedback")
        if before is None or not now:
            return out if before is None and not now else [*out, f"feedback is {'new' if now else 'gone'}"]
        return out if before == feedback_identity(now) else [*out, "feedback"]

    def _imported(self, space: Workspace) -> list[Path]:
        from steersman.data.dataset import find

        return find(space, "feedback", "train") if self.labelled else []


class Named(Source):
    """What the settings alone name; its hashes are in `_found`."""

    def of_round(self, space: Workspace) -> Found:
        return self._found(space.config, space.root)

    def of_files(self, given: Given) -> Found:
        return self._found(given.files.config, None)

    def changes(self, space: Workspace, recorded: Mapping[str, str]) -> list[str]:
        return [f"{name} is new" for name in self._found(space.config, space.root).hashes if name not in recorded]

    @abstractmethod
    def _found(self, config: Config, root: Path | None) -> Found: ...


@dataclass(frozen=True)
class Functions(Named):
    """Users' functions that the settings name, by (group, name): an artifact depends on their code."""

    of: Callable[[Config], list[tuple[str, str]]]

    def _found(self, config: Config, root: Path | None) -> Found:
        named = {function_input(group, name): digest(name, group, root) for group, name in self.of(config)}
        # a missing function ends the stage before other processes have started
        return Found(named, lambda: [load(name, group, "settings") for group, name in self.of(config)])


def function_input(group: str, name: str) -> str:
    """The input's name, such as 'judges mycompany.judging:judge'."""
    return f"{group} {name}"
