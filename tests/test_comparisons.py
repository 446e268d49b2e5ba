"""Power, Bradley-Terry, Holm, agreement, and verdicts on runs of other systems, beside numbers from elsewhere.

Constants marked so are from statsmodels 0.14, scipy 1.17 and scikit-learn 1.9 on the same inputs.
"""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from server_double import FakeEngine, live
from steersman.cli import framework
from steersman.eval import between, blind, length_control, rubric
from steersman.eval.between import in_all
from steersman.eval.many import holm, sign_flip_p
from steersman.eval.power import Spread, of_wins, power_at, prompts_needed, smallest_shown, spread_of, spread_over_seeds
from steersman.eval.runs import aligned, matched, read, with_prompts
from steersman.eval.strengths import Compared, bradley_terry, chance
from steersman.eval.tasks import paired
from steersman.server.app import create_app
from steersman.stats import wilson
from steersman.store import Store
from steersman.types import Completion, Conversation, Message
from tiny import write_jsonl
from verbs import told as run

EVAL = Path(__file__).parents[1] / ".." / "shared" / "data" / "eval"


def test_holm_is_that_of_statsmodels() -> None:
    given = [0.001, 0.04, 0.03, 0.2, 0.011, 0.9]
    assert holm(given) == pytest.approx([0.006, 0.12, 0.12, 0.4, 0.055, 0.9])  # multipletests
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        holm([1.5])


