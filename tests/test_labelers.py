"""Labelers' reliability: found again from simulated labelers whose truth is known, and what it does to training."""

from __future__ import annotations

import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tiny as t
from steersman.artifact.manifest import tree_hashes
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config import Config, DpoConfig, KtoConfig, ModelConfig, RewardConfig, replaced
from steersman.rounds.export import as_ranking, export_lines, export_rankings, reliability_of, weighed
from steersman.rounds.labelers import Reliability, reliability, weigh
from steersman.store import Store
from steersman.train import preference, reward
from steersman.train.log import read_metrics
from steersman.types import Candidates, Completion, Conversation, Feedback, Message, Ranking

KINDS = {"careful": 0.93, "noisy": 0.75, "lazy": 0.5, "adversary": 0.1}
"""Kind of labeler -> probability of the true order in a pair of answers that differ clearly."""


def prompt(text: str) -> Conversation:
    return Conversation(text, (Message("user", text),))


def said(labeler: str, ranks: tuple[int, ...], text: str = "q", answers: str = "abcd") -> Ranking:
    return Ranking(f"{labeler}-{text}", prompt(text), tuple(answers[: len(ranks)]), ranks, labeler=labeler)


def spread(accuracy: float) -> float:
    """Deviation of the noise with which two utilities one apart are ordered rightly with this probability."""
    from statistics import NormalDist

    return 1e9 if accuracy == 0.5 else 1 / (NormalDist().inv_cdf(accuracy) * 2**0.5)


def crowd(kinds: list[str], tasks: int, each: int, seed: int, k: int = 4) -> tuple[list[Ranking], dict[str, list[int]]]:
    """Rankings of `tasks` by `each` of the labelers, named KIND-NUMBER, and each task's true ranks."""
    rng = np.random.default_rng(seed)
    names = [f"{kind}-{i}" for i, kind in enumerate(kinds)]
    out, truth = [], {}
    for task in range(tasks):
        utility = rng.permutation(k).astype(float)
        truth[f"q{task}"] = [int(r) + 1 for r in np.argsort(np.argsort(-utility))]
        for i in rng.choice(len(names), each, replace=False):
            felt = utility + rng.normal(0, abs(spread(KINDS[kinds[i]])), k)
            felt = -felt if KINDS[kinds[i]] < 0.5 else felt
            ranks = tuple(int(r) + 1 for r in np.argsort(np.argsort(-felt)))
            out.append(said(names[i], ranks, f"q{task}"))
    return out, truth


def majority(rankings: list[Ranking], truth: dict[str, list[int]]) -> float:
    """Share of pairs that the sum of the rankings' votes orders as the truth does."""
    votes: dict[tuple[str, int, int], float] = {}
    for ranking in rankings:
        for w, l in ranking.pairs():
            for key, sign in (((ranking.prompt.id, w, l), 1), ((ranking.prompt.id, l, w), -1)):
                votes[key] = votes.get(key, 0) + sign * ranking.weight
    right = [0.5 * (1 + np.sign(v)) for (task, w, l), v in votes.items() if truth[task][w] < truth[task][l]]
    return float(np.mean(right))


@pytest.mark.parametrize("seed", range(3))
def test_adversaries_and_lazy_labelers_lose_their_weight(seed: int) -> None:
    kinds = ["careful"] * 5 + ["noisy"] * 5 + ["lazy"] * 4 + ["adversary"] * 6
    rankings, truth = crowd(kinds, tasks=240, each=4, seed=seed)
    found = reliability(rankings)
    weights = {kind: [w for name, w in found.weights.items() if name.startswith(kind)] for kind in KINDS}
    assert max(weights["adversary"]) == 0
    assert max(weights["lazy"]) < 0.3 < min(weights["noisy"])
    assert max(weights["noisy"]) < min(weights["careful"])
    assert min(weights["careful"]) > 0.7
    before, after = majority(rankings, truth), majority(weigh(rankings, found), truth)
    assert after > before + 0.05
    assert after > 0.85


def test_with_thirty_percent_adversaries_every_second_label_alone_suffices() -> None:
    kinds = ["careful"] * 4 + ["noisy"] * 3 + ["adversary"] * 3
    rankings, truth = crowd(kinds, tasks=150, each=2, seed=5)
    found = reliability(rankings)
    assert all(w < 0.1 for name, w in found.weights.items() if name.startswith("adversary"))
    assert all(w > 0.3 for name, w in found.weights.items() if not name.startswith("adversary"))
    assert majority(weigh(rankings, found), truth) > majority(rankings, truth) + 0.1


