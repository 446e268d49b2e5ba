"""Hyper-parameter search on the tiny model: what is tried, pruned, resumed, kept and written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="pip install 'steersman[search]'")

from typer.testing import CliRunner

import test_train as stages
import tiny as t
from steersman.artifact import stage_folder
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import build
from steersman.cli.search import summed_up
from steersman.config import Config
from steersman.config_file import with_overrides
from steersman.config_rewrite import edited
from steersman.data import dataset
from steersman.eval import report_text, searches
from steersman.rounds import registry
from steersman.rounds.make import Round, make
from steersman.rounds.registry import Outcome, Searched, Task
from steersman.rounds.stages import report
from steersman.train.log import MetricsLog

runner = CliRunner()
LR = ("--range", "sft.lr=1e-6:1e-2:log")


def made_in(space: Workspace, stage: str) -> Outcome:
    return make(registry.get(stage), Round(space))


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    settings = ["model.device=cpu", "model.dtype=float32", "sft.row_tokens=256", "sft.batch_tokens=256"]
    config = with_overrides(Config(), [f'model.base="{tiny}"', *settings])
    made = Workspace.create(tmp_path / "w", config)
    for split, count in (("train", 24), ("validation", 4), ("test", 4)):
        talks = [t.conversation(f"Where is {split} {i}?", "Your parcel was shipped.", id=f"{i}") for i in range(count)]
        dataset.write_dataset(made.data, split, "demonstrations", split, talks, "test", {})
    return made


def search(space: Workspace, *args: str, stage: str = "sft", code: int = 0) -> Any:
    result = runner.invoke(build(), ["search", stage, *args, "-w", str(space.root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose SFT and reward model are there. Tests work on copies."""
    root = tmp_path_factory.mktemp("search")
    sizes = ["ppo.iterations=4", "ppo.prompts_per_iteration=4", "ppo.max_tokens=4", "ppo.minibatches=2"]
    sizes += ["ppo.eval_every=1", "ppo.eval_prompts=4", "ppo.save_seconds=0", "ppo.monitors=off"]
    sizes += ["model.device=cpu", "model.dtype=float32", "reward.holdout_fraction=0.25", "reward.batch_prompts=4"]
    config = with_overrides(Config(), [f'model.base="{t.make_model(root / "tiny")}"', *sizes])
    space = Workspace.create(root / "w", config)
    records = {"demonstrations": stages.demonstrations(), "rankings": stages.rankings(), "prompts": stages.prompts()}
    for kind, content in records.items():
        dataset.write_dataset(space.data, kind, kind, "train", content, "test", {})
    held = [t.conversation(f"Where is {i}?", id=f"h{i}") for i in range(4)]
    dataset.write_dataset(space.data, "held", "prompts", "validation", held, "test", {})
    for stage in ("sft", "reward"):
        made_in(space, stage)
    return space.root


@pytest.fixture
def round_(made: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(shutil.copytree(made, tmp_path / "w"))


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
    assert now.config.sft.optimizer.lr == said["best"]["params"]["lr"]
    assert "# Peak learning rate of AdamW." in (space.root / CONFIG_NAME).read_text()
    outcome = made_in(now, "sft")
    assert (outcome.made, outcome.metrics["eval_loss"]) == (True, pytest.approx(said["best"]["value"], abs=1e-4))
    assert report.searches(now) == [json.loads((folder / "study.json").read_text())]


def test_hopeless_and_diverging_trials_end_early(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.rounds import study

    told = iter([1.0, 1.0, 1.0, 1.0, 1.0, 9.0])
    made = []

    def stage(task: Task) -> None:
        folder = task.output.with_name(f"{task.output.name}.partial")
        folder.mkdir(parents=True)
        value = next(told, None)
        if value is None:
            raise FloatingPointError("the gradient is not finite")
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "eval_loss": value}) + "\n")
        if (watching := study.observers.get().watch) is not None:
            watching(folder, {"eval_loss": value})
        folder.rename(task.output)
        study.write_json(
            task.output / "manifest.json",
            {"stage": "sft", "created": "", "code_version": "", "config": {}, "inputs": {}, "files": {}},
        )
        made.append(value)

    faked = dataclasses.replace(registry.get("sft"), run=stage, sources=(), search=Searched({"eval_loss": "minimize"}))
    monkeypatch.setitem(registry._registered, "sft", faked)
    said = search(space, *LR, "--trials", "7")
    assert [x["state"] for x in said["trials"]] == ["complete"] * 5 + ["pruned"] * 2
    assert [x["value"] for x in said["trials"]] == [1.0] * 5 + [9.0, None]
    assert made == [1.0] * 5
    assert sorted(p.name for p in (space.root / "search/001-sft/trials").iterdir()) == [f"{i:03d}" for i in range(7)]


@pytest.mark.slow
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


def metrics_of(space: Workspace, search: str) -> dict[str, list[dict[str, Any]]]:
    """By trial; also that nothing else of a trial is kept."""
    out = {}
    for trial in sorted((space.root / "search" / search / "trials").iterdir()):
        assert [p.name for p in trial.iterdir()] == ["metrics.jsonl"]
        out[trial.name] = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
    return out