def test_sign_flips_are_those_of_scipy_and_keep_their_level() -> None:
    x = [0.5, -0.2, 0.8, 0.1, 0.9, -0.3, 0.4, 0.6]
    assert sign_flip_p(x) == 0.078125  # permutation_test(permutation_type="samples"), exact
    assert sign_flip_p([*x, 0.0, 0.0]) == 0.078125, "equal scores say nothing"
    assert sign_flip_p([1.0] * 6, ["a"] * 3 + ["b"] * 3) == 0.5, "two clusters of one sign: 2 of 4 patterns"
    rng = np.random.default_rng(0)
    found = [sign_flip_p(rng.choice([-1.0, 0.0, 1.0], 40), rounds=400, seed=i) for i in range(400)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.08
    assert sign_flip_p([]) == 1.0


@pytest.mark.parametrize(
    ("effect", "n", "power"),
    [(0.5, 20, 0.564483), (0.2, 200, 0.803666), (0.886, 10, 0.703839), (0.3, 50, 0.547630)],
)
def test_power_is_that_of_the_noncentral_t(effect: float, n: int, power: float) -> None:
    assert power_at(effect, Spread(1.0), n) == pytest.approx(power, abs=2e-4)  # scipy.stats.nct
    assert smallest_shown(Spread(1.0), n, power) == pytest.approx(effect, abs=1e-3)


def test_how_many_prompts_show_a_difference() -> None:
    assert prompts_needed(0.2, Spread(1.0)) == 199  # TTestPower.solve_power: 198.15
    assert prompts_needed(0.5, Spread(1.0)) == 34  # 33.37
    assert prompts_needed(0.0548, Spread(1.0)) == pytest.approx(2616, abs=2)  # 2615.56
    assert of_wins(0.5, 0.5).prompts == 0.5
    # seeds vary by 2 points: with three of them 1 point is never shown, however many prompts
    assert prompts_needed(0.01, Spread(0.3, 0.02), seeds=3) is None
    with pytest.raises(ValueError, match="other than 0"):
        prompts_needed(0.0, Spread(1.0))


def test_power_is_what_simulated_verdicts_find() -> None:
    """500 verdicts by the verdict's own interval at the number of prompts that was asked for."""
    from steersman.stats import paired_bootstrap

    n = prompts_needed(0.1, Spread(0.4))
    assert n is not None
    rng, found = np.random.default_rng(3), 0
    for i in range(500):
        difference = rng.choice([-0.4, 0.4], n, p=[0.375, 0.625])  # mean 0.1, deviation 0.387
        found += paired_bootstrap(difference, np.zeros(n), resamples=300, seed=i, expanded=True).low > 0
    assert found / 500 == pytest.approx(power_at(0.1, Spread(0.387), n), abs=0.06)


def test_variance_of_seeds_and_prompts_apart() -> None:
    y = np.random.default_rng(1).normal(size=(4, 6)) + np.arange(4)[:, None] * 0.3 + np.arange(6) * 0.1
    spread = spread_over_seeds(y.tolist())
    # (mean square - residual) / cells, of statsmodels' anova_lm(y ~ C(seed) + C(prompt))
    assert spread.seeds**2 == pytest.approx(0.0595078343)
    assert spread.prompts**2 == pytest.approx(0.1807222725)
    assert spread.left**2 == pytest.approx(0.3764739030)
    with pytest.raises(ValueError, match="2 seeds and 2 prompts"):
        spread_over_seeds([[0.1, 0.2]])
    with pytest.raises(ValueError, match="at least 2 prompts"):
        spread_of([0.5])


def simulated(n: int, seed: int) -> list[Compared]:
    true = {"a": 0.0, "b": 0.5, "c": 1.2, "d": -0.4}
    rng, names, out = np.random.default_rng(seed), "abcd", []
    for i in range(n):
        u, v = (names[k] for k in rng.choice(4, 2, replace=False))
        p = 1 / (1 + math.exp(-(true[u] - true[v])))
        score = [1.0, 0.5, 0.0][int(rng.choice(3, p=[p * 0.9, 0.1, (1 - p) * 0.9]))]
        out.append(Compared(u, v, score, f"p{i // 2}"))
    return out


def test_bradley_terry_is_the_maximum_that_scipy_finds() -> None:
    found = bradley_terry(simulated(200, 0), resamples=200)
    wanted = {"c": 119.50144, "b": 74.65195, "a": -62.90540, "d": -131.24799}  # scipy.optimize.minimize, same ridge
    assert list(found) == list(wanted)
    assert {k: of.value for k, of in found.items()} == pytest.approx(wanted, abs=1e-3)
    assert sum(of.n for of in found.values()) == 400
    assert chance(400, 0) == pytest.approx(10 / 11)
    with pytest.raises(ValueError, match="never met"):
        bradley_terry([Compared("a", "b", 1.0), Compared("c", "d", 0.0)])


def test_bradley_terrys_intervals_hold_the_truth() -> None:
    true = np.array([0.0, 0.5, 1.2, -0.4]) - 0.325
    true *= 0.9 * 400 / math.log(10)  # ties of a tenth draw strengths together, by about as much
    held = 0
    for seed in range(20):
        found = bradley_terry(simulated(160, 10 + seed), resamples=200, seed=seed)
        held += sum(found[k].low <= t <= found[k].high for k, t in zip("abcd", true, strict=True))
    assert held / 80 >= 0.88


def test_length_control_finds_the_rate_that_equal_lengths_would_have() -> None:
    """Simulated judges who like long answers; the fit beside scikit-learn's on the same numbers."""
    rng = np.random.default_rng(0)
    hard, models, truth = rng.normal(0, 1, 200), {}, {}
    for name, (theta, phi, psi) in {"a": (-0.6, 1.5, 1.0), "b": (0.3, 0.8, 1.2), "c": (0.0, 0.0, 0.7)}.items():
        lengths = rng.normal(-20 if name == "c" else 40, 60, 200)
        p = 1 / (1 + np.exp(-(theta + phi * np.tanh(lengths / lengths.std()) + psi * hard)))
        wins = (rng.random(200) < p).astype(float)
        models[name] = length_control.Outcomes([f"p{i}" for i in range(200)], wins.tolist(), lengths.tolist())
        truth[name] = float((1 / (1 + np.exp(-(theta + psi * hard)))).mean())
    found = length_control.length_controlled(models, resamples=20)
    for name, true in truth.items():
        assert found[name].value == pytest.approx(true, abs=0.07)
    assert np.mean(models["a"].wins) - truth["a"] > 0.08, "what length alone has won"
    x = np.tanh(np.array(models["a"].lengths) / np.std(models["a"].lengths))
    design = np.stack([np.ones(200), x, hard], axis=1)
    fitted = length_control._logistic(design, np.array(models["a"].wins), np.ones(200), np.full(3, 0.1))
    assert fitted == pytest.approx([-0.93451355, 2.21102164, 1.17154642], abs=1e-6)  # LogisticRegression(C=10)
    with pytest.raises(ValueError, match="at least two models"):
        length_control.length_controlled({"a": models["a"]})


def test_equal_answers_leave_room_for_a_difference() -> None:
    same = paired([1.0] * 20, [1.0] * 20)
    assert (same.value, same.low, same.high) == pytest.approx((0.0, -0.1611, 0.1611), abs=1e-4)
    assert paired([1.0, 0.0] * 10, [0.0, 0.0] * 10).low > 0


def test_kappa_and_agreement_with_people() -> None:
    a, b = [1, 0, -1, 1, 1, 0, -1, 1, 0, 0], [1, 0, 1, 1, -1, 0, -1, 1, 1, 0]
    assert rubric.kappa(list(zip(a, b, strict=True))) == pytest.approx(0.53125)  # cohen_kappa_score
    found = rubric.agreement([1.0, 0.0, 0.5, None, 1.0], [1.0, 1.0, 0.0, 1.0, 0.5])
    assert (found["n"], found["people_decided"], found["share"]["value"]) == (4, 3, 0.5)


# a language model as judge


class FirstPlace:
    """Prefers what it is shown first, but for answers that say 'refund'; silent on fitness of every third."""

    def __init__(self) -> None:
        self.seen: list[Conversation] = []

    def generate(self, prompts: Any, params: Any) -> list[list[Completion]]:
        self.seen += prompts
        out = []
        for i, prompt in enumerate(prompts):
            _, first, second = prompt.last_user.replace("[回答 ", "[Answer ").split("[Answer ")
            better = "1" if "refund" in first or "refund" not in second else "2"
            fitness = "" if i // 2 % 3 == 0 else "\nfitness: tie"
            out.append([Completion(f"Both are fine.\nIntent: {better}\nconstraint: 1{fitness}", (), (), "stop", "")])
        return out


def test_a_judge_of_pairs_is_asked_in_both_orders_and_its_bias_told() -> None:
    pairs = [
        rubric.Pair(Conversation(str(i), (Message("user", "杯子碎了" if i % 2 else "It broke"),)), *answers)
        for i, answers in enumerate([("We refund it.", "Oh dear, what a pity.")] * 6 + [("Yes.", "Well yes.")] * 6)
    ]
    engine = FirstPlace()
    judged = rubric.judge(engine, pairs)
    assert len(engine.seen) == 24
    assert engine.seen[0].messages[0].text == rubric.RUBRIC["en"]
    assert engine.seen[2].messages[0].text == rubric.RUBRIC["zh"]
    assert list(judged.wins["intent"]) == [1.0] * 6 + [0.5] * 6, "first place alone is a tie"
    assert list(judged.wins["constraint"]) == [0.5] * 12
    assert list(judged.wins["fitness"]) == [None if i % 3 == 0 else 0.5 for i in range(12)]
    bias = judged.bias
    assert bias["prefers_a_place"]
    assert bias["first_place_wins"]["value"] == pytest.approx((6 + 12 + 24) / 48)
    assert bias["no_word"] == 8
    assert bias["longer_wins"]["value"] == pytest.approx((0 + 6 + 6 + 6) / 48)


def test_a_language_model_over_an_api_judges_a_reports_answers(tmp_path: Path) -> None:
    """The answers that `steersman eval` keeps, judged by an endpoint that always prefers what it is shown first."""
    files = []
    for name in ("sft", "ppo"):
        rows = [
            {
                "prompt": Conversation(f"p{i}", (Message("user", f"Where is {i}? 在哪里？"),)).to_json(),
                "completions": [Completion(f"{name} says {i}", (), (), "stop", name).to_json()],
            }
            for i in range(12)
        ]
        files.append(str(write_jsonl(tmp_path / f"{name}.jsonl", rows)))
    engine = FakeEngine(pieces=("intent: 1\n", "constraint: 1\n", "fitness: tie"), max_context=10**6)
    with Store.open(tmp_path / "store.db") as store, live(create_app(engine, store, name="J", language="en")) as url:
        told = run("compare-answers", *files, "--api", f"{url}/v1@tiny", "-s", "eval.bootstrap=200")
    assert len(engine.seen) == 24
    assert told["measures"] == ["model intent", "model constraint", "model fitness"]
    assert [pair["ties"] for pair in told["pairs"]] == [12, 12, 12], "who prefers a place decides nothing"
    (bias,) = told["bias"].values()
    assert bias["first_place_wins"]["value"] == 1.0
    assert bias["prefers_a_place"]
    assert bias["orders_agree"]["value"] == pytest.approx(1 / 3)


# runs of other systems


def answers(n: int, level: float, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "id": f"p{i}",
            "prompt": f"Where is {i}?",
            "answer": "It is here. " * (1 + i % 3),
            "score": float(rng.random() < level),
        }
        for i in range(n)
    ]


