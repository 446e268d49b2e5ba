"""Several policies side by side in one workspace: made, compared on one report, promoted."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny as t
from steersman.artifact.manifest import read_manifest, verify, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.eval.run import best_answers, best_of_kl
from steersman.store import Store
from steersman.types import Completion
from verbs import done as invoke

SIZES = {
    "project.domain": "none",
    "model.dtype": "float32",
    "model.device": "cpu",
    "sft.epochs": 1,
    "sample.max_tokens": 4,
    "dpo.lr": 1e-3,
    "kto.lr": 1e-3,
    "reward.holdout_fraction": 0.25,
    "reward.validator": "false",
    "dpo.holdout_fraction": 0.25,
    "ppo.iterations": 2,
    "ppo.max_tokens": 6,
    "ppo.minibatches": 1,
    "ppo.lr": 1e-3,
    "ppo.kl_ceiling": 1e9,
    "ppo.eval_prompts": 2,
    # for the critic alone: what has none must not stumble over it
    "ppo.critic_warmup_iterations": 1,
    "grpo.prompts_per_iteration": 2,
    "rloo.prompts_per_iteration": 2,
    "eval.max_tokens": 8,
    "eval.bootstrap": 100,
    "eval.best_of": 3,
}
POLICIES = ("grpo", "rloo", "dpo", "kto")


def inside(root: Path, *args: str) -> Any:
    return json.loads(invoke(*args, "-w", str(root), "--json").stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    prompts = [t.conversation(f"Where is parcel {i}?", id=f"p{i}").to_json() for i in range(12)]
    answers = ["On its way.", "No.", "Your parcel arrives on 6 May, thank you."]
    ranked = [
        {"id": f"r{i}", "prompt": p, "answers": answers, "ranks": [2, 3, 1] if i % 3 else [1, 2, 3]}
        for i, p in enumerate(prompts)
    ]
    chats = [t.conversation(f"Where is order {i}?", "On its way.").to_json() for i in range(8)]
    asked = {"prompt": prompts[0], "answer": "No."}
    said = [{"id": "a", "kind": "like", **asked}, {"id": "b", "kind": "edit", "edited": "Soon.", **asked}]
    return {
        name: t.write_jsonl(folder / f"{name}.jsonl", lines)
        for name, lines in (
            ("chats", chats),
            ("prompts", prompts),
            ("test", prompts[:10]),
            ("rankings", ranked),
            ("feedback", said),
        )
    }


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A workspace with every policy but PPO's, each test's own: one of them is compared, and one promoted."""
    return shutil.copytree(made, tmp_path / "w", copy_function=shutil.copy2)


