"""Two processes compute what one does, go on from each other's resume points, and say once what went wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import seq2seq
import test_train as stages
import tiny as t
from steersman.artifact import sharded_point
from steersman.artifact.manifest import read_manifest, tree_hashes, verify
from steersman.artifact.stage_folder import StageFolder, partial_of
from steersman.config import ModelConfig
from steersman.distributed import parallel
from steersman.train.log import read_metrics
from steersman.weights.lora import ADAPTER, CONFIG, WEIGHTS, adapter_base
from two_processes import PPO_KINDS, Stop, ppo_kind, run_dpo, run_kto, run_ppo, run_t5, stop_after, with_adapters

DRIVER = Path(__file__).with_name("two_processes.py")


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(DRIVER.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny/, one/: made by one process; two/: by two, the second of which went on from one process's resume point."""
    root = tmp_path_factory.mktemp("parallel")
    tiny = t.make_model(root / "tiny")
    stages.run_sft(tiny, root / "one" / "sft")
    stages.run_sft(tiny, root / "one" / "sft-bfloat16", model_config=ModelConfig(dtype="bfloat16", device="cpu"))
    stages.run_reward(tiny, root / "one" / "reward")
    run_ppo(tiny, root / "one" / "reward", root / "one" / "policy")
    run_dpo(tiny, root / "one" / "dpo")
    run_kto(tiny, root / "one" / "kto")
    run_t5(seq2seq.make_folder("T5", t.tokenizer(), root / "t5"), root / "one")
    stop_after(4, stages.run_sft, tiny, root / "two" / "resumed")
    result = torchrun(str(DRIVER), "stages", str(root))
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture(scope="module")
def adapters(folder: Path) -> Path:
    """The same folder, the stages with LoRA added."""
    with_adapters(folder / "one", folder / "tiny", folder / "one")
    result = torchrun(str(DRIVER), "adapters", str(folder))
    assert result.returncode == 0, result.stderr
    return folder


def curve(folder: Path, name: str = "loss") -> list[float]:
    return [m[name] for m in read_metrics(folder) if name in m]


@pytest.mark.parametrize("name", ["sft", "reward", "resumed", "dpo", "kto", "t5-sft", "t5-reward"])
def test_two_processes_equal_one(name: str, folder: Path) -> None:
    compare(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora-sft", "lora-reward", "lora-dpo"])
def test_two_processes_equal_one_with_adapters(name: str, adapters: Path) -> None:
    compare(name, adapters)
    equal_adapters(adapters / "one" / name, adapters / "two" / name)


def compare(name: str, folder: Path) -> None:
    """In float32 sums come in another order: 1e-5 in losses, 1e-4 of a weight after Adam (its step is 1e-3)."""
    one, two = folder / "one" / ("sft" if name == "resumed" else name), folder / "two" / name
    assert curve(two) == pytest.approx(curve(one), abs=1e-5)
    assert curve(two, "grad_norm") == pytest.approx(curve(one, "grad_norm"), rel=1e-4)
    a, b = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=1e-4, rtol=0)
    for measure in ("margin", "chosen", "kl"):
        assert curve(two, measure) == pytest.approx(curve(one, measure), abs=1e-4)
    verify(two)
    before, after = json.loads((one / "config.json").read_text()), json.loads((two / "config.json").read_text())
    assert after.pop("reward_shift", 0) == pytest.approx(before.pop("reward_shift", 0), abs=1e-4)
    assert after == before
    result, expected = read_manifest(two).metrics, read_manifest(one).metrics
    for key in ("eval_loss", "ece", "margin"):
        assert result.get(key) == pytest.approx(expected.get(key), abs=1e-3)
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())


def equal_adapters(one: Path, two: Path) -> None:
    assert (one / ADAPTER / CONFIG).read_text() == (two / ADAPTER / CONFIG).read_text()
    assert adapter_base(one) == adapter_base(two)
    torch.testing.assert_close(*(load_file(folder / ADAPTER / WEIGHTS) for folder in (one, two)), atol=1e-5, rtol=0)


