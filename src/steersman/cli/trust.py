"""`steersman trust`: let functions that a workspace's settings name run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steersman import config_file, plugins
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import PROJECT, Reads, add
from steersman.config import Config


def trust(
    call: Reads, forget: Annotated[bool, typer.Option("--forget", help="Trust none of its functions any more.")] = False
) -> None:
    """Let the Python functions named in steersman.toml run, with their code as it is now.

    A settings file may be somebody else's, so what it names runs only after this. Read the code first. What is trusted
    is kept outside of the workspace, with a hash of the code: where that changes, this is asked for again.
    """
    root = Workspace.find(call.workspace)
    config = Config() if forget else config_file.load(root / CONFIG_NAME)
    files = plugins.trust(root, config)
    lines = [f"trusted: {name} ({file})" for name, file in files.items()]
    inside = [file for file in files.values() if Path(file).resolve().is_relative_to(root.resolve())]
    if inside:
        lines.append(f"and with it the {len(plugins.code_in(root))} .py files in {root}, which it may import")
    none = "trusted: nothing any more" if forget else f"{root / CONFIG_NAME} names no module:function"
    call.emit({"workspace": str(root), "trusted": files}, "\n".join(lines) or none)


def register(app: typer.Typer) -> None:
    add(app, trust, panel=PROJECT, examples=["steersman trust", "steersman trust --forget"])
