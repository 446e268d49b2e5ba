"""`steersman bench`: suites asked, choices against transformers, results and comparisons."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steersman import plugins
from steersman.artifact.workspace import Workspace
from steersman.config import Config, ModelConfig
from steersman.eval.suites import benching
from steersman.eval.suites.asking import Answers, Folder, Manner, ask, fitting
from steersman.eval.suites.questions import Asking, Question, item_of
from steersman.eval.suites.suite import Item, Suite, last
from steersman.eval.tasks import suite_of
from steersman.store import Store
from steersman.types import Completion, Conversation, Message
from tiny import make_model, write_jsonl
from verbs import told as invoke

FLOAT = ModelConfig(dtype="float32", device="cpu")


def questions(n: int = 12) -> list[dict[str, Any]]:
    return [
        {"subject": "ab"[i % 2], "question": f"Where is {i}? 在哪里？", "choices": ["a", "b"], "answer": "AB"[i % 2]}
        for i in range(n)
    ]


@pytest.mark.parametrize("style", ["text", "chat"])
def test_choices_have_the_log_probabilities_that_transformers_gives(tiny: Path, style: str) -> None:
    choices = ("yes it is", "no", "您好")
    asked = [Question(f"q{i}", f"Is kettle {i} blue?", choices=choices, gold=1, lettered=False) for i in range(3)]
    items = [item_of(q, Asking(style=style)) for q in asked]
    folder = Folder("tiny", tiny, FLOAT)
    found = folder.choose(items)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    for item, logprobs in zip(items, found, strict=True):
        for choice, value in zip(item.choices, logprobs, strict=True):
            if style == "text":
                before = tokenizer(choice.context)["input_ids"]
                whole = tokenizer(choice.context + choice.continuation)["input_ids"]
            else:
                turns = [{"role": "user", "content": item.prompt.last_user}]
                text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
                before = tokenizer(text, add_special_tokens=False)["input_ids"]
                whole = [*before, *tokenizer(choice.continuation, add_special_tokens=False)["input_ids"]]
            with torch.no_grad():
                logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            wanted = sum(float(logs[i - 1, whole[i]]) for i in range(len(before), len(whole)))
            assert value == pytest.approx(wanted, abs=1e-4)


def test_a_dialogue_is_asked_turn_by_turn_with_the_models_own_answers(tiny: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def score(answers: Any) -> float:
        seen.append(list(answers))
        return 1.0

    prompt = Conversation("d", (Message("user", "Hello"),))
    suite = Suite("talk", (Item("d", prompt, score, turns=("Where?", "Thanks")),), max_tokens=4)
    model = Folder("tiny", tiny, FLOAT)
    answers = ask(suite, model, tmp_path / "a", Manner())
    assert len(answers.texts[0]) == 3
    assert answers.texts[0] == seen[0]
    record = json.loads((tmp_path / "a" / "turn-02.jsonl").read_text(encoding="utf-8"))
    said = [m["content"] for m in record["prompt"]["messages"]]
    assert said == ["Hello", answers.texts[0][0], "Where?", answers.texts[0][1], "Thanks"]
    # one that outgrows the context ends early, and that is counted
    long = Suite("long", (Item("d", prompt, score, turns=("order " * 60,) * 4),), max_tokens=8)
    cut = ask(long, model, tmp_path / "b", Manner())
    assert cut.cut == 1
    assert cut.texts[0][-1] == ""
    assert len(cut.texts[0]) == 5
    too_long = Item("x", Conversation("x", (Message("user", "order " * 600),)), last(len))
    with pytest.raises(ValueError, match="no prompt fits"):
        fitting(Suite("x", (too_long,)), [model], Manner())


def test_bench_compares_models_and_goes_on(tiny: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", seed=5)
    data = write_jsonl(tmp_path / "q.jsonl", questions())
    suite = write_jsonl(tmp_path / "mine.jsonl", [{"id": "r1", "prompt": "Where is it?", "must": ["/^never said$/"]}])
    out = tmp_path / "out"
    arguments = ["bench", f"{data},shots=1", str(suite), "sums", "--model", f"one={tiny}", "--model", f"two={other}"]
    arguments += ["--max-tokens", "4", "-o", str(out), "-s", "model.dtype=float32", "-s", "eval.bootstrap=200"]
    told = invoke(*arguments)
    assert told["comparisons"] == 3
    choice, regression, sums = told["tasks"]
    assert (choice["n"], regression["kind"], sums["n"]) == (12, "regression", 40)
    assert set(choice["models"]["one"]["groups"]) == {"a", "b"}
    assert regression["failed"] == {"one": ["r1"], "two": ["r1"]}
    assert regression["pairs"][0]["held"] == "no"
    pair = choice["pairs"][0]
    assert (pair["a"], pair["b"]) == ("two", "one")
    assert pair["p_holm"] >= pair["p"]
    kept = [json.loads(line) for line in (out / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(kept) == 2 * (12 + 1 + 40)
    assert {"task", "id", "model", "messages", "answer", "score"} <= set(kept[0])
    assert benching.read(out)["tasks"] == told["tasks"]
    again = invoke(*arguments)
    assert again["tasks"] == told["tasks"], "greedy answers, same result"


def answers_of(scores: list[float]) -> Answers:
    n = len(scores)
    return Answers([["x"]] * n, scores, [{}] * n, ["stop"] * n, [1] * n)


def test_results_hold_for_all_comparisons_together() -> None:
    items = tuple(Item(str(i), Conversation(str(i), (Message("user", "?"),)), last(lambda _: 0.0)) for i in range(40))
    worse = [0.0] * 20 + [1.0] * 20
    better = [1.0] * 28 + [0.0] + [1.0] * 11
    equal = [1.0] * 2 + worse[2:]
    given = {"a": answers_of(worse), "b": answers_of(better), "c": answers_of(equal)}
    of = benching.Measured(Suite("s", items, "safety", 0.05), given)
    (task,) = benching.results([of], resamples=2000)["tasks"]
    first, second = task["pairs"]
    assert (first["word"], first["word_adjusted"], first["held"]) == ("better", "better", "yes")
    assert (second["word_adjusted"], second["p"]) == ("no evidence", 0.5), (
        "two differences of one sign: 2 of 4 patterns"
    )
    assert first["smallest_shown"] > 0.1
    assert task["models"]["a"]["score"]["value"] == 0.5


def test_tasks_of_the_report_say_what_the_gate_reads(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`eval.tasks` with a built-in suite and a file: kind, margin, failed prompts and whether the margin is held."""
    other = make_model(tmp_path / "other", seed=5)
    suite = write_jsonl(tmp_path / "mine.jsonl", [{"id": "r1", "prompt": "Where is it?", "must_not": ["/x{99}/"]}])
    prompts = write_jsonl(
        tmp_path / "p.jsonl", [{"messages": [{"role": "user", "content": f"Where is {i}?"}]} for i in range(4)]
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(plugins, "_admitted", [])
    (tmp_path / "bench_judge.py").write_text("def judge(conversation, answer):\n    return 0.5\n", encoding="utf-8")
    told = invoke(
        *("eval", "--model", f"sft={tiny}", "--model", f"ppo={other}", "--data", str(prompts)),
        *("--output", str(tmp_path / "report")),
        *("-s", f'eval.tasks=["{suite}", "closed"]', "-s", "eval.max_tokens=4", "-s", "eval.bootstrap=100"),
        *("-s", "project.judge=bench_judge:judge", "-s", "model.dtype=float32"),
    )
    regression, task = told["verdict"]["tasks"]
    assert (regression["kind"], regression["margin"]) == ("regression", 0.0)
    assert regression["failed"] == {"sft": [], "ppo": []}
    (pair,) = regression["pairs"]
    assert (pair["names"], pair["held"], pair["word"]) == (["ppo", "sft"], "yes", "no evidence")
    assert (task["kind"], task["n"], task["failed"]) == ("task", 60, {})
    inputs = json.loads((tmp_path / "report" / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    assert f"tasks mine.jsonl of {suite}" in inputs


def test_a_suite_of_a_function_is_a_suite() -> None:
    suite = suite_of("sums")
    assert len(suite.items) == 40
    assert suite.score(0, suite.items[0].prompt.last_user) in (0.0, 1.0)


def test_disliked_answers_become_a_suite_that_a_report_asks(tmp_path: Path) -> None:
    space = Workspace.create(tmp_path / "w", Config())
    with Store.open(space.store) as store:
        chat = store.create_conversation()
        for i, said in enumerate(("Never ask me that again.", "Gladly, within 30 days.", "Never ask me that again.")):
            question = store.add_question(chat.id, f"Can I return order {i}?", None)
            answer = store.add_answer(question.id, Completion(said, (1,), (-0.1,), "stop", "ppo-1"))
            store.add_feedback(answer.id, "like" if i == 1 else "dislike")
    at = ("-w", str(space.root))
    told = invoke("regressions", *at)
    assert (told["disliked"], told["new"], told["task"]) == (2, 2, "regressions/feedback.jsonl")
    assert invoke("regressions", *at)["new"] == 0, "once"
    suite = suite_of("regressions/feedback.jsonl", space.root)
    assert [item.prompt.last_user for item in suite.items] == ["Can I return order 0?", "Can I return order 2?"]
    assert suite.score(0, "never ask me that again!") == 0
    assert suite.score(0, "Of course you can.") == 1
    record = json.loads((space.root / "regressions" / "feedback.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert record["source"] == f"feedback {record['id']}"
