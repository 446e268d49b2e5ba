"""`steersman init`: make a workspace."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from steersman import config as configs
from steersman import config_file
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import PROJECT, JsonOption, SetOption, add, emit


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make; it may exist, but must not be a workspace yet.")
    ],
    language: Annotated[
        str, typer.Option("--language", help="en, zh or both: of the page and of generated data.")
    ] = "en",
    base: Annotated[
        str, typer.Option("--base", help="Base model: a folder, a .gguf file, a hub id or a known name.")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Name of the assistant, shown on the page.")] = "",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace: a folder with steersman.toml, data and rounds."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder or a name that is free, found a file")
    config = config_file.from_dict({"project": {"language": language}}, "--language")
    if name:
        config = config_file.from_dict({"project": {"name": name}}, "--name", config)
    if base:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, base=base))
    space = Workspace.create(folder, config_file.with_overrides(config, settings or ()))
    lines = [f"made {folder / CONFIG_NAME}: every setting is in it, with its meaning", "next:"]
    lines += [
        f"  cd {folder}",
        "  steersman data import shop    # or your own file: steersman data import FILE",
        "  steersman status",
    ]
    if language == "zh" and not base:
        lines.append(
            f"note: the base {config.model.base} knows little Chinese; name another with --base or in {CONFIG_NAME}"
        )
    emit(as_json, {"workspace": str(space.root), "config": configs.to_dict(space.config)}, "\n".join(lines))


def register(app: typer.Typer) -> None:
    add(
        app,
        init,
        panel=PROJECT,
        examples=["steersman init my-assistant", "steersman init shop-zh --language zh --name 小舵 --base gemma3-270m"],
    )