def test_a_verdict_on_two_files_of_answers(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", answers(120, 0.3, 1))
    two = write_jsonl(tmp_path / "two.jsonl", answers(130, 0.7, 2))
    told = run("compare-answers", str(one), f"new={two}", "-s", "eval.bootstrap=500")
    (pair,) = told["pairs"]
    assert (pair["a"], pair["b"], pair["word_adjusted"], pair["n"]) == ("new", "one", "better", 120)
    assert told["answered_by_one_alone"] == {"one": 0, "new": 10}
    assert pair["wins"] + pair["ties"] + pair["losses"] == 120
    assert 0.1 < pair["smallest_shown"] < 0.3
    same = run("compare-answers", str(one), f"copy={one}", "-s", "eval.bootstrap=200")["pairs"][0]
    assert (same["word"], same["p"], same["smallest_shown"]) == ("no evidence", 1.0, None)
    assert same["difference"]["low"] < 0 < same["difference"]["high"]
    text = CliRunner().invoke(
        framework.build(), ["compare-answers", str(one), f"new={two}", "-s", "eval.bootstrap=200"]
    )
    assert "new against one by score: better (120 prompts)" in text.stdout
    lower = run("compare-answers", str(one), f"new={two}", "--lower-is-better", "score", "-s", "eval.bootstrap=200")
    assert lower["pairs"][0]["word"] == "worse"


def test_seeds_clusters_and_three_runs(tmp_path: Path) -> None:
    files = {}
    for name, level in (("a", 0.3), ("b", 0.5), ("c", 0.8)):
        for seed in range(3):
            rows = [
                {**row, "cluster": f"c{i // 4}"}
                for i, row in enumerate(answers(80, level, hash((name == "a", seed)) % 99))
            ]
            files[name, seed] = write_jsonl(tmp_path / f"{name}{seed}.jsonl", rows)
    seeds = [f"{name}=" + ",".join(str(files[name, seed]) for seed in range(3)) for name in "abc"]
    told = run("compare-answers", *seeds, "-s", "eval.bootstrap=500")
    assert [pair["seeds"] for pair in told["pairs"]] == [3, 3, 3]
    assert told["comparisons"] == 3
    assert all(pair["p_holm"] >= pair["p"] for pair in told["pairs"])
    assert list(told["strengths"]["score"]) == ["c", "b", "a"]
    assert list(told["at_equal_length"]["score"]) == ["b", "c"]
    alone = run("compare-answers", *(f"{name}={files[name, 0]}" for name in "ab"), "-s", "eval.bootstrap=500")
    assert alone["pairs"][0]["clusters"] == 20
    uneven = run("compare-answers", seeds[0], f"b={files['b', 0]}", code=2)
    assert "as many files of each" in uneven["error"]


def logged(doc: int, right: float, answer: str) -> dict[str, Any]:
    """As lm-evaluation-harness 0.4 writes a sample."""
    return {
        "doc_id": doc,
        "doc": {"question": f"Is {doc} even?", "subject": "numbers"},
        "target": "0",
        "arguments": {"gen_args_0": {"arg_0": f"Is {doc} even?", "arg_1": " yes"}},
        "resps": [[["-1.5", "True"]], [["-2.5", "False"]]],
        "filtered_resps": [["-1.5", "True"], ["-2.5", "False"]],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"{doc:064x}",
        "acc": right,
        "acc_norm": 1.0,
    }


def test_logged_samples_of_lm_evaluation_harness(tmp_path: Path) -> None:
    for name, right in (("old", 0.0), ("new", 1.0)):
        for task in ("arc", "piqa"):
            folder = tmp_path / name / "model"
            folder.mkdir(parents=True, exist_ok=True)
            rows = [logged(i, right if i % 3 else 1.0, "x") for i in range(30)]
            write_jsonl(folder / f"samples_{task}_2026-11-28T08-00-00.123456.jsonl", rows)
    told = run("compare-answers", str(tmp_path / "old"), str(tmp_path / "new"), "-s", "eval.bootstrap=500")
    assert told["measures"] == ["arc: acc", "arc: acc_norm", "piqa: acc", "piqa: acc_norm"]
    assert [pair["word_adjusted"] for pair in told["pairs"]] == ["better", "no evidence", "better", "no evidence"]
    (over,) = told["over_tasks"]
    assert (over["word"], over["measures"]) == ("better", ["arc: acc", "piqa: acc"])
    assert over["difference"]["value"] == pytest.approx(2 / 3)


def test_lists_filters_and_old_forms_of_the_harness(tmp_path: Path) -> None:
    """Lists were dropped in silence, a number as target was a score, a task of two filters counted twice."""
    for name, right in (("old", False), ("new", True)):
        folder = tmp_path / name
        folder.mkdir()
        for task, row in {
            "gsm8k": [  # twice, by two filters
                {"filter": f"{kind}-match", "metrics": ["exact_match"], "exact_match": right}
                for kind in ("strict", "flexible")
            ],
            "ifeval": [
                {"metrics": ["inst_level_strict_acc", "bleu"], "inst_level_strict_acc": [right, True], "bleu": "a"}
            ],
            "wikitext": [{"metrics": ["word_perplexity"], "word_perplexity": [-300.0 + 100 * right, 100]}],
            "hellaswag": [{"metrics": None, "acc": float(right), "target": 3, "filtered_resps": [-1.0, True]}],
        }.items():  # fmt: skip
            rows = [
                {**logged(i, 0.0, "x"), "filter": "none", **{"acc": None, "acc_norm": None}, **one}
                for i in range(20)
                for one in row
            ]
            write_jsonl(folder / f"samples_{task}.jsonl", rows)
    told = run("compare-answers", str(tmp_path / "old"), str(tmp_path / "new"), "-s", "eval.bootstrap=100")
    assert {pair["measure"]: round(pair["difference"]["value"], 6) for pair in told["pairs"]} == {
        "gsm8k (flexible-match): exact_match": 1.0,
        "gsm8k (strict-match): exact_match": 1.0,
        "hellaswag: acc": 1.0,
        "ifeval: inst_level_strict_acc (mean a prompt)": 0.5,
        "wikitext: word_perplexity (log-likelihood a unit)": 1.0,
    }
    assert told["n"] == 80
    (over,) = told["over_tasks"]
    assert len(over["measures"]) == 3
    assert over["difference"]["value"] == pytest.approx(2.5 / 3)
    assert told["runs"]["new"]["left_out"] == {"metrics that are no number of one answer (bleu)": 20}


def test_files_of_mt_bench_and_alpaca_eval(tmp_path: Path) -> None:
    judged = [
        {"question_id": i, "model": name, "judgment": "Rating", "score": -1 if i == 3 else score, "turn": turn}
        for name, score in (("old", 5), ("new", 7)) for i in range(6) for turn in (1, 2)
    ]  # fmt: skip
    path = write_jsonl(tmp_path / "single.jsonl", judged)
    told = run("compare-answers", f"{path}@old", f"{path}@new", "-s", "eval.bootstrap=100")
    assert [(p["measure"], p["n"], p["difference"]["value"]) for p in told["pairs"]] == [
        ("turn 1: score", 5, 2),
        ("turn 2: score", 5, 2),
    ]
    assert told["runs"]["new"]["left_out"] == {"judgments without a score": 2}
    for name in ("old", "new"):
        rows = [
            {"question_id": i, "answer_id": str(i), "model_id": name, "choices": [{"index": 0, "turns": ["a", name]}]}
            for i in range(3)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    given = read(str(tmp_path / "new.jsonl")).answers.values()
    assert [one.answer for (one,) in given] == ["a", "new"] * 3
    noted = [
        {"instruction": f"Do {i}", "output_1": "a", "generator_1": "old", "output_2": "b", "generator_2": "new"}
        | {"preference": 1.75 if i else None}
        for i in range(6)
    ]  # fmt: skip
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(noted), encoding="utf-8")
    found = read(f"{path}@new").answers.values()
    assert [one.scores for (one,) in found] == [{}, *[{"preferred": 0.75}] * 5]


def test_what_cannot_be_compared_is_an_error(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", [{"id": "1", "answer": "a"}])
    two = write_jsonl(tmp_path / "two.jsonl", [{"id": "2", "answer": "a"}])
    assert "no prompt in common" in run("compare-answers", str(one), str(two), code=2)["error"]
    own = write_jsonl(tmp_path / "own.jsonl", [{"id": "1", "prompt": "Where is it?", "answer": "a"}])
    told = run("compare-answers", str(own), f"b={own}", "--judge", "shop", code=2)["error"]
    assert "own: prompt 1 ('Where is it?'): shop rules cannot judge it" in told
    assert "nothing says which answer is better" in run("compare-answers", str(one), f"b={one}", code=2)["error"]
    assert "of different names" in run("compare-answers", str(one), str(one), code=2)["error"]
    bad = write_jsonl(tmp_path / "bad.jsonl", [{"id": "1", "words": "a"}])
    assert (
        "bad.jsonl:1: fields id, words: expected an answer"
        in run("compare-answers", str(one), str(bad), code=2)["error"]
    )
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"id": "1", "answer": "a", "model": m} for m in "xy"])
    assert "holds answers of x, y" in run("compare-answers", str(one), str(mixed), code=2)["error"]
    assert read(f"{mixed}@y").answers


