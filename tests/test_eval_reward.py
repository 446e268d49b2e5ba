"""`steersman eval-reward`: any file of pairs or rankings, any reward model, against transformers' own scores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

import tiny as t
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config_file import from_dict
from steersman.data import labelled
from steersman.data.reading import Reading
from steersman.families.heads import name_heads, set_scale
from steersman.families.outputs import init_score_head
from steersman.text.template import Template
from steersman.weights.folders import load_scalar, save_model

runner = CliRunner()
WORDS = (
    "On its way.",
    "It was shipped on 3 May.",
    "No.",
    "You can send it back within 30 days.",
    "明天送达。",
    "请稍等。",
)


def reward_model(tiny: Path, folder: Path, seed: int = 3, objectives: dict[str, float] | None = None) -> Path:
    model = load_scalar(tiny, "float32", heads=len(objectives or {}) or 1)
    if objectives:
        name_heads(model.config, objectives)
        set_scale(model.config, [0.1] * len(objectives), [2.0] * len(objectives))
    init_score_head(model, seed)
    save_model(model, t.tokenizer(), folder)
    return folder


@pytest.fixture(scope="module")
def reward(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_model(tiny, tmp_path_factory.mktemp("rm") / "reward")


def pairs(count: int) -> list[dict[str, Any]]:
    two = list(itertools.permutations(WORDS, 2))
    return [
        {
            "prompt": f"Where is order {i // 2}?",
            "chosen": two[i % len(two)][0],
            "chosen_model": "a",
            "rejected": two[i % len(two)][1],
            "rejected_model": "b",
            "subset": ("alpacaeval-easy", "refusals-dangerous", "donotanswer")[i % 3],
            "id": i,
        }
        for i in range(count)
    ]


def command(*args: str, code: int = 0) -> Any:
    settings = ("-s", "model.device=cpu", "-s", "model.dtype=float32")
    result = runner.invoke(build(), ["eval-reward", *args, "--json", *settings])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@torch.no_grad()
def by_transformers(folder: Path, prompt: str, answer: str) -> float:
    """The same score by transformers alone: the whole dialogue, the logit at its last token."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    template = Template(t.tokenizer(), today=False)
    ids = [*template.prompt_ids(t.conversation(prompt)), *template.answer_ids(answer)]
    return float(model(torch.tensor([ids])).logits[0, 0])


