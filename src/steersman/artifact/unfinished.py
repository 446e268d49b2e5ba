"""Work that is not finished, or no longer whole: what it was made from, and putting it aside.

The working folder of a stage, `STAGE.partial`, says in `.fingerprint` which settings and inputs it belongs to. A stage
of others does not go on in it, and does not throw it away unasked either. An artifact that is no longer what its
manifest says is put aside as `STAGE.damaged-N`, so that it can be made again.
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
from steersman.config import NO_MATTER

# A context: asked for once with the command, it holds for every stage that the command makes and for no other.
fresh: ContextVar[bool] = ContextVar("fresh", default=False)
"""True: unfinished work is thrown away (--fresh)."""


BESIDE = {"seed": "project"} | dict.fromkeys(("dtype", "quantize", "template", "thinking"), "model")
"""Settings of other sections that stages record beside their own."""


def _mark(stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    # what a stage saves when, and how long it trains, must not make its result another one
    return hash_json([stage, {k: v for k, v in config.items() if k not in NO_MATTER}, dict(inputs)])


def sign(partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Write what the working folder belongs to."""
    mark = _mark(stage, config, inputs)
    write_json(partial / FINGERPRINT, {"mark": mark, "config": dict(config), "inputs": dict(inputs)})


def has_work(partial: Path) -> bool:
    """Whether anything lies there that somebody would miss: a resume point, or answers."""
    return any(True for pattern in (POINTS, SHARDS, ".*.sha256") for _ in partial.rglob(pattern))


def differences(
    partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], section: str = ""
) -> list[str]:
    """What the working folder's settings and inputs have otherwise than these; [] where it can be gone on in.

    `section` of the configuration is what settings are told by; the stage's name where it is not given.
    """
    names = [stage, *(old for old, new in RENAMED.items() if new == stage)]
    try:
        text = (partial / FINGERPRINT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ["what it was made from is not recorded"]
    if text in [_mark(name, config, inputs) for name in names]:  # written by an earlier version
        return []
    try:
        known = json.loads(text)
        old, parts = dict(known["config"]), renamed_keys(known["inputs"])
        if known["mark"] not in [_mark(name, old, known["inputs"]) for name in names]:
            return ["it is of another stage"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ["other settings or inputs"]
    now = json.loads(json.dumps(dict(config)))
    keys = [key for key in {**old, **now} if key not in NO_MATTER and old.get(key) != now.get(key)]
    places = {key: BESIDE.get(key, section or stage) for key in keys}
    out = [f"{places[key]}.{key} was {_short(old.get(key))}, now {_short(now.get(key))}" for key in keys]
    for name in {**parts, **inputs}:
        if parts.get(name) != inputs.get(name):
            what = "is gone" if name not in inputs else "is new" if name not in parts else "has changed"
            out.append(f"input {name} {what}")
    return out


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "not there"
    return text if len(text) <= 60 else f"{text[:57]}..."


def clear_for(
    partial: Path, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], section: str = ""
) -> str:
    """Make sure that a stage of these settings and inputs may begin or go on in `partial`.

    Returns what is to be said, or ''. What lies there is removed with `fresh`, and where it is of others and nobody
    would miss it; work of others is a ValueError that names what differs.
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
    (partial / FINGERPRINT).unlink(missing_ok=True)  # first: what a kill leaves of the rest is nobody's
    shutil.rmtree(partial)
    return f"{partial}: threw away an unfinished run{differs}" if had else ""


def lies_there(path: Path) -> bool:
    """Whether there is anything of this name, a link to nowhere included."""
    return path.exists() or path.is_symlink()


def put_aside(path: Path) -> Path:
    """Rename what is damaged to NAME.damaged-N, the first N that is free; returns the new place."""
    number = 1
    while lies_there(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.rename(aside)
    return aside


def set_aside(path: Path) -> list[Path]:
    """What `put_aside` has put aside of `path`."""
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))
