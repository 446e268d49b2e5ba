"""Hyper-parameter search on the tiny model: what is tried, pruned, resumed, kept and written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="pip install 'steersman[search]'")

from typer.testing import CliRunner

import tiny as t
from steersman.cli import loop
from steersman.cli.app import build
from steersman.cli.search import edited
from steersman.config import Config
from steersman.config_file import with_overrides
from steersman.data import dataset
from steersman.workspace import CONFIG_NAME, Workspace

runner = CliRunner()
LR = ("--range", "sft.lr=1e-6:1e-2:log")


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    settings = ["model.device=cpu", "model.dtype=float32", "sft.row_tokens=256", "sft.batch_tokens=256"]
    config = with_overrides(Config(), [f'model.base="{tiny}"', *settings])
    made = Workspace.create(tmp_path / "w", config)
    for split, count in (("train", 24), ("validation", 4), ("test", 4)):
        talks = [t.conversation(f"Where is {split} {i}?", "Your parcel was shipped.", id=f"{i}") for i in range(count)]
        dataset.write_dataset(made.data, split, "demonstrations", split, talks, "test", {})
    return made


def search(space: Workspace, *args: str, code: int = 0) -> Any:
    result = runner.invoke(build(), ["search", "sft", *args, "-w", str(space.root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_search_finds_keeps_and_writes(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    find = dataset.find
    monkeypatch.setattr(
        dataset, "find", lambda s, kind, split, *rest: (asked.append(split), find(s, kind, split, *rest))[1]
    )
    before = (space.root / CONFIG_NAME).read_text()
    said = search(space, *LR, "--choice", "sft.train_layers=0,1", "--trials", "3", "--evals", "2", "--pruner", "none")
    assert set(asked) == {"train", "validation"}, "the test split is never read"
    assert (space.root / CONFIG_NAME).read_text() == before
    assert not space.has("sft"), "trials are made elsewhere"
    folder = space.root / "search" / "001-sft"
    assert said["path"] == str(folder)
    values = []
    for trial in said["trials"]:
        trials = folder / "trials" / f"{trial['number']:03d}"
        assert [p.name for p in trials.iterdir()] == ["metrics.jsonl"], "weights of trials are not kept"
        held = [
            row["eval_loss"]
            for row in map(json.loads, (trials / "metrics.jsonl").read_text().splitlines())
            if "eval_loss" in row
        ]
        assert len(held) == 3, "two evaluations on the way and the last"
        values.append(held[-1])
    assert [x["value"] for x in said["trials"]] == pytest.approx(values)
    assert said["best"]["value"] == min(values)
    assert json.loads((folder / "study.json").read_text())["best"] == said["best"]
    # the best settings in the file, then the stage with them: the same number
    again = search(
        space, *LR, "--choice", "sft.train_layers=0,1", "--trials", "3", "--evals", "2", "--pruner", "none", "--apply"
    )
    assert again["trials"] == said["trials"], "finished trials stay"
    now = Workspace.open(space.root)
    assert now.config.sft.lr == said["best"]["params"]["lr"]
    assert "# Peak learning rate of AdamW." in (space.root / CONFIG_NAME).read_text()
    metrics, made = loop.do_sft(now)
    assert (made, metrics["eval_loss"]) == (True, pytest.approx(said["best"]["value"], abs=1e-4))
    assert loop.searches(now) == [json.loads((folder / "study.json").read_text())]


def test_hopeless_and_diverging_trials_end_early(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.cli import study

    told = iter([1.0, 1.0, 1.0, 1.0, 1.0, 9.0])
    made = []

    def stage(one: Workspace) -> tuple[dict[str, float], bool]:
        folder = one.stage_dir("sft").with_name(f"{one.stage_dir('sft').name}.partial")
        folder.mkdir(parents=True)
        value = next(told, None)
        if value is None:
            raise FloatingPointError("the gradient is not finite")
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "eval_loss": value}) + "\n")
        if (watching := study.watch.get()) is not None:
            watching(folder, {"eval_loss": value})
        folder.rename(one.stage_dir("sft"))
        study.write_json(
            one.stage_dir("sft") / "manifest.json",
            {"stage": "sft", "created": "", "code_version": "", "config": {}, "inputs": {}, "files": {}},
        )
        made.append(value)
        return {"eval_loss": value}, True

    monkeypatch.setitem(study.STAGES, "sft", study.Stage("sft", stage, {"eval_loss": "minimize"}))
    said = search(space, *LR, "--trials", "7")
    assert [x["state"] for x in said["trials"]] == ["complete"] * 5 + ["pruned"] * 2
    assert [x["value"] for x in said["trials"]] == [1.0] * 5 + [9.0, None]
    assert made == [1.0] * 5
    assert sorted(p.name for p in (space.root / "search/001-sft/trials").iterdir()) == [f"{i:03d}" for i in range(7)]


def test_a_killed_search_goes_on_with_the_interrupted_trial(space: Workspace) -> None:
    """kill -9 in the second trial: the first stays, the second is marked failed and goes on from its resume point."""
    args = [*LR, "--trials", "2", "--evals", "4", "--pruner", "none", "-s", "sft.save_seconds=0", "-s", "sft.epochs=20"]
    folder = space.root / "search" / "001-sft"
    command = [
        sys.executable,
        "-c",
        "from steersman.cli import main; main()",
        "search",
        "sft",
        *args,
        "-w",
        str(space.root),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    partial = folder / "trials" / "001.partial"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(partial.glob(".resume-*")) and len((partial / "metrics.jsonl").read_text().splitlines()) > 5:
            break
        time.sleep(0.01)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = json.loads((folder / "study.json").read_text())["trials"]
    assert [x["state"] for x in kept] == ["complete"]
    said = search(space, *args)
    assert [x["state"] for x in said["trials"]] == ["complete", "fail", "complete"]
    assert said["trials"][0] == kept[0]
    assert said["trials"][2]["params"] == said["trials"][1]["params"]
    assert sorted(p.name for p in (folder / "trials").iterdir()) == ["000", "001"]
    lines = [json.loads(x) for x in (folder / "trials/001/metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == list(range(1, len(lines) + 1))


def test_bad_input_says_what_was_expected(space: Workspace) -> None:
    cases = [
        (["--range", "sft.lr=1:1e-3"], "LOW the smaller one"),
        (["--range", "sft.lr=0:1:log"], "above 0 with :log"),
        (["--range", "ppo.lr=1e-5:1e-3"], "expected sft.KEY=LOW:HIGH"),
        (["--range", "sft.rl=1e-5:1e-3"], "unknown key sft.rl; did you mean 'lr'?"),
        (["--choice", "sft.long_dialogues=skip,drop"], "expected one of error, skip, keep_end"),
        ([], "expected --range or --choice"),
        ([*LR, "--objective", "loss"], "--objective loss: expected one of eval_loss"),
        ([*LR, "--pruner", "magic"], "expected one of median, hyperband, none"),
        ([*LR, "--name", "../x"], "expected letters"),
    ]
    for args, told in cases:
        assert told in search(space, *args, code=2)["error"]
    assert not (space.root / "search").exists()


def test_another_search_under_the_same_name_is_refused(space: Workspace) -> None:
    search(space, *LR, "--trials", "1", "--evals", "1")
    assert "another space" in search(space, "--range", "sft.lr=1e-5:1e-2", "--evals", "1", code=2)["error"]
    assert "another settings" in search(space, *LR, "--evals", "1", "-s", "sft.epochs=3", code=2)["error"]
    talks = [t.conversation("New?", "Your parcel.", id="n")]
    dataset.write_dataset(space.data, "more", "demonstrations", "train", talks, "test", {})
    told = search(space, *LR, "--trials", "2", "--evals", "1", code=2)["error"]
    assert "the data or models have changed since the search began" in told


def test_toml_is_edited_in_place() -> None:
    text = "# top\n[sft]\n# rate\nlr = 1e-4  # ours\nepochs = 2\n\n[ppo]\nlr = 1.0\n"
    out = edited(text, "sft", {"lr": 3e-5, "train_layers": 4})
    assert out.replace("lr = 3e-05  # ours", "lr = 1e-4  # ours").replace("train_layers = 4\n", "") == text
    assert tomllib.loads(out) == {"sft": {"lr": 3e-5, "epochs": 2, "train_layers": 4}, "ppo": {"lr": 1.0}}
    assert tomllib.loads(edited("", "ppo", {"lr": 0.5})) == {"ppo": {"lr": 0.5}}
