"""How a round of `steersman round` began: rounds/NNN/round.json, written together with the round's folder.

It names the model that training starts from, the model that was served then (which the new one must beat) and the
records that must not be learned. A round without this file was opened by hand.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman import locks
from steersman.artifact.files import fsync_dir, now, read_object, write_json
from steersman.artifact.workspace import Workspace

ROUND_FILE = "round.json"
DECISION = "decision.json"
SERVED = "served"
"""Name, in reports of such a round, of the model that was promoted when it began."""


@dataclass(frozen=True)
class Opened:
    """`start` and `served`: entries of `Workspace.history`; None is the base model, and no promoted model."""

    start: Mapping[str, Any] | None
    served: Mapping[str, Any] | None
    without: tuple[str, ...]
    time: str

    @property
    def against(self) -> str:
        """Name of the model that the round's model must beat."""
        return SERVED if self.served else "base"


def round_folder(space: Workspace, round_: int) -> Path:
    return space.root / "rounds" / f"{round_:03d}"


def opened(space: Workspace, round_: int | None = None) -> Opened | None:
    """How the round began; None where people opened it. Raises ValueError where the file is damaged."""
    path = round_folder(space, round_ or space.round) / ROUND_FILE
    if not path.is_file():
        return None
    raw = read_object(path, "how a round began")
    try:
        start, served = raw["start"], raw["served"]
        good = all(entry is None or {"round", "stage", "path"} <= set(entry) for entry in (start, served))
        found = Opened(start, served, tuple(map(str, raw["without"])), str(raw["time"]))
    except (KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(f"{path}: expected start, served, without and time; open another round: steersman next")
    return found


def decided(space: Workspace, round_: int) -> bool:
    return (round_folder(space, round_) / DECISION).is_file()


def next_number(space: Workspace) -> int:
    """The number of the round that would be opened now."""
    return (space.rounds() or [0])[-1] + 1


def open_round(
    space: Workspace, start: Mapping[str, Any] | None, served: Mapping[str, Any] | None, without: tuple[str, ...]
) -> int:
    """Open the next round, folder and file at once, so that a kill leaves both or neither. Returns its number."""
    with locks.brief(space.root / "rounds"):
        number = next_number(space)
        final = round_folder(space, number)
        partial = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_json(partial / ROUND_FILE, dataclasses.asdict(Opened(start, served, without, now())))
        partial.replace(final)
        fsync_dir(final.parent)
    return number
