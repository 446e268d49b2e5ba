"""Unfinished or damaged work: the settings and inputs it belongs to, and moving it aside.

The working folder of a stage, `STAGE.partial`, says in `.fingerprint` which settings and inputs it belongs to. A stage
with other settings or inputs neither continues in it nor deletes it unasked. An artifact that does not match its
manifest is renamed to `STAGE.damaged-N`, so that it can be made again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from steersman.artifact.files import hash_json, write_json
from steersman.artifact.manifest import FINGERPRINT, POINTS, SHARDS
from steersman.artifact.workspace import RENAMED, renamed_keys
from steersman.config import NO_MATTER as SAVING
from steersman.config import Config, before, of_stage

# A context variable: set once by the command, it holds for all stages that the command makes and no others.
fresh: ContextVar[bool] = ContextVar("fresh", default=False)
"""True: unfinished work is thrown away (--fresh)."""


NO_MATTER = (*SAVING, "stop_after")
"""Settings that a run may go on with changed."""
BESIDE = {"seed": "project"} | dict.fromkeys(("dtype", "quantize", "template", "thinking"), "model")
"""Settings of other sections that stages record beside their own."""


def _mark(stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    # settings of saving and of training length, which do not change the result up to a step
    return hash_json([stage, {k: v for k, v in config.items() if k not in NO_MATTER}, dict(inputs)])


def _came_later(section: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings among these that older runs did not know -> what those did."""
    known = before(of_stage(Config(), section)) if hasattr(Config(), section) else {}
    return {key: value for key, value in known.items() if key in config}


def sign(partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Record the settings and inputs that the working folder belongs to."""
    mark = _mark(stage, config, inputs)
    write_json(partial / FINGERPRINT, {"mark": mark, "config": dict(config), "inputs": dict(inputs)})


def has_work(partial: Path) -> bool:
    """Whether the folder contains work worth keeping: a resume point, or answers."""
    return any(True for pattern in (POINTS, SHARDS, ".*.sha256") for _ in partial.rglob(pattern))


def differences(
    partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], section: str = ""
) -> list[str]:
    """Differences of the working folder's settings and inputs from these; [] where the stage can continue in it.

    `section` of the configuration is named in the differences; by default the stage's name.
    """
    names = [stage, *(old for old, new in RENAMED.items() if new == stage)]
    try:
        text = (partial / FINGERPRINT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ["what it was made from is not recorded"]
    later = _came_later(section or stage, config)
    if text in [_mark(name, config, inputs) for name in names]:  # written by an earlier version, as a bare hash
        return []
    if text in [_mark(name, {k: v for k, v in config.items() if k not in later}, inputs) for name in names]:
        return _changed(later, {key: config[key] for key in later}, section or stage)
    try:
        known = json.loads(text)
        old, parts = dict(known["config"]), renamed_keys(known["inputs"])
        if known["mark"] not in [_mark(name, old, known["inputs"]) for name in names]:
            return ["it is of another stage"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ["other settings or inputs"]
    out = _changed({**later, **old}, json.loads(json.dumps(dict(config))), section or stage)
    for name in {**parts, **inputs}:
        if parts.get(name) != inputs.get(name):
            what = "is gone" if name not in inputs else "is new" if name not in parts else "has changed"
            out.append(f"input {name} {what}")
    return out


def _changed(old: Mapping[str, Any], now: Mapping[str, Any], section: str) -> list[str]:
    """The settings that differ, with both values."""
    keys = [key for key in {**old, **now} if key not in NO_MATTER and old.get(key) != now.get(key)]
    places = {key: BESIDE.get(key, section) for key in keys}
    return [f"{places[key]}.{key} was {_short(old.get(key))}, now {_short(now.get(key))}" for key in keys]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "not there"
    return text if len(text) <= 60 else f"{text[:57]}..."


def clear_for(
    partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], section: str = ""
) -> str:
    """Ensure that a stage with these settings and inputs may begin or continue in `partial`.

    Returns a note for the user, or ''. The folder's content is removed with `fresh`, or if it belongs to others and
    contains no work; other settings' work is a ValueError that names the differences.
    """
    found = differences(partial, stage, config, inputs, section) if partial.is_dir() else []
    if not partial.is_dir() or not (found or fresh.get()):
        return ""
    had, differs = has_work(partial), f" with other settings or inputs ({'; '.join(found)})" if found else ""
    if had and not fresh.get():
        raise ValueError(
            f"{partial}: holds an unfinished run{differs}. Expected the same, to go on with it; or --fresh, to throw "
            "it away and begin anew"
        )
    (partial / FINGERPRINT).unlink(missing_ok=True)  # removed first: after a kill the rest then belongs to no run
    shutil.rmtree(partial)
    return f"{partial}: threw away an unfinished run{differs}" if had else ""


def lies_there(path: Path) -> bool:
    """Whether the path exists, broken links included."""
    return path.exists() or path.is_symlink()


def put_aside(path: Path) -> Path:
    """Rename a damaged file or folder to NAME.damaged-N, the first N that is free; returns the new place."""
    number = 1
    while lies_there(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.rename(aside)
    return aside


def set_aside(path: Path) -> list[Path]:
    """The files or folders that `put_aside` renamed from `path`."""
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))
