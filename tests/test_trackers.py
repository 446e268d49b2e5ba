"""Where metrics go: TensorBoard by default, wandb and trackio when they are chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steersman import config as configs
from steersman import config_file
from steersman.config import ProjectConfig
from steersman.train.log import MetricsLog, Observers, observers


@pytest.fixture
def choose() -> Iterator[Any]:
    tokens = []
    yield lambda names: tokens.append(observers.set(Observers(ProjectConfig(name="shop", trackers=names))))
    for token in reversed(tokens):
        observers.reset(token)


def write(folder: Path, start: int, stop: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with MetricsLog(folder, "step", start) as log:
        for step in range(start, stop):
            log.write(step, {"loss": 1 / step, "samples": ["text"]}, {"speed": 3.0})


@pytest.mark.parametrize("tool", ["wandb", "trackio"])
def test_a_run_keeps_its_name_when_resumed_and_gets_a_new_one_from_the_start(
    tool: str, choose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def init(**options: Any) -> Any:
        calls.append(("init", options["project"], options["name"], options["resume"]))
        return SimpleNamespace(log=lambda n, step: calls.append((step, n)), finish=lambda: calls.append("finish"))

    monkeypatch.setitem(sys.modules, tool, SimpleNamespace(init=init))
    choose(f"{tool}, tensorboard")
    folder = tmp_path / "001" / "sft.partial"
    write(folder, 1, 3)
    (_, project, name, resume), *logged = calls
    assert (project, resume) == ("shop", "allow")
    assert name.startswith("001-sft-")
    assert logged == [(1, {"loss": 1.0, "speed": 3.0}), (2, {"loss": 0.5, "speed": 3.0}), "finish"]
    assert next((folder / ".tensorboard").iterdir()).stat().st_size > 0
    assert [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": 1.0, "samples": ["text"]},
        {"step": 2, "loss": 0.5, "samples": ["text"]},
    ]
    write(folder, 2, 3)
    write(folder, 1, 2)
    names = [call[2] for call in calls if call[0] == "init"]
    assert names[1] == name
    assert names[2] != name


def test_none_is_imported_unless_chosen_and_a_missing_one_is_named(
    choose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, tool, None)  # importing it fails
    write(tmp_path / "a", 1, 2)
    choose("")
    write(tmp_path / "b", 1, 2)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["metrics.jsonl"]
    choose("tensorboard,wandb")
    with pytest.raises(
        ValueError, match=r"project.trackers: wandb cannot be imported .*pip install 'steersman\[wandb\]'"
    ):
        write(tmp_path / "c", 1, 2)


def test_the_setting_is_checked() -> None:
    config = config_file.with_overrides(configs.Config(), ["project.trackers=wandb, tensorboard"])
    assert config.project.trackers == "wandb, tensorboard"
    assert config_file.with_overrides(configs.Config(), ['project.trackers=""']).project.trackers == ""
    with pytest.raises(
        ValueError, match="expected any of tensorboard, wandb, trackio, got 'wandbb'; did you mean 'wandb'"
    ):
        config_file.with_overrides(config, ["project.trackers=tensorboard,wandbb"])


def test_wandb_offline(tmp_path: Path) -> None:
    """The real package, in a process of its own since it starts another."""
    pytest.importorskip("wandb", reason="pip install 'steersman[wandb]'")
    code = """
import sys
from pathlib import Path
from steersman.config import ProjectConfig
from steersman.train.log import MetricsLog
from steersman.train.log import Observers, observers
observers.set(Observers(ProjectConfig(name="shop", trackers="wandb")))
for start in (1, 3):
    with MetricsLog(Path(sys.argv[1]), "step", start) as log:
        log.write(start, {"loss": 1.0})
        log.write(start + 1, {"loss": 0.5})
"""
    folder = tmp_path / "sft.partial"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env={**os.environ, "WANDB_MODE": "offline"})
    kept = list((folder / ".wandb").glob("wandb/offline-run-*/run-*.wandb"))
    name = (folder / ".wandb-run").read_text()
    assert {path.stem for path in kept} == {f"run-{name}"}