def test_people_decide_blind_and_the_judge_is_held_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"p{i}", "prompt": f"Where is {i}?"} for i in range(30)]
    one = write_jsonl(tmp_path / "one.jsonl", [{**r, "answer": f"No idea {r['id']}"} for r in rows])
    two = write_jsonl(tmp_path / "two.jsonl", [{**r, "answer": f"=Here, on shelf {r['id']}"} for r in rows])
    sheet = tmp_path / "sheet.csv"
    assert run("compare-answers", str(one), str(two), "--sheet", str(sheet))["pairs"] == 30
    with open(sheet, encoding="utf-8-sig", newline="") as file:
        shown = list(csv.DictReader(file))
    assert "one" not in sheet.read_text(encoding="utf-8-sig"), "blind"
    places = ["'=Here" in row["answer 1"] for row in shown]
    assert 5 < sum(places) < 25, "either side first"
    for number, (row, first) in enumerate(zip(shown, places, strict=True)):
        right = "1" if first else "2"
        row["better"] = "=" if number == 0 else right if number < 28 else "21"[int(right) - 1]
    filled = tmp_path / "sheet.csv"
    with open(filled, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(shown[0]))
        writer.writeheader()
        writer.writerows(shown)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers_judge.py").write_text("def judge(c, answer):\n    return 0.9 if 'Here' in answer else 0.1\n")
    arguments = ["compare-answers", str(one), str(two), "--people", str(filled), "--judge", "answers_judge:judge"]
    told = run(*arguments, "-s", "eval.bootstrap=500")
    people = next(pair for pair in told["pairs"] if pair["measure"] == "people better")
    assert (people["wins"], people["ties"], people["losses"], people["word"]) == (27, 1, 2, "better")
    assert told["agreement"]["answers_judge:judge overall"]["share"]["value"] == pytest.approx(27 / 29)
    shown[3]["better"] = "9"
    with open(filled, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(shown[0]))
        writer.writeheader()
        writer.writerows(shown)
    assert "sheet.csv:5.better: expected 1, 2, = or nothing, got '9'" in run(*arguments, code=2)["error"]


