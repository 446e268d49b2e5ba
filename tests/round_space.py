"""A workspace with two rounds of the real stages: round 1 by hand and served, round 2 by `steersman round`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman import plugins
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.store import Store
from steersman.types import Completion
from tiny import conversation

ANSWERS = {
    "Where is my order?": "On its way, it arrives on 6 May.",
    "我的包裹呢？": "正在路上，明天送达。",
    "Can I return it?": "Yes, within 30 days.",
    "Wo ist mein Paket?": "Es kommt morgen.",
}
SETTINGS: dict[str, Any] = {
    "project": {"name": "Lamp shop", "trackers": "tensorboard", "domain": "none", "judge": "rounds_judge:judge"},
    "sft": {"epochs": 2, "lr": 1e-2, "train_layers": 0, "eval_fraction": 0.0},
    "kto": {"lr": 1e-3, "train_layers": 0},
    "eval": {"max_tokens": 6, "bootstrap": 100, "samples_shown": 3},
    "round": {"least_prompts": 10},
}
JUDGE = "def judge(prompt, answer):\n    return {'ok': float('a' in answer), 'said': min(1.0, len(answer) / 20)}\n"


def allow_judges(patch: pytest.MonkeyPatch) -> None:
    patch.setenv(plugins.ALLOW, "1")
    patch.setattr(sys, "path", list(sys.path))
    patch.setattr(plugins, "_admitted", [])


def answered(store: Store, asked: str, answer: str, version: str = "001/sft") -> str:
    """A question of a new chat and the model's answer; returns the answer's id."""
    question = store.add_question(store.create_conversation().id, asked, None)
    return store.add_answer(question.id, Completion(answer, (1,), (-0.1,), "stop", version)).id


def make_rounds(root: Path, base: Path) -> Path:
    model = {"device": "cpu", "dtype": "float32", "memory_check": False, "base": str(base)}
    space = Workspace.create(root, from_dict(SETTINGS | {"model": model}, "test"))
    (root / "rounds_judge.py").write_text(JUDGE)
    shown = [conversation(asked, answer, id=f"d{i}") for i, (asked, answer) in enumerate(ANSWERS.items())]
    write_dataset(space.data, "chats", "demonstrations", "train", shown, "test", {})
    asked = [conversation(f"Where is order {i}? 请回答", id=f"t{i}") for i in range(12)]
    write_dataset(space.data, "tests", "prompts", "test", asked, "test", {})
    _verb(root, "sft")
    _verb(root, "promote", "--stage", "sft", "--force")
    with Store.open(root / "store.db") as store:
        for i in range(6):
            answer = answered(store, f"Where is my parcel {i}? 包裹在哪里？", "I do not know.")
            store.add_feedback(answer, "dislike" if i % 3 else "like", user="ann")
            if i % 2:
                store.add_feedback(answer, "edit", edited="It is on its way.", user="ann")
    _verb(root, "round")
    return root


def _verb(root: Path, *args: str) -> None:
    result = CliRunner().invoke(build(), [*args, "-w", str(root), "--json"])
    assert result.exit_code == 0, result.output
