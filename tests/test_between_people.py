"""Agreement between labelers: published examples, ties, intervals, the team page's figures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config import Config
from steersman.rounds import unsure as unsure_tasks
from steersman.rounds.between_people import Judged, agreement, alpha, kappa, measured_alpha, pairwise, places
from steersman.rounds.desk_team import is_right, team
from steersman.rounds.unsure import unsure
from steersman.store import Store
from steersman.store.desk import Asker, NewTask, Submission
from steersman.types import Candidates, Completion, Conversation, Message


def test_alpha_of_the_published_example() -> None:
    """Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": 4 observers, 12 units, some values missing."""
    rows = {
        "A": "1 2 3 3 2 1 4 1 2 . . .",
        "B": "1 2 3 3 2 2 4 1 2 5 . 3",
        "C": ". 3 3 3 2 3 4 2 2 5 1 .",
        "D": "1 2 3 3 2 4 4 1 2 5 1 .",
    }
    columns = zip(*(row.split() for row in rows.values()), strict=True)
    units = [{name: float(v) for name, v in zip(rows, column, strict=True) if v != "."} for column in columns]
    assert alpha(units, ordinal=False) == pytest.approx(0.743, abs=5e-4)
    assert alpha(units) == pytest.approx(0.815, abs=5e-4)
    whole = measured_alpha([[unit] for unit in units])
    assert whole.value == pytest.approx(0.815, abs=5e-4)
    assert (whole.low or 9) < 0.815 < (whole.high or 0)
    assert whole.units == 11, "a unit with one value says nothing"