def test_two_processes_do_the_same_rounds_of_ppo(folder: Path) -> None:
    """They generate half of the answers each, and the same ones; scores, advantages and steps are of all."""
    same_rounds(folder / "one" / "policy", folder / "two" / "policy", 2e-3)
    assert len(read_metrics(folder / "two" / "policy")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora-policy", "lora-beside"])
def test_two_processes_do_the_same_rounds_of_ppo_with_adapters(name: str, adapters: Path) -> None:
    """The reward model is an adapter on the policy's base, or has one of its own."""
    one, two = (adapters / which / name for which in ("one", "two"))
    same_rounds(one, two, 1e-4)
    equal_adapters(one, two)


def same_rounds(one: Path, two: Path, atol: float) -> None:
    """The same answers, figures and weights. Each process's share is summed in another order."""
    assert read_metrics(two)[0]["ratio_error_first"] < 1e-5
    for a, b in zip(read_metrics(one), read_metrics(two), strict=True):
        assert a.pop("samples", None) == b.pop("samples", None)
        assert b == pytest.approx(a, abs=atol)
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    torch.testing.assert_close(*weights, atol=atol / 10, rtol=0)


def test_two_processes_equal_one_in_bfloat16(folder: Path) -> None:
    """Gradients are rounded once more after they were summed: as near as bfloat16 is to float32, and nearer."""
    one, two, wide = (curve(folder / name) for name in ("one/sft-bfloat16", "two/sft-bfloat16", "one/sft"))
    apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
    assert apart < 0.03
    assert apart < 2 * max(abs(a - b) for a, b in zip(one, wide, strict=True))


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_the_point_before(folder: Path) -> None:
    """And one process goes on from what two wrote."""
    result = torchrun(str(DRIVER), "killed", str(folder))
    assert result.returncode != 0
    output = folder / "two" / "killed"
    point = json.loads((partial_of(output) / sharded_point.NAME).read_text())
    assert json.loads(point["state"])["step"] == 2
    stages.run_sft(folder / "tiny", output, save_seconds=0.0)
    assert curve(output) == pytest.approx(curve(folder / "one" / "sft"), abs=1e-5)
    assert [p.name for p in output.iterdir() if p.name.startswith(".")] == [".tensorboard"]


@pytest.mark.slow
def test_ppo_goes_on_in_as_many_processes_and_in_others(adapters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many: to the bit. Two after one that stopped inside a round, and one after two: to rounding."""
    save, folder, two = StageFolder.save, adapters, adapters / "two"

    def stop_inside(self: StageFolder, tensors: Any, state: Any) -> None:
        save(self, tensors, state)
        if state["iteration"] == 1 and state.get("round", {}).get("steps") == 1:
            self.wait()
            raise Stop

    for kind in PPO_KINDS:
        ppo_kind(kind, folder, folder / "one" / f"whole-{kind}")
        with monkeypatch.context() as patch:
            patch.setattr(StageFolder, "save", stop_inside)
            patch.setattr(StageFolder, "agree_to_save", lambda self: self.wait() is None)
            with pytest.raises(Stop):
                ppo_kind(kind, folder, two / f"inside-{kind}", save_seconds=0.0)
    assert torchrun(str(DRIVER), "stopped_ppo", str(folder)).returncode != 0
    for kind in PPO_KINDS:
        shutil.copytree(partial_of(two / f"stopped-{kind}"), partial_of(two / f"alone-{kind}"))
        ppo_kind(kind, folder, two / f"alone-{kind}")
    result = torchrun(str(DRIVER), "resumed_ppo", str(folder))
    assert result.returncode == 0, result.stderr
    for kind in PPO_KINDS:
        assert tree_hashes(two / f"stopped-{kind}") == tree_hashes(two / f"whole-{kind}")
        for name in ("whole", "inside", "alone"):
            same_rounds(folder / "one" / f"whole-{kind}", two / f"{name}-{kind}", 2e-3)


@pytest.mark.slow
def test_what_went_wrong_is_said_once(folder: Path) -> None:
    data = [dataclasses.asdict(d) for d in stages.demonstrations()]
    file = t.write_jsonl(folder / "demos.jsonl", [{"messages": d["messages"]} for d in data])
    output = folder / "diverged"
    arguments = ["sft", "--model", str(folder / "tiny"), "--data", str(file), "--output", str(output), "--json"]
    small = ["-s", "model.device=cpu", "-s", "sft.batch_tokens=64", "-s", "sft.lr=1e30"]
    result = subprocess.run(
        [sys.executable, "-m", "steersman", *arguments, *small, "--processes", "2"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.count("not finite; lower the learning rate") == 1
    assert "Traceback" not in result.stderr
    shutil.rmtree(partial_of(output))


def test_shares_and_who_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process computes as many rows, and all rows count once."""
    for count, items in ((1, 3), (2, 5), (3, 2), (4, 4)):
        shares: list[Any] = []
        for rank in range(count):
            monkeypatch.setattr(parallel, "size", lambda count=count: count)
            monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
            shares.append(parallel.share(range(items)))
        assert len({len(s) for s in shares}) == 1
        assert sorted(i for s in shares for i, weight in s if weight) == list(range(items))
    monkeypatch.setattr(parallel, "_store", dist.HashStore())
    assert [parallel.may_speak(expected=True) for _ in range(3)] == [True, False, False]