def test_the_reward_model_is_searched(round_: Workspace) -> None:
    """By accuracy, the loss beside it; the settings as they are come first; the report shows it."""
    args = ["--range", "reward.lr=1e-7:1e-2:log", "--choice", "reward.epochs=1,2", "--trials", "3", "--evals", "1"]
    said = search(round_, *args, stage="reward")
    assert said["trials"][0]["params"] == {
        "lr": round_.config.reward.optimizer.lr,
        "epochs": round_.config.reward.epochs,
    }
    assert said["configured"] == said["trials"][0]
    assert [x["value"] for x in said["trials"]] == pytest.approx(
        [rows[-1]["eval_accuracy"] for rows in metrics_of(round_, "001-reward").values()]
    )
    assert said["best"]["value"] == max(x["value"] for x in said["trials"])
    assert {tuple(x["metrics"]) for x in said["trials"]} == {("eval_loss",)}
    assert round_.has("reward"), "the round's own reward model stays"
    language = report_text.LANGUAGES["zh"]
    (section,) = searches.sections(report.searches(round_), language)
    assert section["head"] == [language["trial"], "eval_accuracy", "eval_loss", "lr", "epochs"]
    assert len(section["rows"]) == 3


def test_ppo_is_searched_pruned_and_gone_on_with(round_: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second trial is interrupted in its third round and pruned later, while a resume point is being written."""
    from optuna.pruners import NopPruner

    from steersman.rounds import study

    class Second(NopPruner):
        def prune(self, _: Any, trial: Any) -> bool:
            return trial.params == second and trial.last_step == 3

    second: dict[str, float] = {}
    write, save = MetricsLog.write, stage_folder.save_file

    def interrupted(self: MetricsLog, step: int, *rest: Any) -> Any:
        if self.path.parent.name == "001.partial" and step == 2:
            raise KeyboardInterrupt
        return write(self, step, *rest)

    def slow(*args: Any, **options: Any) -> None:
        time.sleep(0.05)
        save(*args, **options)

    monkeypatch.setitem(study.PRUNERS, "median", Second)
    monkeypatch.setattr(MetricsLog, "write", interrupted)
    args = ["--range", "ppo.lr=1e-5:1e-2:log", "--trials", "3"]
    command = ["search", "ppo", *args, "-w", str(round_.root)]
    result = runner.invoke(build(), command)
    assert result.exit_code == 130
    assert "interrupted; run the same command again to continue" in result.stderr
    monkeypatch.setattr(MetricsLog, "write", write)
    monkeypatch.setattr(stage_folder, "save_file", slow)
    with sqlite3.connect(round_.root / "search/001-ppo/study.db") as database:
        ((lr,),) = database.execute(
            "select param_value from trial_params join trials using (trial_id) where number = 1"
        ).fetchall()
    second["lr"] = lr
    said = search(round_, *args, stage="ppo")
    assert [x["state"] for x in said["trials"]] == ["complete", "fail", "pruned", "complete"]
    assert said["trials"][1]["params"] == said["trials"][2]["params"] == pytest.approx(second)
    rows = metrics_of(round_, "001-ppo")
    assert list(rows) == ["000", "001", "003"]
    assert [row["iteration"] for row in rows["001"]] == [0, 1, 2, 3], "gone on with, and ended before its last round"
    for trial, name in ((said["trials"][0], "000"), (said["trials"][3], "003")):
        best = max(rows[name], key=lambda row: row["eval_reward"])
        assert trial["value"] == pytest.approx(best["eval_reward"], abs=1e-6)
        assert trial["metrics"] == pytest.approx({k: best[k] for k in ("eval_no_eos", "eval_kl")}, abs=1e-6)
    result = runner.invoke(build(), command)
    assert f"the best of 3 (1 ended early): eval_reward {said['best']['value']:.4g}" in result.stdout
    (section,) = searches.sections(report.searches(round_), report_text.LANGUAGES["en"])
    assert section["text"].startswith("3 trials, 1 ended early")


def test_what_is_said_of_the_best() -> None:
    def trial(number: int, value: float) -> dict[str, Any]:
        return {"number": number, "state": "complete", "value": value, "metrics": {"eval_kl": 2.0 * number}}

    def said(best: dict[str, Any], *trials: dict[str, Any], key: str = "kl_coef") -> str:
        result = {"objective": "eval_reward", "space": [{"key": key}], "trials": trials, "configured": trials[0]}
        return "\n".join(summed_up(registry.get("ppo"), {**result, "best": best}))

    a, b = trial(0, 0.5), trial(1, 0.75)
    text = said(b, a, b)
    assert "trial 1 is the best of 2 (0 ended early): eval_reward 0.75  eval_kl 2" in text
    assert "the settings as they are: eval_reward 0.5  eval_kl 0" in text
    assert "a lower price of KL always buys reward" in text
    text = said(a, a, trial(1, 0.5), key="lr")
    assert "that is the settings as they are" in text
    assert "all trials that came to their end have this eval_reward" in text
    assert "KL" not in text


def test_bad_input_says_what_was_expected(space: Workspace) -> None:
    cases = [
        (["--range", "sft.lr=1:1e-3"], "LOW the smaller one"),
        (["--range", "sft.lr=0:1:log"], "above 0 with :log"),
        (["--range", "ppo.lr=1e-5:1e-3"], "expected sft.KEY=LOW:HIGH"),
        (["--range", "sft.rl=1e-5:1e-3"], "unknown key sft.rl; did you mean 'lr'?"),
        (["--choice", "sft.eval_fraction=0.1,0.2"], "sft.eval_fraction changes what trials are judged by"),
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
    assert (
        out.replace("lr = 3e-05  # ours", "lr = 1e-4  # ours").replace("\n[sft.adapters]\ntrain_layers = 4\n", "")
        == text
    )
    assert tomllib.loads(out) == {"sft": {"lr": 3e-5, "epochs": 2, "adapters": {"train_layers": 4}}, "ppo": {"lr": 1.0}}
    assert tomllib.loads(edited("", "ppo", {"lr": 0.5})) == {"ppo": {"optimizer": {"lr": 0.5}}}