def test_kappa_of_a_known_table() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.70, by chance 0.50."""
    said = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert kappa(said) == pytest.approx(0.4)
    assert kappa([("y", "y")] * 3) is None, "where nothing varies nothing can be said"
    assert kappa([]) is None


def test_rankings_agree_with_themselves_and_not_with_their_reverse() -> None:
    assert places([1, 2, 2, 4]) == [1, 2.5, 2.5, 4]
    assert places([0, 0, 2]) == [1.5, 1.5, 3]
    rng = random.Random(0)

    def judged(noise: float) -> list[Judged]:
        out = []
        for task in range(40):
            for who in ("ann", "bob"):
                order = [j + rng.gauss(0, noise) for j in range(4)]
                rank = tuple(float(sorted(order).index(x) + 1) for x in order)
                out.append(Judged(who, str(task), rank))
        return out

    same, near, far = (agreement(judged(noise)) for noise in (0.0, 0.8, 50.0))
    assert same.value == pytest.approx(1)
    assert 0.4 < (near.low or 0) < (near.value or 0) < 0.95
    assert abs(far.value or 9) < 0.2
    ((a, b, found),) = pairwise(judged(0.8))
    assert (a, b, found.units) == ("ann", "bob", 40)
    assert agreement([Judged("ann", "1", (1.0, 2.0))]).value is None
    turned = [Judged("ann", str(i), (1.0, 2.0, 3.0)) for i in range(9)]
    turned += [Judged("bob", str(i), (3.0, 2.0, 1.0)) for i in range(9)]
    few = agreement(turned)
    assert few.value == pytest.approx(1 - 2 * 53 / 54)
    assert (few.low, same.low) == (None, None), "nine tasks, and agreement on all of forty: no interval of no width"


def test_unsure_is_highest_where_models_contradict_each_other() -> None:
    assert unsure([[0.0, 0.0, 0.0]]) == unsure([[3.0, 0.0, -3.0]]) == 0, "one model alone does not tell"
    assert unsure([[0.1, 0.0], [-0.1, 0.0]]) < 0.01, "answers that hardly differ teach little"
    assert unsure([[9.0, 0.0], [-9.0, 0.0]]) == pytest.approx(0.6931, abs=2e-3)


def test_the_team_page_sees_speed_drift_judges_and_people(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        for i in range(24):
            prompt = Conversation(str(i), (Message("user", f"Question {i}?"),))
            given = tuple(Completion(f"{i} {word}", (), (), "stop", "v") for word in ("good", "so", "bad"))
            store.add_candidates(1, [Candidates(prompt, given)])
        for i, task in enumerate(store.tasks()):
            store.add_ranking(task.id, ranks=[1, 2, 3], labeler="ann", seconds=20)
            store.add_ranking(
                task.id, ranks=[1, 2, 3] if i < 18 else [3, 2, 1], labeler="bob", seconds=20 if i < 18 else 4
            )
            store.add_ranking(task.id, ranks=[1, 2, 3], labeler="simulated", simulated=True)
            store.desk.score({task.id: (0.5, [0.0, 1.0, 2.0])}, "reward model of round 1")
        found = team(store)
    ann, bob = found.labelers
    assert (ann.name, ann.labels, ann.seconds, bob.seconds) == ("ann", 24, 20, 20)
    assert bob.drift == "less_agreement"
    assert [b["labels"] for b in bob.blocks] == [3] * 8
    assert found.undecided == 6
    kappas = {(p["a"], p["b"], p["judge"]): p["value"] for p in found.pairs}
    assert kappas["ann", "simulated", True] is None, "both always said the same"
    assert kappas["ann", "bob", False] is None, "0 would look like chance, and ann always said the same"
    same = {(p["a"], p["b"]): p["constant"] for p in found.pairs}
    assert (same["ann", "bob"], same["ann", "simulated"]) == ("a", "ab")
    assert ("ann", "bob", False) in kappas
    assert {b for _, b, judge in kappas if judge} == {"simulated", "reward model of round 1"}


def test_known_items(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        asked = [{"role": "user", "content": "Q"}]
        for gold in ("bad", "good"):
            store.desk.add([NewTask("vote", {"messages": asked, "answer": gold}, gold={"vote": gold})])
        for i in range(20):
            store.desk.add([NewTask("vote", {"messages": asked, "answer": str(i)})])
        while (task := store.desk.take(Asker("ann"), "vote")) is not None:
            store.desk.submit(task.id, Submission("ann", value={"vote": "bad"}))
        (ann,) = team(store).labelers
        assert (ann.gold, ann.right) == (2, 1)
        assert (ann.low or 9) < 0.5
        label = store.desk.labels()[0]
        assert [is_right(label, {"vote": vote}) for vote in ("bad", "good")] == [True, False]


def test_desk_score_says_what_it_did_and_what_it_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Workspace.create(tmp_path / "w", Config())
    asked = [Conversation(f"p{i}", (Message("user", f"q{i}"),)) for i in range(4)]
    answers = tuple(Completion(text, (1,), (0.0,), "stop", "v") for text in "ab")
    with Store.open(space.store) as store:
        store.add_candidates(1, [Candidates(prompt, answers) for prompt in asked])
        tasks = {task.prompt.id: task.id for task in store.tasks()}
        store.add_ranking(tasks["p3"], ranks=[1, 2], labeler="ann")
    said = {tasks["p0"]: [[0.0, 1.0], [0.0, 1.0]], tasks["p1"]: [[0.0, 3.0], [3.0, 0.0]]}
    monkeypatch.setattr(Workspace, "has", lambda *_: True)
    monkeypatch.setattr("steersman.rounds.inputs.need", lambda *_: tmp_path)
    monkeypatch.setattr(unsure_tasks, "_scores", lambda _space, _folder, tasks: (said, 2, len(tasks) - len(said)))
    (space.root / "rounds/001").mkdir(parents=True)
    told = CliRunner().invoke(build(), ["desk", "score", "-w", str(space.root)])
    assert told.exit_code == 0, told.output
    assert "2 tasks scored by the reward model of round 1 (2 models)" in told.output
    assert "disagree by 0.502 to 0.000 nats" in " ".join(told.output.split())
    assert "1 that somebody has ranked keep their place" in " ".join(told.output.split())
    assert "1 tasks are longer" in told.output
    with Store.open(space.store) as store:
        taken = [store.desk.take(Asker(f"labeler {i}"), "ranking") for i in range(2)]
    assert [task.id for task in taken if task] == [tasks["p1"], tasks["p0"]]
