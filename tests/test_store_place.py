"""Where a workspace's store is: beside its settings, in a file or database that they or the environment name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config import Config, StoreConfig
from steersman.store import Store


@pytest.mark.parametrize("root", [Path("w"), Path("a/w"), Path("/srv/w")])
@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ("", "", "{root}/store.db"),
        ("said.db", "", "{root}/said.db"),
        ("/data/said.db", "", "/data/said.db"),
        ("said.db", "other.db", "{root}/other.db"),
        ("said.db", "postgresql://a:b@host/c", "postgresql://a:b@host/c"),
    ],
)
def test_the_store_is_where_it_is_said_to_be(
    root: Path, setting: str, environment: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEERSMAN_STORE", environment)
    space = Workspace(root, dataclasses.replace(Config(), store=StoreConfig(url=setting)))
    assert str(space.store) == expected.format(root=root)
    assert "b@" not in space.store_shown


def test_a_workspace_that_is_named_by_a_relative_path_keeps_its_store_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner, app = CliRunner(), build()
    assert runner.invoke(app, ["init", "shop"]).exit_code == 0
    with Store.open(Workspace.open(Path("shop")).store):
        pass
    assert (tmp_path / "shop/store.db").is_file()
    for verb in (["store", "check"], ["status"], ["rank", "--agreement"], ["desk", "status"], ["users", "list"]):
        done = runner.invoke(app, [*verb, "--workspace", "shop"])
        assert done.exit_code == 0, (verb, done.output)