def test_few_labels_say_little() -> None:
    """Shrinkage: one ranking against the others takes little of a weight, ten take nearly all."""

    def at(contrary: int) -> dict[str, float]:
        rankings = [said(name, (1, 2, 3), f"q{i}") for i in range(20) for name in ("ann", "bob")]
        rankings += [said("eve", (3, 2, 1), f"q{i}") for i in range(contrary)]
        return reliability(rankings).weights

    once, often = at(1), at(10)
    assert once["ann"] == pytest.approx(once["bob"])
    assert once["ann"] == pytest.approx(1)
    assert once["eve"] > 0.5 > 0.1 > often["eve"]


def test_intervals_cover_the_truth() -> None:
    """Pairs of two answers, so that what a labeler's probability is is known exactly."""
    rng, accuracies = np.random.default_rng(3), [0.9, 0.8, 0.7, 0.6, 0.85, 0.3]
    inside = []
    for _ in range(30):
        rankings = [
            said(f"n{k}", (1, 2) if rng.random() < p else (2, 1), f"q{i}")
            for i in range(80)
            for k, p in enumerate(accuracies)
        ]
        found = {one.name: one for one in reliability(rankings).labelers}
        inside += [found[f"n{k}"].low <= p <= found[f"n{k}"].high for k, p in enumerate(accuracies)]
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("names", [["ann"], ["ann", "bob"], [""]])
def test_without_overlap_every_weight_is_exactly_one(names: list[str]) -> None:
    rankings = [said(name, (1, 2), f"{name}{i}") for name in names for i in range(3)]
    found = reliability(rankings)
    assert not found.overlapping
    assert all(w == 1.0 for w in found.weights.values())
    assert weigh(rankings, found) == rankings
    assert reliability([]) == Reliability()


def test_ties_objectives_and_names_keep_votes_apart() -> None:
    tie = [said("ann", (1, 1)), said("bob", (1, 2))]
    assert not reliability(tie).overlapping
    by = [said("ann", (1, 2)), Ranking("b", prompt("q"), ("a", "b"), (1, 2), labeler="bob", objective="brief")]
    assert not reliability(by).overlapping
    nobody = [said("", (1, 2)), said("", (2, 1)), said("ann", (1, 2)), said("bob", (1, 2))]
    found = {one.name: one for one in reliability(nobody).labelers}
    assert found[""].overlapping == 0
    assert found["ann"].overlapping == 1
    other_order = [said("ann", (1, 2), answers="ab"), said("bob", (2, 1), answers="ba")]
    (agreed,) = reliability(other_order).agreements
    assert (agreed.a, agreed.b, agreed.agreed, agreed.pairs) == ("ann", "bob", 1, 1)


def test_likes_of_one_answer_are_votes_on_it() -> None:
    def voted(user: str, kind: str, i: int) -> Ranking:
        made = as_ranking(Feedback(f"{user}{i}", kind, prompt(f"q{i}"), "yes", user=user))  # type: ignore[arg-type]
        assert made is not None
        return made

    friends = [voted(user, "like", i) for user in ("ann", "bob", "cyd") for i in range(12)]
    found = reliability([*friends, *(voted("eve", "dislike", i) for i in range(12))])
    assert found.weights["eve"] == 0
    assert found.weights["ann"] > 0.9


def candidates(i: int) -> Candidates:
    texts = [Completion(f"a{j}", (), (), "stop", "001/sft") for j in range(3)]
    return Candidates(prompt(f"q{i}"), tuple(texts), {})


def test_exported_rankings_carry_weights_only_where_labels_overlap(tmp_path: Path) -> None:
    space = Workspace.create(tmp_path / "w", Config())
    with Store.open(space.store) as store:
        store.add_candidates(1, map(candidates, range(12)))
        tasks = list(store.tasks(1))
        for task in tasks:
            store.add_ranking(task.id, ranks=[1, 2, 3], labeler="ann")
        alone = [json.loads(line) for line in export_lines(space, "rankings", 1)]
        assert not any("weight" in record for record in alone)
        before = weighed(space, store, 1).identity
        for task, labeler in itertools.product(tasks, ("bob", "eve")):
            store.add_ranking(task.id, ranks=[1, 2, 3] if labeler == "bob" else [3, 2, 1], labeler=labeler)
        assert reliability_of(store).weights["eve"] == 0
        store.add_candidates(2, [candidates(99)])
        assert weighed(space, store, 1).identity != before
    manifest, folder = export_rankings(space, 1)
    assert manifest.metrics["weights"] == {"ann": 1.0, "bob": 1.0, "eve": 0.0}
    records = list(map(Ranking.from_json, map(json.loads, (folder / "rankings.jsonl").read_text("utf-8").splitlines())))
    assert {r.labeler: r.weight for r in records} == manifest.metrics["weights"]
    pairs = [json.loads(line) for line in export_lines(space, "comparisons", 1)]
    assert [p.get("weight", 1) for p in pairs[:9]] == [1] * 6 + [0] * 3