def test_a_rewardbench_file_without_a_workspace(reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pairs(12)
    said = command(str(t.write_jsonl(tmp_path / "rb.jsonl", rows)), "--model", str(reward), "--report", "page.html")
    scores = [[by_transformers(reward, r["prompt"], r[side]) for side in ("chosen", "rejected")] for r in rows]
    right = [better > worse for better, worse in scores]
    assert said["accuracy"]["value"] == pytest.approx(sum(right) / 12)
    longer = [len(r["chosen"]) > len(r["rejected"]) for r in rows]
    assert said["length_baseline"]["value"] == pytest.approx(sum(longer) / 12)
    assert (said["n_pairs"], said["n_prompts"], said["left_out"]) == (12, 6, {})
    assert sum(b["n"] for b in said["calibration"]) == 12
    by = said["by"]["subset"]
    assert {name: of["n_pairs"] for name, of in by.items()} == dict.fromkeys(
        ("alpacaeval-easy", "refusals-dangerous", "donotanswer"), 4
    )
    assert by["donotanswer"]["accuracy"]["value"] == pytest.approx(sum(right[2::3]) / 4)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "donotanswer" in page


FORMS: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], int, str]] = {
    "HH-RLHF": (
        [
            {
                "chosen": f"\n\nHuman: Hi {i}\n\nAssistant: {WORDS[i]}",
                "rejected": f"\n\nHuman: Hi {i}\n\nAssistant: {WORDS[i + 1]}",
            }
            for i in range(4)
        ],
        (),
        4,
        "",
    ),
    "HelpSteer": (
        [
            {
                "prompt": f"Where is {i // 2}?",
                "response": WORDS[i % 5],
                "helpfulness": i % 2 + 1,
                "correctness": 3,
                "domain": f"d{i // 4}",
            }
            for i in range(8)
        ],
        (),
        4,
        "domain",
    ),
    "UltraFeedback": (
        [
            {
                "source": ("evol_instruct", "sharegpt")[i % 2],
                "instruction": f"Tell {i}",
                "models": ["x", "y", "z"],
                "completions": [
                    {"model": m, "response": WORDS[k + i], "overall_score": [7.0, 7.0, 3.0][k]}
                    for k, m in enumerate("xyz")
                ],
            }
            for i in range(3)
        ],
        (),
        6,
        "source",
    ),
    "lists, best first": (
        [{"instruction": f"请问 {i}", "input": "", "output": list(WORDS[i : i + 3])} for i in range(3)],
        ("--ordered", "best-first"),
        9,
        "",
    ),
    "ours": (
        [
            {
                "id": f"r{i}",
                "prompt": {"id": f"p{i}", "messages": [{"role": "user", "content": f"Where is {i}?"}]},
                "answers": list(WORDS[:3]),
                "ranks": [1, 2, 2],
                "labeler": ("ann", "bob")[i % 2],
            }
            for i in range(4)
        ],
        (),
        8,
        "labeler",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_is_scored(form: str, reward: Path, tmp_path: Path) -> None:
    rows, options, count, label = FORMS[form]
    said = command(str(t.write_jsonl(tmp_path / "f.jsonl", rows)), "--model", str(reward), *options)
    assert said["n_pairs"] == count
    assert list(said["by"]) == ([label] if label else [])
    if form == "UltraFeedback":
        assert said["notes"]["pairs of answers that people call equal"] == 3
        assert {k: v["n_pairs"] for k, v in said["by"]["source"].items()} == {"evol_instruct": 4, "sharegpt": 2}


def test_what_is_left_out_is_counted(reward: Path, tmp_path: Path) -> None:
    """Too long for the context, ties alone, equal answers, a broken line."""
    rows = [
        *pairs(4),
        {"prompt": "long", "chosen": "word " * 700, "rejected": "No."},
        {"prompt": "same", "chosen": "Yes.", "rejected": "Yes."},
    ]
    tied = {"id": "t", "prompt": rows[0]["prompt"], "answers": ["a", "b"], "ranks": [1, 1]}
    path = t.write_jsonl(tmp_path / "f.jsonl", [*rows, tied, {"prompt": "x", "chosen": 5, "rejected": "y"}])
    assert "error: " in command(str(path), "--model", str(reward), code=2)["error"]
    said = command(str(path), "--model", str(reward), "--skip-bad")
    assert said["n_pairs"] == 4
    assert (sum(said["left_out"].values()), said["rankings"]) == (4, 6)
    assert said["left_out"]["longer than the model's context"] == 1
    assert said["left_out"]["rankings whose answers are all the same"] == 1
    told = command(str(path), "--model", str(reward), "--skip-bad", "--long", "error", code=2)
    assert "tokens; expected at most 512" in told["error"]


def test_repeated_records_keep_their_own_labels(tmp_path: Path) -> None:
    row = {"prompt": "Where?", "chosen": "Here.", "rejected": "No."}
    path = t.write_jsonl(tmp_path / "f.jsonl", [row | {"subset": name} for name in ("a", "b", "a")])
    found = labelled.load([path], Reading())
    assert [label["subset"] for label in found.labels] == ["a", "b", "a"]


def test_heads_and_members(tiny: Path, tmp_path: Path) -> None:
    """A ranking by an objective is scored by its head, any other by the weighted sum; members by their mean."""
    rows = [{**row, "objective": "helpful"} for row in pairs(6)]
    both = reward_model(tiny, tmp_path / "two", objectives={"helpful": 1.0, "brief": 0.5})
    path = t.write_jsonl(tmp_path / "f.jsonl", rows)
    said = command(str(path), "--model", str(both))
    other = reward_model(tiny, tmp_path / "other", seed=3, objectives={"helpful": 1.0, "brief": 0.0})
    assert command(str(path), "--model", str(other))["accuracy"] == said["accuracy"], "weights do not matter to a head"
    lone = reward_model(tiny, tmp_path / "lone")
    alone = command(str(path), "--model", str(lone))
    reward_model(tiny, lone / "member-2")
    assert command(str(path), "--model", str(lone))["accuracy"] == alone["accuracy"], "two equal members are one"


def test_the_rounds_own_and_what_is_no_reward_model(reward: Path, tiny: Path, tmp_path: Path) -> None:
    space = Workspace.create(tmp_path / "w", from_dict({"project": {"language": "zh"}}, "test"))
    path = str(t.write_jsonl(tmp_path / "f.jsonl", pairs(4)))
    assert "steersman reward" in command(path, "-w", str(space.root), code=2)["error"]
    assert "not a reward model" in command(path, "--model", str(tiny), code=2)["error"]
    assert "no such file" in command(str(tmp_path / "none.jsonl"), "--model", str(reward), code=2)["error"]
    kto = t.write_jsonl(tmp_path / "kto.jsonl", [{"prompt": "x", "completion": "y z", "label": True}])
    assert "--kind feedback" in command(str(kto), "--model", str(reward), code=2)["error"]
    text = runner.invoke(build(), ["eval-reward", path, "--model", str(reward), "-w", str(space.root)])
    assert "奖励模型把" in text.stdout
    assert "按 subset" in text.stdout
