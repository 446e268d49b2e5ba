"""What `steersman plan` said of the stages, kept until something that it rests on changes.

Planning loads transformers to read a model's config: seconds of a processor, whatever the answer. It rests on files, so
a server asks another process once and afterwards compares the files' times. Only the free memory changes all
the time; what fits into it is worked out anew at each call.

Why so: decision 115 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steersman import chosen, installed, machine
from steersman.artifact.files import hash_json, now, read_object, write_json
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.rounds import registry
from steersman.rounds.other_process import ask

NAME = ".plan.json"
"""File in the workspace; it may be deleted at any time."""
SURROUNDINGS = ("STEERSMAN_", "OMP_", "CUDA_")
"""Beginnings of the environment variables that change what computes."""
_one = threading.Lock()
"""Several people who ask at a time wait for one process."""


def planned(space: Workspace, stage: str = "") -> dict[str, Any]:
    """The answer of `steersman plan [STAGE] --json`. ValueError with the reason where it has none.

    What a stage learns from the store changes with every chat, and what a GPU has free torch alone knows: those are
    asked again each time.
    """
    if stage and not registry.by_verb(stage).in_loop:
        return ask(space, "plan", stage)
    with _one:
        kept = _kept(space.root / NAME)
        known = kept.get(stage or "loop")
        mark = _mark(space)
        if isinstance(known, dict) and known.get("mark") == mark:
            with contextlib.suppress(KeyError, TypeError, AttributeError):  # written by somebody else
                answer = known["answer"]
                if known["model"] == _times(_files(Path(answer["model"]))):
                    return _with_free(answer, machine.free_memory())
        answer = ask(space, "plan", *([stage] if stage else []))
        if answer.get("device") == "cpu":
            told = {"mark": mark, "model": _times(_files(Path(answer["model"]))), "answer": answer}
            with contextlib.suppress(OSError):  # a disk that is full or read-only keeps nothing
                write_json(space.root / NAME, {**kept, stage or "loop": told})
        return answer


def _kept(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, "a kept plan") if path.is_file() else {}
    except (OSError, ValueError):
        return {}


def _mark(space: Workspace) -> str:
    """Of everything in the workspace and around it that a plan rests on; the model's own files come with the answer.

    And of the day: the machine may have been busy when its speed was measured.
    """
    around = sorted((k, v) for k, v in os.environ.items() if k.startswith(SURROUNDINGS))
    base = space.named(space.config.model.base)
    own = _times([space.root / CONFIG_NAME, *_files(space.data)])
    return hash_json([now()[:10], installed.version("steersman"), chosen.key(), around, base, own])[:16]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _times(paths: Iterable[Path]) -> list[list[Any]]:
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a data set that is being replaced
            told = path.stat()
            found.append([path.name, told.st_size, told.st_mtime_ns])
    return found


def _with_free(answer: dict[str, Any], free: int) -> dict[str, Any]:
    """The answer as it is with so much memory free."""

    def again(stage: dict[str, Any]) -> dict[str, Any]:
        options = [{**o, "fits": answer["margin"] * o["peak_bytes"] <= free} for o in stage["options"]]
        chosen_ = next((option for option in options if option["fits"]), None)
        return {**stage, "free_bytes": free, "chosen": chosen_, "options": options}

    return {**answer, "stages": [again(stage) for stage in answer["stages"]]}