def test_power_by_the_command_line(tmp_path: Path) -> None:
    told = run("power", "--points", "3")
    assert told["prompts"] == 2616 or 2600 < told["prompts"] < 2630
    assert run("power", "--prompts", "200", "--deviation", "50")["points"] == pytest.approx(9.95, abs=0.1)
    assert run("power", "--points", "1", "--seeds", "3", "--seed-deviation", "2")["prompts"] is None
    one = write_jsonl(tmp_path / "one.jsonl", answers(120, 0.3, 1))
    two = write_jsonl(tmp_path / "two.jsonl", answers(120, 0.7, 2))
    measured = run("power", "--points", "5", "--of", str(one), "--of", str(two))
    assert measured["said"] == "measured: score"
    assert 0.4 < measured["spread"]["prompts"] < 0.9
    assert "--points" in run("power", code=2)["error"]


def test_runs_match_by_prompt_where_there_are_no_ids(tmp_path: Path) -> None:
    one = write_jsonl(
        tmp_path / "one.jsonl", [{"instruction": "Hi", "output": "a"}, {"instruction": "Ho", "output": "b"}]
    )
    two = write_jsonl(tmp_path / "two.jsonl", [{"messages": [{"role": "user", "content": "Ho"}], "response": "c"}])
    keys, alone = matched([read(str(one)), read(str(two))])
    assert (len(keys), alone) == (1, {"one": 1, "two": 0})
    spread = between._spread(np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "b", "b"])
    assert spread is not None
    assert spread.prompts == pytest.approx(np.std([0.5, -0.5], ddof=1))
    assert blind._plain("=1+1") == "'=1+1"


