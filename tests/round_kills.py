"""Whole rounds killed with SIGKILL at random moments and gone on with: `python tests/round_kills.py RUNS`.

A process of its own, as `kills.py` is, whose forks it uses. After each kill the served model, the store and the list of
promotions are looked at; at the end every artifact must have the bytes of the uninterrupted round, and the same must
have been decided. Prints one JSON object.
"""

from __future__ import annotations

import collections
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from kills import Fork
from steersman.artifact.manifest import MANIFEST_NAME, tree_hashes, verify
from steersman.artifact.workspace import Workspace
from steersman.config_file import from_dict, with_overrides
from steersman.data.dataset import write_dataset
from steersman.rounds import loop, registry
from steersman.rounds.make import Round, make
from steersman.store import Store
from steersman.types import Candidates, Completion
from tiny import conversation, make_model

SETTINGS: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32", "memory_check": False},
    "project": {"domain": "none"},
    "sft": {"epochs": 2, "lr": 1e-2, "train_layers": 0, "eval_fraction": 0.0},
    "reward": {"lr": 1e-3, "holdout_fraction": 0.3, "train_layers": 0, "validator": False},
    "ppo": {
        **{
            "iterations": 3,
            "prompts_per_iteration": 4,
            "max_tokens": 6,
            "minibatches": 2,
            "lr": 1e-3,
            "critic_lr": 1e-3,
        },
        **{"eval_every": 1, "eval_prompts": 4, "train_layers": 0, "selection_judge": "reward"},
    },
    "eval": {"max_tokens": 6, "bootstrap": 50, "batch_prompts": 4},
    "round": {"policy": "ppo", "least_prompts": 10},
}


def prepare(root: Path, base: Path) -> None:
    """A workspace with a promoted model, data, and all that people say of answers."""
    settings = SETTINGS | {"model": {**SETTINGS["model"], "base": str(base)}}
    space = Workspace.create(root, from_dict(settings, "kills"))
    shown = [conversation(f"Q{i}?", f"A{i}.", id=f"d{i}") for i in range(8)]
    write_dataset(space.data, "chats", "demonstrations", "train", shown, "test", {})
    for name, split, count in (("asked", "train", 8), ("held", "validation", 4), ("tests", "test", 12)):
        prompts = [conversation(f"{name} {i}?", id=f"{name}{i}") for i in range(count)]
        write_dataset(space.data, name, "prompts", split, prompts, "test", {})
    make(registry.get("sft"), Round(space))
    space.promote("sft", 1)
    with Store.open(space.store) as store:
        for i, kind in enumerate(("edit", "like", "dislike", "edit")):
            question = store.add_question(store.create_conversation().id, f"Where is {i}?", None)
            answer = store.add_answer(question.id, Completion(f"There {i}.", (1,), (-0.1,), "stop", "001/sft"))
            store.add_feedback(answer.id, kind, edited="Here." if kind == "edit" else None)  # type: ignore[arg-type]
        texts = [Completion(text, (1,), (-0.1,), "stop", "001/sft") for text in ("yes", "no", "perhaps")]
        store.add_candidates(1, [Candidates(conversation(f"Rank {i}?"), tuple(texts)) for i in range(10)])
        for task in list(store.tasks(1)):
            store.add_ranking(task.id, ranks=[1, 2, 3], labeler="ann")


def go(root: Path) -> None:
    """One round, promoted whatever comes of it, so that kills meet the promotion too."""
    space = Workspace.open(root)
    for section in ("sft", "reward", "ppo"):
        saving = with_overrides(space.config, (f"{section}.save_seconds=0",))
        space = Workspace(space.root, saving)
    assert loop.make_round(space, gated=False) is not None


def check_whole(root: Path) -> None:
    """Nothing that is served or kept is harmed."""
    space = Workspace.open(root)
    current = space.current()
    assert current is not None
    verify(current)
    assert [entry["round"] for entry in space.history()] in ([1], [1, 2])
    with sqlite3.connect(space.store_path) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("select count(*) from feedback").fetchone() == (4,)
        assert database.execute("select count(*) from rankings").fetchone() == (10,)


def outcome(root: Path) -> dict[str, Any]:
    """Hash of every artifact's files, the promotions and the decision, without times."""
    space = Workspace.open(root)
    found: dict[str, Any] = {
        f"{n:03d}/{s.name}": tree_hashes(space.stage_dir(s.name, n))
        for n in space.rounds()
        for s in registry.stages()
        if space.has(s.name, n)
    }
    report = found["002/report"]
    measured = json.loads((space.stage_dir("report", 2) / "models.json").read_text())
    del report["models.json"], measured["reward_report"]["pairs_per_second"]  # how fast it was trained
    found["measured"] = measured
    left = [p.name for p in (root / "rounds/002").iterdir() if p.suffix in (".partial", ".tmp", ".stale")]
    assert not left, f"left behind: {left}"
    found["promoted"] = [{k: v for k, v in entry.items() if k != "time"} for entry in space.history()]
    found["decision"] = {k: v for k, v in loop.read_decision(space, 2).items() if k != "time"}
    return found


def at_work(root: Path) -> str:
    """What a killed round was at, by what it left."""
    folder = root / "rounds/002"
    if not folder.is_dir():
        return "before it was opened"
    partial = sorted(p.name for p in folder.glob("*.partial"))
    done = [s.name for s in registry.stages() if (folder / s.name / MANIFEST_NAME).is_file()]
    return ", ".join(partial) or f"after {done[-1] if done else 'its opening'}"


def main(runs: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        Fork(prepare, folder / "w", make_model(folder / "base")).wait()
        whole = shutil.copytree(folder / "w", folder / "whole", copy_function=shutil.copy2)
        spent = Fork(go, whole).wait()
        expected = outcome(whole)
        kills, equal, moments = 0, 0, collections.Counter[str]()
        for number in range(runs):
            rng = random.Random(f"round/{number}")
            root = shutil.copytree(folder / "w", folder / str(number), copy_function=shutil.copy2)
            mine, wanted = 0, rng.choice([1, 2, 3])
            while mine < wanted and Fork(go, root).kill_at(spent * rng.random() / (1 + mine)):
                mine += 1
                moments[at_work(root)] += 1
                check_whole(root)
            if not (root / "rounds/002" / "decision.json").is_file():
                Fork(go, root).wait()
            check_whole(root)
            kills += mine
            found = outcome(root)
            equal += found == expected
            if differ := [name for name, of in expected.items() if found.get(name) != of]:
                print(f"run {number}: {differ}: {found[differ[0]]} {expected[differ[0]]}", file=sys.stderr)
            shutil.rmtree(root)
        seconds = {"uninterrupted_cpu_seconds": round(spent, 2), "seconds": round(time.monotonic() - began)}
        print(
            json.dumps({"runs": runs, "kills": kills, "equal": equal, **seconds, "moments": dict(moments)}), flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
