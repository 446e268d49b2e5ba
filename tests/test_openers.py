"""Questions that an empty chat offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman import config_file
from steersman.artifact.workspace import Workspace
from steersman.cli.demo import EXAMPLES, GREETING, demo_config
from steersman.data.dataset import write_dataset
from steersman.rounds.openers import openers
from steersman.types import Conversation, Message


def asked(*texts: str) -> list[Conversation]:
    return [Conversation("", (Message("system", "Facts."), Message("user", text))) for text in texts]


def workspace(root: Path, **serve: object) -> Workspace:
    return Workspace.create(root, config_file.from_dict({"serve": serve}, "test"))


def test_an_empty_workspace_offers_nothing(tmp_path: Path) -> None:
    assert openers(workspace(tmp_path / "w")) == []


def test_questions_are_the_workspaces_own(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w")
    said = ["怎么退货？", "Is the  library\nopen?", "x", "long " * 60, "怎么退货？"]
    write_dataset(space.data, "v", "prompts", "validation", asked(*said), "test", {})
    write_dataset(space.data, "t", "prompts", "train", asked("of the training set"), "test", {})
    assert sorted(openers(space)) == ["Is the library open?", "怎么退货？"]
    more = [f"question {i}?" for i in range(50)]
    write_dataset(space.data, "v", "prompts", "validation", asked(*more), "test", {}, replace=True)
    chosen = openers(space)
    assert len(chosen) == 4
    assert set(chosen) <= set(more)
    assert openers(space) == chosen


def test_a_setting_comes_first(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w", examples=["Ask me"], greeting="Hello\nthere")
    assert openers(space) == ["Ask me"]
    again = Workspace.open(tmp_path / "w")
    assert (again.config.serve.examples, again.config.serve.greeting) == (["Ask me"], "Hello\nthere")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_demo_says_whose_customer_the_visitor_is(language: str, tmp_path: Path) -> None:
    Workspace.create(tmp_path / "demo", demo_config(language))
    serve = Workspace.open(tmp_path / "demo").config.serve
    assert (serve.greeting, serve.examples) == (GREETING[language], EXAMPLES[language])
    assert ("Mona Reed" if language == "en" else "林晓") in serve.greeting.partition("\n")[0]