def test_a_filled_in_sheet_is_never_overwritten_and_is_read_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    one = write_jsonl(
        tmp_path / "one.jsonl",
        [{"id": f"p{i}", "prompt": f"哪里{i}？", "answer": "您好，儿科门诊在二楼，周六上午也开放。"} for i in range(4)],
    )
    two = write_jsonl(
        tmp_path / "two.jsonl",
        [{"id": f"p{i}", "prompt": f"哪里{i}？", "answer": "请先到一楼大厅挂号，再去三楼候诊。"} for i in range(4)],
    )
    arguments, sheet = ["compare-answers", str(one), str(two)], tmp_path / "sheet.csv"
    run(*arguments, "--sheet", str(sheet))
    text = sheet.read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    lines = [
        f"{r['number']};{r['dialogue']};{r['answer 1']};{r['answer 2']};{v};;;"
        for r, v in zip(rows, "１２＝1", strict=True)
    ]
    head = ";".join(rows[0])
    sheet.write_bytes(
        "\r\n".join([head, *lines, ";;;;;;;", ""]).encode("gb18030")
    )  # Excel in China, with a German list separator
    told = run(*arguments, "--people", str(sheet))
    people = next(pair for pair in told["pairs"] if pair["measure"] == "people better")
    assert people["wins"] + people["losses"] == 3
    assert people["ties"] == 1
    wanted = {"１": "answer 1", "２": "answer 2", "1": "answer 1"}
    assert people["wins"] == sum(
        r[wanted[v]] == "请先到一楼大厅挂号，再去三楼候诊。"
        for r, v in zip(rows, "１２＝1", strict=True)
        if v in wanted
    )
    before = sheet.read_bytes()
    assert "people may have written" in run(*arguments, "--sheet", str(sheet), code=2)["error"]
    assert sheet.read_bytes() == before
    assert "--sheet writes" in run(*arguments, "--sheet", "new.csv", "--people", str(sheet), code=2)["error"]
    assert (
        "expected one of" in run(*arguments, "--people", str(sheet), "--lower-is-better", "perplexity", code=2)["error"]
    )