@pytest.mark.parametrize("weight", ["1", -0.5, True, float("nan"), None])
def test_a_weight_is_a_number_of_at_least_nothing(weight: object) -> None:
    with pytest.raises(ValueError, match=r"r\.weight: expected a number of at least 0"):
        Ranking.from_json({**said("ann", (1, 2)).to_json(), "weight": weight}, "r")


SIZES: Any = {"epochs": 1, "batch_prompts": 4, "row_tokens": 256, "holdout_fraction": 0.25}


def trained(model: Path, output: Path, stage: str, rankings: list[Ranking]) -> tuple[float, dict[str, str]]:
    """(the first step's loss, the artifact's hashes)"""
    made: Any = {"base": model, "rankings": rankings, "output": output, "seed": 3, "inputs": {}}
    made["model_config"] = ModelConfig(dtype="float32", device="cpu")
    if stage == "reward":
        config = replaced(RewardConfig(), **SIZES, validator=False)
        reward.run(**made, config=config, demonstrations=[])
    else:
        preference.run(**made, config=replaced(DpoConfig() if stage == "dpo" else KtoConfig(), **SIZES))
    hashes = tree_hashes(output)
    return read_metrics(output)[0]["loss"], {k: v for k, v in hashes.items() if k.endswith((".safetensors", ".jsonl"))}


@pytest.mark.parametrize("stage", ["reward", "dpo", "kto"])
def test_training_weighs_rankings(tiny: Path, tmp_path: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the weight is half the loss; who is not believed might as well have said nothing."""
    prompts = [t.conversation(f"Where is parcel {i}?", id=f"p{i}") for i in range(8)]
    answers = ("On its way.", "No.", "It arrives on 6 May.")
    honest = [Ranking(f"r{i}", p, answers, (2, 3, 1), labeler="ann") for i, p in enumerate(prompts)]
    lies = [Ranking(f"e{i}", p, answers, (2, 1, 3), labeler="eve") for i, p in enumerate(prompts)]
    found = reliability([*honest, *(Ranking("b", r.prompt, answers, (2, 3, 1), labeler="bob") for r in honest), *lies])
    alone = trained(tiny, tmp_path / "alone", stage, honest)
    assert trained(tiny, tmp_path / "both", stage, weigh([*honest, *lies], found)) == alone
    assert "note: 8 of 16 rankings are of labelers with weight 0 and left out" in capsys.readouterr().err
    half = [Ranking(r.id, r.prompt, answers, r.ranks, weight=0.5) for r in honest]
    assert trained(tiny, tmp_path / "half", stage, half)[0] == pytest.approx(alone[0] / 2, rel=1e-5)


def test_rank_agreement_shows_who_agrees(tmp_path: Path) -> None:
    Workspace.create(tmp_path, Config())
    with Store.open(Workspace.open(tmp_path).store_path) as store:
        store.add_candidates(1, map(candidates, range(10)))
        for task, labeler in itertools.product(list(store.tasks(1)), ("ann", "bob", "李雷")):
            store.add_ranking(task.id, ranks=[3, 2, 1] if labeler == "李雷" else [1, 2, 3], labeler=labeler)
    ran = CliRunner().invoke(build(), ["rank", "--agreement", "--workspace", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[1].split()[:2] == ["ann", "1.00"]
    assert lines[3].split()[:2] == ["李雷", "0.00"]
    assert "ann and bob" in ran.output
    assert "0 of 30 pairs alike" in ran.output
    as_json = json.loads(CliRunner().invoke(build(), ["rank", "--agreement", "--json", "-w", str(tmp_path)]).stdout)
    assert [one["name"] for one in as_json["labelers"]] == ["ann", "bob", "李雷"]
    wrong = CliRunner().invoke(build(), ["rank", "--agreement", "--labeler", "ann", "-w", str(tmp_path)])
    assert wrong.exit_code == 2


SHARED = Path(__file__).parents[2] / "shared/data/pref/en_alpacaeval_gpt4_pairs.jsonl.xz"


@pytest.mark.skipif(not SHARED.is_file(), reason=f"{SHARED} is not on this machine")
def test_real_judges_of_the_same_answers_agree_and_one_read_backwards_does_not() -> None:
    """Five language models as judges of 6,106 pairs, of which 133 were judged by two of them."""
    with lzma.open(SHARED, "rt", encoding="utf-8") as file:
        records = list(map(json.loads, file))

    def judged(reversed_: str) -> dict[str, float]:
        return reliability(
            Ranking(
                str(i),
                prompt(r["prompt"]),
                (r["chosen"], r["rejected"]),
                (2, 1) if r["annotator"] == reversed_ else (1, 2),
                labeler=r["annotator"],
            )
            for i, r in enumerate(records)
        ).weights

    assert min(judged("").values()) > 0.9
    weights = judged("alpaca_eval_cot_gpt4_turbo_fn")
    assert weights["alpaca_eval_cot_gpt4_turbo_fn"] == 0
    assert weights["alpaca_eval_gpt4_turbo_fn"] > 0.9
