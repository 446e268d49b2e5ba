"""Where hyper-parameter searches lie. `study` runs them, and needs Optuna."""

from __future__ import annotations

from steersman.artifact.workspace import Workspace


def search_path(space: Workspace, name: str) -> str:
    """Where a search of the round is summed up, relative to the workspace."""
    return f"search/{space.round:03d}-{name}/study.json"