def _talk(asked: str, answer: str, role: str = "role", text: str = "content") -> list[dict[str, str]]:
    return [{role: "user", text: asked}, {role: "assistant", text: answer}]


FORMS = {
    "openai batch": lambda n, q, a: {
        "id": f"batch_req_{a}", "custom_id": n, "error": None,
        "response": {"status_code": 200, "body": {"id": "chatcmpl-1", "choices": [{"message": {"content": a}}]}},
    },
    "responses batch": lambda n, q, a: {
        "custom_id": n, "error": None,
        "response": {"status_code": 200, "body": {"output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": a}]},
        ]}},
    },
    "anthropic batch": lambda n, q, a: {
        "custom_id": n,
        "result": {"type": "succeeded", "message": {"content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": a}]}},
    },
    "vllm": lambda n, q, a: {"request_id": a, "prompt": q, "outputs": [{"index": 0, "text": a}]},
    "request and response": lambda n, q, a: {
        "request": {"messages": _talk(q, "")[:1]}, "response": {"choices": [{"message": {"content": a}}]},
    },
    "pipeline": lambda n, q, a: [{"generated_text": _talk(q, a)}],
    "sharegpt": lambda n, q, a: {"conversations": _talk(q, a, "from", "value")},
    "the right answer beside it": lambda n, q, a: {"question": q, "answer": "right", "prediction": a},
    "arena-hard": lambda n, q, a: {
        "uid": n, "messages": [*_talk(q, "")[:1], {"role": "assistant", "content": {"answer": a}}],
    },
    "helm": lambda n, q, a: {
        "instance": {"id": n, "input": {"text": q}}, "request": {"prompt": "shots " + q}, "train_trial_index": 0,
        "result": {"success": True, "completions": [{"text": a}]},
    },
    "opencompass": lambda n, q, a: {n: {"origin_prompt": [{"role": "HUMAN", "prompt": q}], "prediction": a}},
    "promptfoo": lambda n, q, a: {
        "prompt": {"raw": json.dumps(_talk(q, "")[:1])}, "provider": {"id": "p"}, "vars": {}, "response": {"output": a},
    },
    "inspect": lambda n, q, a: {
        "id": n, "epoch": 1, "input": q, "output": {"choices": [{"message": {"content": a}}]},
        "scores": {"match": {"value": "C"}},
    },
    "evals": lambda n, q, a: {
        "run_id": "r", "event_id": 1, "sample_id": n, "type": "sampling",
        "data": {"prompt": _talk(q, "")[:1], "sampled": [a]},
    },
    "chinese": lambda n, q, a: {"问题": q, "回答": a},
    "instruction and input": lambda n, q, a: {"instruction": q[:10], "input": q[12:], "output": a},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_answers_as_other_systems_write_them(form: str, tmp_path: Path) -> None:
    """One record of each prompt, though the prompts begin alike; words come from the record or, by id, from a file."""
    asked = [("Translate:\n\none", "eins"), ("Translate:\n\ntwo", "zwei")]
    rows = [FORMS[form](f"n{i}", q, a) for i, (q, a) in enumerate(asked)]
    if isinstance(rows[0], dict) and form == "opencompass":
        rows = [rows[0] | rows[1]]
    path = tmp_path / "one.json"
    path.write_text(json.dumps(rows[0] if form == "opencompass" else rows), encoding="utf-8")
    requests = [{"custom_id": f"n{i}", "body": {"messages": _talk(q, "")[:1]}} for i, (q, _) in enumerate(asked)]
    known = with_prompts(read(str(path)), write_jsonl(tmp_path / "asked.jsonl", requests))
    assert [(of.prompt and of.prompt.last_user, of.answer) for (of,) in known.answers.values()] == asked
    if form == "inspect":
        assert [of.scores for (of,) in known.answers.values()] == [{"match": 1.0}] * 2


def test_what_an_answer_lacks_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"custom_id": "b", "response": None, "error": {"code": "batch_expired"}}
    rows = [
        FORMS["openai batch"]("a", "", ""),
        failed,
        {"custom_id": "c", "response": {"status_code": 400, "body": {}}},
    ]
    found = read(str(write_jsonl(tmp_path / "out.jsonl", rows)))
    assert (list(found.answers), found.left_out) == ([("", "a")], {"records without an answer (null, or an error)": 2})
    assert "1 of 1 answers are empty" in capsys.readouterr().err
    one = read(str(write_jsonl(tmp_path / "one.jsonl", [{"id": "chat-1", "prompt": "Hi", "answer": "a"}])))
    two = read(str(write_jsonl(tmp_path / "two.jsonl", [{"id": "chat-2", "prompt": "Hi", "answer": "b"}])))
    assert len(matched(aligned([one, two]))[0]) == 1, "no id is in both, the words are"
    other = read(str(write_jsonl(tmp_path / "three.jsonl", [{"id": "chat-2", "prompt": "Ho", "answer": "b"}])))
    matched([two, other])
    assert "1 of 1 prompts have the same id and other words" in capsys.readouterr().err


