"""The registry: a stage is one entry, nothing else lists stages, and workspaces of before are still read."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny as t
from steersman.artifact.files import write_json
from steersman.artifact.manifest import identity, read_manifest, verify, write_manifest
from steersman.artifact.stage_folder import StageFolder
from steersman.artifact.workspace import CURRENT, Workspace
from steersman.config import to_dict
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.rounds import gate, registry
from steersman.rounds.inputs import Dialogues, Found, Model, Option, Source
from steersman.rounds.make import Round, make, make_all
from steersman.rounds.registry import Stage, Task
from steersman.rounds.verb_options import DATA
from steersman.stopping import Stop
from steersman.types import Conversation, Message
from verbs import done as invoke

SOURCES = Path(registry.__file__).parents[1]


def inside(root: Path, *args: str) -> Any:
    return json.loads(invoke(*args, "-w", str(root), "--json").stdout)


# a toy stage, in one entry


def count(task: Task) -> None:
    """Counts words of the demonstrations, one a step; a signal leaves a resume point."""
    import torch

    config = task.stage.recorded(task.config)
    folder = StageFolder(task.output, "toy", config, task.inputs)
    point = folder.load()
    state = point[1] if point else {"step": 0, "words": 0, "resumed": 0}
    state["resumed"] += point is not None
    with folder.resumable(lambda: ({"x": torch.zeros(1)}, state)):
        for record in task.values["texts"][state["step"] :]:
            if state["step"] == 1 and not state["resumed"] and INTERRUPTED:
                INTERRUPTED.clear()
                raise Stop(15)
            state["words"] += sum(len(m.content.split()) for m in record.messages)
            state["step"] += 1
    (folder.path / "words.txt").write_text(str(state["words"]))
    folder.finish(dict(state))


INTERRUPTED: list[bool] = []
SFT_MODEL = Option("--model", "Without a workspace: a model.", "text", needed=True)
TOY = Stage(
    name="toy",
    verb="toy",
    section="rank",
    title="Toy",
    summary="Count the words of the demonstrations.",
    examples=("steersman toy", "steersman toy --model base --data FILE --output out/toy"),
    parents=("sft",),
    sources=(
        Dialogues("texts", DATA, "demonstrations", "train", demanded="demonstrations"),
        Model("sft", SFT_MODEL),
    ),
    run=count,
    tell=lambda metrics: f"{metrics['words']} words",
    in_loop=True,
    reported=("tie_margin",),
)


@pytest.fixture
def toy() -> Iterator[Stage]:
    registry.register(TOY)
    yield TOY
    registry.unregister("toy")


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    settings = {"model": {"base": str(tiny), "device": "cpu", "dtype": "float32", "memory_check": False}}
    return Workspace.create(tmp_path / "w", from_dict(settings, "test"))


def demonstrations(space: Workspace, *texts: str) -> None:
    records = [Conversation(f"d{i}", (Message("user", "Q"), Message("assistant", x))) for i, x in enumerate(texts)]
    write_dataset(space.data, "chats", "demonstrations", "train", records, "test", {}, replace=True)


def artifact(space: Workspace, stage: str, inputs: dict[str, str] | None = None, **files: str) -> str:
    folder = space.stage_dir(stage)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {"weights": stage}).items():
        (folder / name.replace("_", ".")).write_text(text)
    entry = registry.get(stage)
    return identity(write_manifest(folder, entry.name, entry.recorded(space.config), inputs or {}, {"loss": 1.0}))


def state(space: Workspace, stage: str) -> dict[str, Any]:
    (found,) = [s for s in inside(space.root, "status")["stages"] if s["stage"] == stage]
    return dict(found)


def test_a_toy_stage_gets_all_that_stages_have(toy: Stage, space: Workspace, tmp_path: Path, tiny: Path) -> None:
    helped = invoke("toy", "--help").stdout
    for said in (toy.summary, "--model", "--data", "--output", "--encoding", "--workspace", "steersman toy --model"):
        assert said in helped
    assert "toy" in invoke("--help").stdout
    names = [stage.name for stage in registry.stages()]
    assert names.index("sft") < names.index("toy")
    assert "ppo, toy, eval" in invoke("run", "--help").stdout
    assert registry.get("report").unread(["rank.tie_margin=0.5"]) == "", "the report names the toy's settings"
    assert state(space, "toy")["state"] == "missing"
    assert "no demonstrations" in invoke("toy", "-w", str(space.root), code=2).stderr
    demonstrations(space, "one two", "three")
    assert invoke("toy", "-w", str(space.root), code=2).stderr.endswith("make it with: steersman sft\n")
    artifact(space, "sft")
    INTERRUPTED.append(True)
    assert "resume point is saved" in invoke("toy", "-w", str(space.root), code=143).stderr
    assert state(space, "toy")["state"] == "partial"
    assert "step 1" in state(space, "toy")["resume"]
    refused = invoke("toy", "-w", str(space.root), "-s", "rank.tie_margin=0.5", code=2).stderr
    assert "rank.tie_margin was 0.05, now 0.5" in refused
    made = inside(space.root, "toy")
    assert made["metrics"] == {"step": 2, "words": 5, "resumed": 1}
    assert invoke("toy", "-w", str(space.root)).stdout.splitlines()[-2:] == [
        f"toy: {space.stage_dir('toy')} is up to date",
        "5 words",
    ]
    assert state(space, "toy")["state"] == "ready"
    assert set(state(space, "toy")["inputs"]) == {"data:chats", "sft"}
    demonstrations(space, "one two three", "four")
    assert state(space, "toy")["changed_inputs"] == ["data:chats"]
    artifact(space, "sft", weights="others")
    assert state(space, "toy")["changed_inputs"] == ["data:chats", "sft"]
    assert inside(space.root, "toy")["made"]
    assert state(space, "toy")["state"] == "ready"
    shown = inside(space.root, "status", "-s", "rank.tie_margin=0.5")["stages"]
    assert [s["changed_settings"] for s in shown if s["stage"] == "toy"] == [["rank.tie_margin"]]
    # without a workspace: the same run
    file = t.write_jsonl(tmp_path / "chats.jsonl", [t.conversation("Q", "a b c").to_json()])
    alone = ["toy", "--model", str(tiny), "--data", str(file), "--output", str(tmp_path / "out"), "--json"]
    told = json.loads(invoke(*alone).stdout)
    assert (told["stage"], told["metrics"]["words"]) == ("toy", 4)
    assert set(verify(tmp_path / "out").inputs) == {"file:chats.jsonl", "sft"}
    assert "missing: --output" in invoke(*alone[:5], code=2).stderr


class Nothing:
    """A source without anything in it, which compares what the real one does."""

    option = None

    def __init__(self, real: Source) -> None:
        self.name, self.compares = real.name, real.compares

    def of_round(self, _space: Workspace) -> Found:
        return Found({}, lambda: None)


def test_the_loop_makes_it_in_its_turn(toy: Stage, space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    demonstrations(space, "one")
    order: list[str] = []

    def fake(task: Task) -> None:
        order.append(task.stage.name)
        task.output.mkdir(parents=True)
        recorded = task.stage.recorded(task.config)
        write_manifest(task.output, task.stage.name, recorded, task.inputs, {"words": 1})

    for stage in registry.loop():
        if stage.run is not None:
            sources = tuple(map(Nothing, stage.sources))
            plain = dataclasses.replace(
                stage,
                run=fake,
                sources=sources,
                tell=lambda _: "",
                shown=None,
                wanted=lambda _: True,
                after=None,
            )
            monkeypatch.setitem(registry._registered, stage.name, plain)
    make_all(space, simulated=False)
    assert order == ["sft", "samples", "reward", "ppo", "toy", "report"]
    make_all(space, simulated=False)
    assert len(order) == 6, "nothing is made twice"
    monkeypatch.undo()  # before the toy is forgotten, which would be put back


def test_names_are_told_apart(toy: Stage) -> None:
    with pytest.raises(ValueError, match="there is one of that name already"):
        registry.register(TOY)
    with pytest.raises(ValueError, match="its parents nobody are no stages"):
        registry.register(dataclasses.replace(TOY, name="other", verb="other", parents=("nobody",)))
    with pytest.raises(ValueError, match="stage 'sfft': expected one of sft, sample"):
        registry.by_verb("sfft")
    assert registry.by_verb("samples") is registry.by_verb("sample")
    assert registry.get("policy") is registry.get("ppo")


# one place


def test_no_other_file_lists_stages() -> None:
    known = {name for stage in registry.stages() for name in (stage.name, stage.verb, stage.title)} | {"policy"}
    found = []
    for path in SOURCES.rglob("*.py"):
        if path.parent.name in ("stages", "elsewhere"):  # the latter names what other trainers call them
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts: list[Any] = []
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                parts = node.elts
            elif isinstance(node, ast.Dict):
                parts = node.keys
            words = {p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)} & known
            if len(words) > 2 and path.name != "demo.py":  # whose settings stand by sections of the configuration
                found.append(f"{path.relative_to(SOURCES)}:{node.lineno}: {sorted(words)}")
    assert not found, "\n".join(found)


def test_neither_rounds_nor_the_store_nor_the_server_loads_torch() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from steersman.artifact.workspace import Workspace\n"
        "from steersman.config import Config\n"
        "from steersman.rounds import gate, jobs, lineage, make, overview, registry\n"
        "import steersman.server.app, steersman.server.listening, steersman.store\n"
        "space = Workspace.create(pathlib.Path(tempfile.mkdtemp()) / 'w', Config())\n"
        "assert overview.collect(space, 1)['next'] == 'steersman data import shop'\n"
        "assert len(registry.stages()) > 9\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# the artifact that was called policy


@pytest.fixture
def old(space: Workspace) -> Workspace:
    """A workspace as versions before wrote it: rounds/001/policy, and that name in manifests and promotions."""
    folder = space.root / "rounds/001"
    sft = artifact(space, "sft")
    reward = artifact(space, "reward", {"sft": sft})
    write = {"sft": sft, "reward": reward}
    (folder / "policy").mkdir()
    (folder / "policy/weights").write_text("policy")
    recorded = {**to_dict(space.config.ppo), "seed": space.config.project.seed, **space.config.model.recorded}
    policy = identity(write_manifest(folder / "policy", "policy", recorded, write, {"loss": 1.0}))
    verdict = json.dumps({"pairs": [{"a": "policy", "b": "sft", "word": "better", "n": 200}]})
    artifact(space, "report", {"sft": sft, "policy": policy}, verdict_json=verdict)
    kept = space.root / "promoted/001-policy-12345678"
    shutil.copytree(folder / "policy", kept)
    entry = {"round": 1, "stage": "policy", "path": "promoted/001-policy-12345678", "identity": policy, "time": "then"}
    write_json(space.root / CURRENT, {"promoted": [entry]})
    return space


def test_an_old_workspace_is_read(old: Workspace) -> None:
    assert old.stage_dir("ppo") == old.root / "rounds/001/policy"
    shown = inside(old.root, "status")
    states = {s["stage"]: s for s in shown["stages"]}
    assert (states["ppo"]["state"], states["ppo"]["changed_settings"]) == ("ready", [])
    assert (states["report"]["state"], states["report"]["inputs"].keys()) == ("ready", {"sft", "ppo"})
    assert shown["current"]["stage"] == "ppo"
    before = identity(read_manifest(old.stage_dir("ppo")))
    assert inside(old.root, "promote")["changed"] is False
    assert inside(old.root, "promote", "--stage", "policy")["promoted"]["identity"] == before
    write_json(old.root / CURRENT, {"promoted": []})
    assert inside(old.root, "promote")["promoted"]["path"].startswith("promoted/001-ppo-")
    # what a later round was made from
    (old.root / "rounds/002").mkdir()
    later = Workspace.open(old.root)
    artifact(later, "sft", {"001/policy": before})
    assert state(later, "sft")["state"] == "ready"
    (old.root / "rounds/001/policy/weights").write_text("others")
    write_manifest(old.root / "rounds/001/policy", "policy", {}, {})
    assert state(later, "sft")["changed_inputs"] == ["001/ppo"]


def test_an_old_samples_setting_and_a_new_workspace(space: Workspace) -> None:
    artifact(space, "ppo")
    assert space.stage_dir("ppo").is_dir()
    assert space.stage_dir("ppo").name == "ppo"
    answering = dataclasses.replace(space.config, sample=dataclasses.replace(space.config.sample, model="policy"))
    (model,) = [source for source in registry.get("samples").sources if source.name == "model"]
    found = model.of_round(dataclasses.replace(space, config=answering))
    assert (list(found.hashes), found.version, found.read()) == (["ppo"], "001/ppo", space.stage_dir("ppo"))
    wrong = dataclasses.replace(space.config, sample=dataclasses.replace(space.config.sample, model="reward"))
    with pytest.raises(ValueError, match=r"sample\.model: expected one of base, sft, ppo, grpo, rloo, dpo, kto, got"):
        model.of_round(dataclasses.replace(space, config=wrong))


def test_an_old_unfinished_run_goes_on(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """policy.partial of before, signed as it was then, is gone on with and becomes the artifact there."""
    import torch

    stage = dataclasses.replace(registry.get("ppo"), sources=(), tell=lambda _: "")
    recorded = stage.recorded(space.config)
    earlier = StageFolder(space.root / "rounds/001/policy", "policy", recorded, {})
    earlier.save({"x": torch.ones(1)}, {"iteration": 3})
    earlier.wait()
    assert state(space, "ppo")["resume"].startswith("iteration 3")

    def run(task: Task) -> None:
        folder = StageFolder(task.output, task.stage.name, recorded, task.inputs)
        point = folder.load()
        assert point is not None
        folder.finish({"iteration": point[1]["iteration"]})

    monkeypatch.setitem(registry._registered, "ppo", dataclasses.replace(stage, run=run))
    outcome = make(registry.get("ppo"), Round(space))
    assert (outcome.folder.name, outcome.metrics) == ("policy", {"iteration": 3})
    assert read_manifest(outcome.folder).stage == "ppo"
    assert not make(registry.get("ppo"), Round(space)).made


def test_the_gate_asks_for_the_stage_of_today(old: Workspace) -> None:
    with pytest.raises(ValueError, match="expected one of sft, ppo, grpo, rloo, dpo, kto"):
        gate.promote(old, "reward", 1)
    with pytest.raises(ValueError, match="round 1 has no model of DPO; what can be promoted"):
        gate.promote(old, "dpo", 1)
