"""Where a stage's numbers go besides metrics.jsonl: TensorBoard, wandb, trackio (`project.trackers`).

wandb and trackio have the same calls (`init`, `log`, `finish`) and are imported only when they are chosen. A run is
named after the stage's folder and keeps that name when the stage is resumed.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from steersman import installed
from steersman.config import ProjectConfig


class Tracker(Protocol):
    def log(self, numbers: Mapping[str, float], step: int) -> None: ...

    def finish(self) -> None: ...


class TensorBoard:
    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / ".tensorboard"), purge_step=start)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


class Hosted:
    """A run of wandb or trackio. `folder` keeps the run's name in a hidden file, for going on after a kill."""

    def __init__(self, tool: str, project: str, folder: Path, resumed: bool) -> None:
        try:
            module: Any = importlib.import_module(tool)
        except ImportError as error:
            raise ValueError(
                f"project.trackers: {tool} cannot be imported ({error}); install it with "
                f"{installed.command(tool)}, or take it out of project.trackers"
            ) from None
        kept = folder / f".{tool}-run"
        if not (resumed and kept.is_file()):
            stage = folder.name.removesuffix(".partial")
            kept.write_text(f"{folder.parent.name}-{stage}-{uuid.uuid4().hex[:8]}", encoding="utf-8")
        name = kept.read_text(encoding="utf-8")
        options = {}
        if tool == "wandb":
            files = folder / ".wandb"
            files.mkdir(exist_ok=True)
            options = {"id": name, "dir": str(files)}
        self._run = module.init(project=project, name=name, resume="allow", **options)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def finish(self) -> None:
        self._run.finish()


def open_trackers(project: ProjectConfig, folder: Path, start: int, resumed: bool) -> list[Tracker]:
    """The project's trackers for a stage that works in `folder` and goes on at step `start`.

    Raises ValueError naming the extra to install where a tracker's package is missing.
    """
    names = [name.strip() for name in project.trackers.split(",") if name.strip()]
    return [
        TensorBoard(folder, start) if name == "tensorboard" else Hosted(name, project.name, folder, resumed)
        for name in names
    ]