def test_what_stands_beside_an_answer_is_not_taken_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user, model = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "It is 5"}
    rows: list[tuple[dict[str, Any], str]] = [
        ({"question": "2+2?", "choices": ["3", "4"], "prediction": "4"}, "4"),
        ({"question": "2+2?", "candidates": ["3"], "answer": "4"}, "4"),
        ({"question": "2+2?", "outputs": [], "answer": "4"}, "4"),
        ({"question": "2+2?", "outputs": ["5"], "answer": "4"}, "5"),
        ({"question": "2+2?", "choices": [{"message": {"content": "5"}}], "answer": "4"}, "5"),
        ({"custom_id": "1", "prompt": "Hi", "answer": "hello", "error": None}, "hello"),
        ({"key": "1", "prompt": "Hi", "answer": "hello", "result": {"score": 1}}, "hello"),
        ({"messages": [user, model], "answer": "4"}, "It is 5"),
        ({"prompt": "Hi", "answer": "a", "score": 10**400, "correct": "42"}, "a"),
    ]
    for number, (row, answer) in enumerate(rows):
        ((found,),) = read(str(write_jsonl(tmp_path / f"{number}.jsonl", [row]))).answers.values()
        assert found.answer == answer, row
    assert found.scores == {}
    none = {"custom_id": "b", "response": {"prompt": "x", "text": None}}
    with pytest.raises(ValueError, match="no answers"):
        read(str(write_jsonl(tmp_path / "none.jsonl", [none])))
    talks = [[{"role": "user", "content": first}, model, {"role": "user", "content": "and?"}] for first in "ab"]
    one, two = (
        read(
            str(
                write_jsonl(
                    tmp_path / f"{name}.jsonl",
                    [{"id": f"{name}{i}", "messages": t, "answer": "x"} for i, t in enumerate(talks)]
                    + [{"id": f"{name}9", "answer": "y"}],
                )
            )
        )
        for name in "ab"
    )
    capsys.readouterr()
    assert len(matched(aligned([one, two]))[0]) == 2, "dialogues that end alike are two"
    assert "1 answers without the words of their prompt" in capsys.readouterr().err
    asked = [[{"role": "system", "content": how}, user, model] for how in ("Be brief.", "Be kind.")]
    dated = [[{"role": "system", "content": f"Of {x}"}, {"role": "user", "content": "Which day?"}, model] for x in "cd"]
    one, two = (
        read(str(write_jsonl(tmp_path / f"{x}.jsonl", [{"id": f"{x}{i}", "messages": t} for i, t in enumerate(told)])))
        for x, told in (("c", [*asked, dated[0]]), ("d", [*asked, dated[1]]))
    )
    assert len(matched(aligned([one, two]))[0]) == 3, "the system's turn tells apart what people's words do not"
    row = {"id": "a", "messages": asked[0], "answer": "4", "correct": "42"}
    told = read(str(write_jsonl(tmp_path / "right.jsonl", [row]))).left_out
    assert [why.partition("' ")[0] for why in told] == ["fields 'answer", "fields 'correct"]
    scores = {"A": {"s": {("", "1"): [1.0]}}, "B": {"s": {("", "2"): [1.0]}, "t": {("", "2"): [1.0]}}}
    assert in_all(scores) == ({"A": {}, "B": {}}, {"s": 2, "t": 1})


def test_a_missing_score_costs_its_prompt_and_ties_are_no_certainty(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": "x", "score": 1} for i in range(50)]
    one = write_jsonl(tmp_path / "one.jsonl", [{**row, "score": None} if row is rows[0] else row for row in rows])
    two = tmp_path / "two.csv"  # texts, as tables have them
    two.write_text("prompt,answer,score\n" + "".join(f"p{i},x,1.0\n" for i in range(50)), encoding="utf-8")
    (pair,) = run("compare-answers", str(one), str(two), "-s", "eval.bootstrap=100")["pairs"]
    assert (pair["n"], pair["ties"]) == (49, 49)
    low, high = 0.5 - (1 - wilson(49, 49)[0]) / 2, 0.5 + (1 - wilson(49, 49)[0]) / 2
    assert (pair["win_rate"]["low"], pair["win_rate"]["high"]) == (pytest.approx(low), pytest.approx(high))
    assert pair["length_controlled"]["low"] == pytest.approx(low)
    assert run("power", "--points", "5", "--of", str(one), "--of", str(two))["said"] == "measured: score"