@pytest.fixture(scope="module")
def made(tiny: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace") / "w"
    settings = [part for key, value in SIZES.items() for part in ("-s", f"{key}={value}")]
    invoke("init", str(root), "--base", str(tiny), *settings)
    invoke("data", "import", str(files["chats"]), "-w", str(root))
    invoke("data", "import", str(files["rankings"]), "-w", str(root))
    invoke("data", "import", str(files["prompts"]), "--kind", "prompts", "-w", str(root))
    invoke("data", "import", str(files["test"]), "--kind", "prompts", "--split", "test", "-w", str(root))
    for verb in ("sft", "sample", "reward", *POLICIES):
        assert inside(root, verb)["made"]
    return root


def test_each_has_its_artifact_and_is_made_once(root: Path) -> None:
    space = Workspace.open(root)
    for stage in POLICIES:
        manifest = verify(space.stage_dir(stage))
        assert manifest.stage == stage
        assert ("reward" in manifest.inputs) == (stage in ("grpo", "rloo"))
    assert not inside(root, "dpo")["made"]
    assert not inside(root, "grpo")["made"]
    status = inside(root, "status")
    states = {s["stage"]: s for s in status["stages"]}
    assert {states[stage]["state"] for stage in POLICIES} == {"ready"}
    assert not any(states[stage]["changed_settings"] for stage in POLICIES)
    changed = inside(root, "status", "-s", "grpo.kl_coef=0.5")["stages"]
    assert [s["changed_settings"] for s in changed if s["stage"] == "grpo"] == [["grpo.kl_coef"]]
    assert status["next"] == "steersman eval", "DPO and the others take the place of PPO"
    shown = inside(root, "chat", "-m", "Where?", "--model", "kto")
    assert shown["policy_version"] == "001/kto"


def test_an_older_artifact_lacks_newer_settings(root: Path) -> None:
    path = Workspace.open(root).stage_dir("dpo") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["label_smoothing"]
    path.write_text(json.dumps(manifest))
    assert not inside(root, "dpo")["made"]


def test_all_on_one_report_and_the_gate(root: Path) -> None:
    shown = inside(root, "eval")["verdict"]
    names = ["base", "sft", *POLICIES, "best_of"]
    assert [m["name"] for m in shown["models"]] == names
    assert [(p["a"], p["b"]) for p in shown["pairs"]] == [("sft", "base"), *((n, "sft") for n in names[2:])]
    best = shown["models"][-1]
    assert (best["label"], best["kl_bound"]) == ("Best of 3", True)
    assert best["kl"]["value"] == pytest.approx(math.log(3) - 2 / 3)
    assert all(m["kl"] is not None and not m["kl_bound"] for m in shown["models"][2:-1])
    assert best["reward"]["value"] > shown["models"][1]["reward"]["value"]
    space = Workspace.open(root)
    same = [s.upper() for s in ("grpo", "rloo") if read_manifest(space.stage_dir(s)).metrics["kept"] == "sft"]
    told = [c["values"]["label"] for c in shown["cautions"] if c["code"] == "kept_sft"]
    assert told == same
    assert same, "so short a run finds nothing surely better"
    folder = Workspace.open(root).stage_dir("report")
    page = (folder / "report.html").read_text()
    assert all(f">{name}<" in page for name in ("GRPO", "RLOO", "DPO", "KTO"))
    assert "≤ 0.43" in page
    text = invoke("report", "-w", str(root)).stdout
    assert "KL of Best of 3 to SFT: at most 0.43 nats per answer" in text
    assert text.index("GRPO against SFT") < text.index("SFT against base"), "an improved model is the headline"
    assert "learned from the same rankings as DPO" in text
    assert inside(root, "status")["next"] == "steersman promote --stage grpo"
    record = json.loads((folder / "verdict.json").read_text())
    for pair in record["pairs"]:
        pair["word"] = "worse" if pair["a"] == "kto" else "no evidence"
    (folder / "verdict.json").write_text(json.dumps(record))
    made = read_manifest(folder)
    write_manifest(folder, "report", made.config, made.inputs, made.metrics)
    refused = invoke("promote", "--stage", "kto", "-w", str(root), code=2).stderr
    assert "kto is worse than sft" in refused
    refused = invoke("promote", "--stage", same[0].lower(), "-w", str(root), code=2).stderr
    assert "it was not better than sft on held-out prompts and is that model" in refused
    assert inside(root, "promote", "--stage", "dpo", "--anyway")["promoted"]["stage"] == "dpo"
    assert inside(root, "chat", "-m", "Where?")["policy_version"] == "001/dpo"


def test_without_a_workspace(tiny: Path, files: dict[str, Path], tmp_path: Path) -> None:
    out, small = tmp_path / "kto", ["-s", "model.device=cpu", "-s", "model.dtype=float32"]
    args = ["kto", "--model", str(tiny), "--data", str(files["rankings"]), "--feedback", str(files["feedback"])]
    shown = json.loads(invoke(*args, "--output", str(out), "--json", *small).stdout)
    assert shown["metrics"]["n_train_prompts"] >= 10
    assert set(read_manifest(out).inputs) == {"file:rankings.jsonl", "file:feedback.jsonl", "sft"}
    bad = t.write_jsonl(tmp_path / "bad.jsonl", [{"kind": "like"}])
    args = ["kto", "--model", str(tiny), "--feedback", str(bad), "--output", str(tmp_path / "x"), *small]
    assert f"{bad}:1: record: no known format has these fields: kind" in invoke(*args, code=2).stderr
    args = ["eval", "--model", f"sft={tiny}", "--data", str(files["test"]), "--output", str(tmp_path / "y"), *small]
    assert "eval.best_of needs" in invoke(*args, "-s", "eval.best_of=2", code=2).stderr


def test_kto_reads_public_forms_of_feedback(tiny: Path, tmp_path: Path) -> None:
    """TRL's form and LLaMA-Factory's in one file, answers with U+2028; DPO says that it needs comparisons."""
    flat = [{"prompt": f"Is it open on day {i}?", "completion": "No.\u2028Go.", "label": bool(i % 2)} for i in range(3)]
    tagged = [{"instruction": "Is it far?", "input": "", "output": "A mile.", "kto_tag": True}]
    data = t.write_jsonl(tmp_path / "feedback.jsonl", [*flat, *tagged])
    small = ["-s", "model.device=cpu", "-s", "model.dtype=float32", "--model", str(tiny), "--data", str(data)]
    shown = json.loads(invoke("kto", *small, "--output", str(tmp_path / "kto"), "--json").stdout)
    assert shown["metrics"]["n_train_prompts"] == 4, "none is held out, which could test nothing"
    refused = invoke("dpo", *small, "--output", str(tmp_path / "dpo"), code=2).stderr
    assert "feedback.jsonl:1: answers: expected several answers to compare, got one answer with a label" in refused


def test_imported_feedback_is_learned_by_kto(root: Path, tmp_path: Path) -> None:
    before = inside(root, "plan", "kto", "--memory", "4G")["stages"][0]["data"]["documents"]
    lines = [{"prompt": f"Is it open on day {i}?", "completion": "No.", "label": False} for i in range(2)]
    path = t.write_jsonl(tmp_path / "said.jsonl", lines)
    assert inside(root, "data", "import", str(path))["datasets"][0]["kind"] == "feedback"
    assert inside(root, "plan", "kto", "--memory", "4G")["stages"][0]["data"]["documents"] == before + 2
    states = {s["stage"]: s for s in inside(root, "status")["stages"]}
    assert "data:said" in str(states["kto"]["changed_inputs"])
    assert "data:said" not in str(states["dpo"]["changed_inputs"])


def test_the_best_answer_by_hand() -> None:
    first, second = ([Completion(f"{k}{i}", (1,), (0.0,), "stop", "") for i in range(2)] for k in "ab")
    chosen, scores = best_answers([first, second], [[1.0, 0.5], [0.0, 2.0]])
    assert [c.text for c in chosen] == ["a0", "b1"]
    assert scores == [1.0, 2.0]
    assert best_of_kl(1) == 0


def test_a_plan_counts_what_people_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.train.speed.products_per_second", lambda *_: 1e12)

    def documents(stage: str) -> int:
        return inside(root, "plan", stage, "--memory", "4G")["stages"][0]["data"]["documents"]

    assert (documents("dpo"), documents("kto")) == (12, 12)
    with Store.open(Workspace.open(root).store_path) as store:
        chat = store.create_conversation()
        question = store.add_question(chat.id, "Where is it?")
        answer = store.add_answer(question.id, Completion("No.", (), (), "stop", "v"))
        store.add_feedback(answer.id, "dislike")
        assert (documents("dpo"), documents("kto")) == (12, 13)
        store.delete_conversation(chat.id)
