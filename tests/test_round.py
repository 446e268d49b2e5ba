"""`steersman round`: from what people said through the API to a decided, and perhaps promoted, next model."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine
from steersman import plugins
from steersman.artifact.manifest import verify
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.rounds import loop
from steersman.rounds.opened import opened
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import Completion, Conversation, Message
from tiny import conversation

runner = CliRunner()
SETTINGS: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32", "memory_check": False},
    "project": {"trackers": "tensorboard", "domain": "none", "judge": "round_judge:judge"},
    "sft": {"epochs": 2, "lr": 1e-2, "train_layers": 0, "eval_fraction": 0.0},
    "reward": {"epochs": 1, "lr": 1e-3, "holdout_fraction": 0.3, "train_layers": 0, "validator": False},
    "kto": {"lr": 1e-3, "train_layers": 0},
    "dpo": {"lr": 1e-3, "train_layers": 0, "holdout_fraction": 0.3},
    "eval": {"max_tokens": 6, "bootstrap": 100},
    "round": {"least_prompts": 10},
}


def verb(root: Path, *args: str, code: int = 0) -> Any:
    result = runner.invoke(build(), [*args, "-w", str(root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module", autouse=True)
def trusted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugins.ALLOW, "1")
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(plugins, "_admitted", [])
        yield
    sys.modules.pop("round_judge", None)


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a promoted SFT model, demonstrations it has learned, and test prompts."""
    root = tmp_path_factory.mktemp("round") / "w"
    settings = SETTINGS | {"model": {**SETTINGS["model"], "base": str(tiny)}}
    space = Workspace.create(root, from_dict(settings, "test"))
    (root / "round_judge.py").write_text(
        "def judge(prompt, answer):\n    return {'short': 1 / (1 + len(answer)), 'said': float(bool(answer))}\n"
    )
    shown = [conversation(f"Q{i}?", f"A{i}.", id=f"d{i}") for i in range(4)]
    write_dataset(space.data, "chats", "demonstrations", "train", shown, "test", {})
    asked = [conversation(f"T{i}?", id=f"t{i}") for i in range(12)]
    write_dataset(space.data, "tests", "prompts", "test", asked, "test", {})
    verb(root, "sft")
    verb(root, "promote", "--stage", "sft", "--force")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "w", copy_function=shutil.copy2)


def say(store: Store, asked: str, answer: str, parent: str | None = None) -> str:
    """A question of a new chat and the model's answer; returns the answer's id."""
    question = store.add_question(store.create_conversation().id, asked, parent)
    return store.add_answer(question.id, Completion(answer, (1,), (-0.1,), "stop", "001/sft")).id


def test_a_dislike_and_a_better_answer_become_a_decided_round(root: Path) -> None:
    """As a page would: dislike an answer, write a better one, start a round, see the data and the decision."""
    with Store.open(root / "store.db") as store:
        first, second = say(store, "Where is my parcel?", "I do not know."), say(store, "包裹在哪里？", "不知道。")
        app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=root)
        with TestClient(app, base_url="http://127.0.0.1:8000") as page:
            at = f"/api/messages/{first}/feedback"
            assert page.post(at, json={"kind": "dislike", "comment": "rude"}).status_code == 200
            assert page.post(at, json={"kind": "edit", "edited": "It is on its way."}).status_code == 200
            assert page.post(f"/api/messages/{second}/feedback", json={"kind": "dislike"}).status_code == 200
    counted = verb(root, "round", "--preview")
    assert counted["rules"]["edit"] == {"records": 1, "used": 1, "dropped": {}}
    assert counted["rules"]["label"] == {"records": 2, "used": 1, "dropped": {"an edit of the same answer says it": 1}}
    assert counted["made"]["demonstrations"]["new"] == 1
    assert Workspace.open(root).rounds() == [1], "a preview opens nothing"
    made = verb(root, "round")
    print(json.dumps(made, indent=1))
    print((root / "rounds/002/decision.txt").read_text())
    assert 0
