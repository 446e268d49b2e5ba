"""Ctrl-C, SIGTERM and SIGHUP: what is kept, what is said, how the command ends, and how it goes on.

On 0da96d2 SIGTERM and SIGHUP ended a stage without a resume point, and another `sft.epochs` deleted the one that was
there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import typer

import tiny as t
from commands import Command, commands
from steersman import stopping
from steersman.artifact import unfinished
from steersman.artifact.manifest import POINTS, read_manifest, tree_hashes
from steersman.artifact.stage_folder import partial_of
from steersman.cli import framework
from steersman.config import PpoConfig, before, replaced, to_dict
from steersman.progress import activity, progress

SMALL = ("-s", "model.device=cpu", "-s", "model.dtype=float32", "-s", "model.memory_check=false")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Command]]:
    with commands(tmp_path_factory.mktemp("said")) as start:
        yield start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stopping")
    t.make_model(root / "base")
    asked = [(f"Where is my order {i}?", "It arrives on 6 May.") for i in range(16)]
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in asked]
    t.write_jsonl(root / "demos.jsonl", [{"messages": m} for m in turns])
    t.write_jsonl(root / "prompts.jsonl", [{"prompt": q} for q, _ in asked])
    t.write_jsonl(root / "pairs.jsonl", [{"prompt": q, "chosen": a, "rejected": "No."} for q, a in asked])
    return root


def stage(folder: Path, name: str, output: Path) -> list[str]:
    """The command of a stage on the tiny model."""
    base, data = str(folder / "base"), {"sft": "demos", "sample": "prompts"}.get(name, "pairs")
    sizes = {
        "sft": ["sft.batch_tokens=64", "sft.epochs=3"],
        "sample": ["sample.batch_prompts=2", "sample.max_tokens=4"],
        "reward": ["reward.batch_prompts=1", "reward.epochs=2"],
        "dpo": ["dpo.batch_prompts=1", "dpo.epochs=2"],
        "kto": ["kto.batch_prompts=1", "kto.epochs=2"],
    }[name]
    options = [word for setting in sizes for word in ("-s", setting)]
    files = ["--data", str(folder / f"{data}.jsonl"), "--output", str(output)]
    return [name, "--model", base, *files, *SMALL, *options]


@pytest.mark.parametrize(
    ("name", "signum"),
    [
        ("sft", signal.SIGINT),
        pytest.param("reward", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("dpo", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("kto", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_a_resume_point_and_the_run_goes_on_to_the_same_bits(
    name: str, signum: int, folder: Path, tmp_path: Path, run: Callable[..., Command]
) -> None:
    output = tmp_path / "out"
    first = run(0.4, *stage(folder, name, output))
    first.until(rf"{name}  step [1-9]")
    sent = time.monotonic()
    first.signal(signum)
    assert first.end() == 128 + signum
    assert time.monotonic() - sent < 60
    said = first.text.splitlines()[-1]
    stopped = re.search(
        rf"{name} stopped at step (\d+) of \d+; a resume point is saved in .*run the same command", said
    )
    assert stopped, first.text
    assert "Traceback" not in first.text
    assert list(tmp_path.rglob(POINTS))  # the validator, which is learned first, lies in out.members
    again = run(0.0, *stage(folder, name, output))
    assert again.end() == 0, again.text
    assert f"{name}: going on at step {stopped[1]} of" in again.text
    whole = run(0.0, *stage(folder, name, tmp_path / "whole"))
    assert whole.end() == 0, whole.text
    assert tree_hashes(output) == tree_hashes(tmp_path / "whole")


def test_a_second_signal_ends_at_once(folder: Path, tmp_path: Path, run: Callable[..., Command]) -> None:
    first = run(30, *stage(folder, "sft", tmp_path / "out"))
    first.until("sft  step 0")
    sent, process = time.monotonic(), psutil.Process(first.pid)
    while process.status() != psutil.STATUS_ZOMBIE:  # two that come before the process runs again are one
        first.signal(signal.SIGINT)
        time.sleep(0.2)
    assert first.end() == 130
    assert time.monotonic() - sent < 20, "it waited for the step"


def test_answers_so_far_are_kept(folder: Path, tmp_path: Path, run: Callable[..., Command]) -> None:
    output = tmp_path / "out"
    first = run(0.8, *stage(folder, "sample", output))
    first.until(r"sample  prompt [2-9]")
    first.signal(signal.SIGTERM)
    assert first.end() == 143
    assert re.search(r"sample stopped at prompt \d+ of 16", first.text.splitlines()[-1])
    kept = len((partial_of(output) / "candidates.jsonl").read_bytes().splitlines())
    assert kept >= 2
    again = run(0.0, *stage(folder, "sample", output))
    assert again.end() == 0, again.text
    assert re.search(r"sample: going on at prompt \d+ of 16", again.text)
    assert read_manifest(output).metrics["prompts"] == 16


def test_other_settings_do_not_delete_unfinished_work(
    folder: Path, tmp_path: Path, run: Callable[..., Command]
) -> None:
    output = tmp_path / "out"
    first = run(0.4, *stage(folder, "sft", output))
    first.until("sft  step [1-9]")
    first.signal(signal.SIGTERM)
    assert first.end() == 143
    points = sorted(p.name for p in partial_of(output).glob(POINTS))
    other = [*stage(folder, "sft", output), "-s", "sft.epochs=4"]
    refused = run(0.0, *other)
    assert refused.end() == 2
    assert "sft.epochs was 3, now 4" in refused.text
    assert "--fresh" in refused.text
    assert sorted(p.name for p in partial_of(output).glob(POINTS)) == points
    fresh = run(0.0, *other, "--fresh")
    assert fresh.end() == 0, fresh.text
    assert read_manifest(output).config["epochs"] == 4
    assert "going on" not in fresh.text


@pytest.mark.slow
def test_two_processes_stop_and_go_on(folder: Path, tmp_path: Path, run: Callable[..., Command]) -> None:
    output = tmp_path / "out"
    first = run(0.4, *stage(folder, "sft", output), "-s", "sft.epochs=300", "--processes", "2")
    first.until("sft  step [1-9]")
    sent = time.monotonic()
    first.signal(signal.SIGINT)
    assert first.end() == 130, first.text
    assert time.monotonic() - sent < 25
    assert first.text.count("a resume point is saved in") == 1, first.text
    assert "Traceback" not in first.text
    assert list(partial_of(output).glob(".resume.json"))
    again = run(0.0, *stage(folder, "sft", output), "-s", "sft.epochs=300")
    again.until("sft: going on at step")
    again.signal(signal.SIGKILL)
    assert again.end() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ppo_in_two_processes_stops_inside_a_round(
    signum: int, folder: Path, tmp_path: Path, run: Callable[..., Command]
) -> None:
    reward = tmp_path / "reward"
    assert run(0.0, *stage(folder, "reward", reward)).end() == 0

    def ppo(output: str) -> list[str]:
        prompts = str(folder / "prompts.jsonl")
        sizes = {
            "iterations": 40,
            "prompts_per_iteration": 8,
            "answers_per_prompt": 2,
            "max_tokens": 12,
            "minibatches": 4,
            "eval_every": 8,
            "eval_prompts": 4,
            "kl_ceiling": 1e9,
        }
        options = [word for key, value in sizes.items() for word in ("-s", f"ppo.{key}={value}")]
        models = ["--model", str(folder / "base"), "--reward", str(reward)]
        files = ["--data", prompts, "--held-out", prompts, "--output", str(tmp_path / output)]
        return ["ppo", *models, *files, *SMALL, *options, "--processes", "2"]

    first = run(0.0, *ppo("out"))
    first.until(r"ppo  iteration ([2-9]|1\d)")
    sent = time.monotonic()
    first.signal(signum)
    assert first.end() == 128 + signum, first.text
    assert time.monotonic() - sent < 60
    assert first.text.count("a resume point is saved in") == 1, first.text
    again = run(0.0, *ppo("out"))
    assert again.end() == 0, again.text
    assert "ppo: going on at" in again.text
    whole = run(0.0, *ppo("whole"))
    assert whole.end() == 0, whole.text
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "whole")


@pytest.mark.parametrize("wait", [0.5, 2.5])
def test_a_signal_while_processes_start_ends_them(
    wait: float, folder: Path, tmp_path: Path, run: Callable[..., Command]
) -> None:
    """One that came before they had met was lost, or waited for 30 seconds."""
    first = run(0.0, *stage(folder, "sft", tmp_path / "out"), "-s", "sft.epochs=3000", "--processes", "2")
    time.sleep(wait)
    sent = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.end() in (143, -signal.SIGTERM), first.text
    assert time.monotonic() - sent < 25
    assert "Traceback" not in first.text


def test_a_signal_while_arguments_are_read_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """typer answers every KeyboardInterrupt with 130 and no word; `run` tells what comes out of here."""

    def stopped() -> None:
        raise stopping.Stop(signal.SIGTERM)

    app = typer.Typer()
    app.command()(stopped)
    monkeypatch.setattr(framework, "build", lambda: app)
    monkeypatch.setattr(sys, "argv", ["steersman"])
    with pytest.raises(stopping.Stop) as stop:
        framework._command_line()
    assert stop.value.exit_code == 143


def test_what_differs_is_named(tmp_path: Path) -> None:
    """And what an earlier version wrote, a bare hash, still counts."""
    partial = tmp_path / "ppo.partial"
    partial.mkdir()
    config, inputs = {"lr": 1.0, "seed": 1, "save_seconds": 3.0}, {"data:a": "1", "sft": "2"}
    unfinished.sign(partial, "ppo", config, inputs)
    assert unfinished.differences(partial, "ppo", {**config, "save_seconds": 9.0}, inputs) == []
    found = unfinished.differences(partial, "ppo", {"lr": 2.0, "seed": 2}, {"data:b": "1", "sft": "3"})
    assert found == [
        "ppo.lr was 1.0, now 2.0",
        "project.seed was 1, now 2",
        "input data:a is gone",
        "input sft has changed",
        "input data:b is new",
    ]
    (partial / ".fingerprint").write_text(json.loads((partial / ".fingerprint").read_text())["mark"])
    assert unfinished.differences(partial, "ppo", config, inputs) == []
    assert unfinished.differences(partial, "ppo", {}, inputs) == ["other settings or inputs"]
    # settings that came since: the run goes on where they are as it was without them
    later = before(PpoConfig())
    as_it_was = {**to_dict(replaced(PpoConfig(), **later)), "seed": 1}
    unfinished.sign(partial, "ppo", {k: v for k, v in as_it_was.items() if k not in later}, inputs)
    written = (partial / ".fingerprint").read_text()
    for text in (written, json.loads(written)["mark"]):
        (partial / ".fingerprint").write_text(text)
        assert unfinished.differences(partial, "ppo", as_it_was, inputs) == []
        found = unfinished.differences(partial, "ppo", {**as_it_was, "normalise": True, "confidence": 0.5}, inputs)
        assert found == ["ppo.normalise was false, now true", "ppo.confidence was 0.0, now 0.5"]
    # nobody misses a folder in which nothing was done
    assert unfinished.clear_for(partial, "ppo", {}, inputs) == ""
    assert not partial.exists()


def signalled_inside() -> None:
    with stopping.deferred(), progress("sft", 9, start=3) as bar:
        os.kill(os.getpid(), signal.SIGTERM)  # SIGHUP is ignored under nohup
        bar.update(4)
        with stopping.held():
            stopping.check()
        with activity("inside"):
            stopping.check()


def test_signals_wait_where_they_must() -> None:
    before = [signal.getsignal(s) for s in stopping.SIGNALS]
    try:
        stopping.install()
        with pytest.raises(stopping.Stop) as at_once:
            os.kill(os.getpid(), signal.SIGTERM)
        assert at_once.value.exit_code == 143
        stopping._received = 0
        with pytest.raises(stopping.Stop) as later:
            signalled_inside()
        assert later.value.where == ["sft stopped at step 4 of 9"]
        stopping._received = 0
        done = []
        with pytest.raises(stopping.Stop):  # noqa: PT012
            with stopping.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("all")  # it is raised at the end
        assert done == ["all"]
    finally:
        for signum, handler in zip(stopping.SIGNALS, before, strict=True):
            signal.signal(signum, handler)
        stopping._received = 0
