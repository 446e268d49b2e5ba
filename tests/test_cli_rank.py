"""Ranking in the terminal: what may be typed, blindness, undo, and the simulated labeler."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from steersman.artifact.manifest import write_manifest
from steersman.artifact.workspace import Workspace
from steersman.cli import rank as rank_verb
from steersman.cli.framework import build
from steersman.cli.ranking_input import Said, parse
from steersman.store import Store
from steersman.types import AxisScores, Candidates, Completion, Conversation, Message

runner = CliRunner()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2>1=3>4", Said(ranks=(2, 1, 2, 4))),
        (" 4 > 3 > 2 > 1 ", Said(ranks=(4, 3, 2, 1))),
        ("1=2=3=4", Said(ranks=(1, 1, 1, 1))),
        ("２＞１＝３＞４", Said(ranks=(2, 1, 2, 4))),
        ("g a p g", Said(grades=("good", "average", "poor", "good"))),
        ("GAPG", Said(grades=("good", "average", "poor", "good"))),
        ("good average poor poor", Said(grades=("good", "average", "poor", "poor"))),
        ("b 2>1=3>4", Said(ranks=(2, 1, 2, 4), all_bad=True)),
        ("b2>1=3>4", Said(ranks=(2, 1, 2, 4), all_bad=True)),
        ("bad p p p a", Said(grades=("poor", "poor", "poor", "average"), all_bad=True)),
        ("b", Said(all_bad=True)),
        ("s", "skip"),
        ("u", "undo"),
        ("Q", "quit"),
        ("?", "help"),
    ],
)
def test_what_may_be_typed(line: str, expected: object) -> None:
    assert parse(line, 4) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "expected an order such as"),
        ("2>1", "expected every answer once, missing: 3, 4"),
        ("1>2>3>4>1", "answer 1 was named twice"),
        ("1>2>3>5", "'5': expected the number of an answer, 1 to 4"),
        ("1>2>3>0", "'0': expected the number"),
        ("1>>2", "'': expected the number"),
        ("1 2 3 4", "'1 2 3 4': expected the number of an answer, 1 to 4, with > or ="),
        ("g a p", "expected 4 grades, one per answer, got 3"),
        ("g a p x", "'x': expected g"),
        ("best", "'best': expected g"),
    ],
)
def test_what_may_not(line: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(line, 4)


@given(st.permutations(range(5)), st.lists(st.booleans(), min_size=4, max_size=4))
@settings(deadline=None)
def test_any_order_with_ties_is_understood(order: list[int], ties: list[bool]) -> None:
    line = str(order[0] + 1) + "".join(
        ("=" if tie else ">") + str(i + 1) for i, tie in zip(order[1:], ties, strict=True)
    )
    said = parse(line, 5)
    assert isinstance(said, Said)
    assert said.ranks is not None
    for (i, j), tie in zip(itertools.pairwise(order), ties, strict=True):
        assert said.ranks[i] == said.ranks[j] if tie else said.ranks[i] < said.ranks[j]


def test_said_in_shown_order_is_kept_in_stored_order() -> None:
    assert Said(ranks=(1, 2, 3)).stored((2, 0, 1)) == Said(ranks=(2, 3, 1))
    assert Said(grades=("good", "poor"), all_bad=True).stored((1, 0)) == Said(grades=("poor", "good"), all_bad=True)


def make(root: Path, prompts: int = 3) -> Workspace:
    """A workspace whose first round has samples: answers that say how good they are."""
    assert runner.invoke(build(), ["init", str(root)]).exit_code == 0
    space = Workspace.open(root)
    folder = space.stage_dir("samples", 1)
    folder.mkdir(parents=True)
    with open(folder / "candidates.jsonl", "w", encoding="utf-8") as file:
        for i in range(prompts):
            made = tuple(Completion(f"answer {q} to {i}", (), (), "stop", "v1") for q in (1, 2, 3))
            ask = Conversation(f"p{i}", (Message("user", f"question {i}"),))
            file.write(json.dumps(Candidates(ask, made).to_json()) + "\n")
    write_manifest(folder, "samples", {}, {})
    return space


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make(tmp_path / "w")


def best_first(task: Any) -> str:
    """What a labeler types who finds 'answer 3' best, from the numbers that are shown."""
    shown = [answer for _, answer in task.presented]
    return ">".join(str(shown.index(a) + 1) for a in sorted(shown, reverse=True))


def sit(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, lines: list[Any], limit: int = 0
) -> tuple[dict[str, int], str]:
    """One sitting of ann: `lines` are typed text, or functions of the task shown; returns counts and the screen."""
    screen = io.StringIO()
    with Store.open(space.store) as store:
        rank_verb.fill_store(space, store, 1)
        shown: list[Any] = []
        show = rank_verb.show_task

        def watch(console: Console, task: Any, head: str) -> None:
            shown.append(task)
            show(console, task, head)

        def readline() -> str:
            line = lines.pop(0) if lines else ""
            text = line(shown[-1]) if callable(line) else line
            return f"{text}\n" if text else ""

        monkeypatch.setattr(rank_verb, "show_task", watch)
        monkeypatch.setattr("sys.stdin", type("Typed", (), {"readline": staticmethod(readline)}))
        counts = rank_verb.interview(store, 1, "ann", Console(file=screen, width=100), limit)
        monkeypatch.undo()
    return counts, screen.getvalue()


def test_a_sitting_is_stored_and_resumed(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, screen = sit(space, monkeypatch, [best_first, "nonsense", "?", "q"])
    assert counts == {"ranked": 1, "skipped": 0}
    assert "'nonsense': expected g" in screen
    assert "answer 2 is best" in screen
    assert "v1" not in screen, "nothing says who wrote an answer"
    counts, screen = sit(space, monkeypatch, ["s", "b", "never typed"])
    assert counts == {"ranked": 1, "skipped": 1}
    assert "nothing left to rank" in screen
    with Store.open(space.store) as store:
        first, second = store.rankings(1)
        assert sorted(zip(first.answers, first.order, strict=True))[0][1] == 3
        assert first.labeler == "ann"
        assert not first.simulated
        assert second.all_bad


def test_undo_shows_the_last_one_again_and_replaces_it(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, screen = sit(space, monkeypatch, ["u", best_first, "u", "1=2=3", "q"])
    assert counts == {"ranked": 1, "skipped": 0}
    assert "nothing to undo" in screen
    with Store.open(space.store) as store:
        (only,) = store.rankings(1)
        assert only.ranks == (1, 1, 1)


def test_limit_and_end_of_input(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sit(space, monkeypatch, [best_first] * 3, limit=2)[0]["ranked"] == 2
    assert sit(space, monkeypatch, [])[0]["ranked"] == 0


def test_verb_reads_stdin_and_says_where_it_stands(space: Workspace) -> None:
    result = runner.invoke(
        build(), ["rank", "--labeler", "ann", "-w", str(space.root), "--json"], input="1>2>3\ng p a\nq\n"
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["ranked"], said["simulated"], said["progress"]["by_labeler"]) == (2, False, {"ann": 2})


class Judge:
    """Thinks that 'answer 3' is best."""

    name = "test"
    simulated_people = True

    def score(self, prompt: Conversation, answer: str) -> AxisScores:
        value = int(answer.split()[1]) / 3
        return AxisScores(value, value, value)


def simulate(space: Workspace, monkeypatch: pytest.MonkeyPatch, *args: str) -> Any:
    monkeypatch.setattr("steersman.eval.judges.judge_for", lambda domain: Judge() if domain == "shop" else None)
    return runner.invoke(build(), ["rank", "--simulated", "-w", str(space.root), "--json", *args])


def orders(space: Workspace) -> list[Any]:
    with Store.open(space.store) as store:
        return [(r.prompt.id, r.ranks, r.labeler, r.simulated) for r in store.rankings(1)]


def test_simulated_is_called_so_and_resumes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once, stopped = make(tmp_path / "a", 12), make(tmp_path / "b", 12)
    noisy = ("--set", "rank.error_rate=0.4")
    assert json.loads(simulate(once, monkeypatch, *noisy).stdout)["ranked"] == 12
    assert json.loads(simulate(stopped, monkeypatch, "--limit", "5", *noisy).stdout)["ranked"] == 5
    assert json.loads(simulate(stopped, monkeypatch, *noisy).stdout)["ranked"] == 7
    assert json.loads(simulate(stopped, monkeypatch, *noisy).stdout)["ranked"] == 0
    assert orders(once) == orders(stopped)
    assert all(labeler == "simulated" and simulated for *_, labeler, simulated in orders(once))
    assert len({ranks for _, ranks, *_ in orders(once)}) > 1


def test_simulated_without_errors_agrees_with_the_judge(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(space, monkeypatch, "--set", "rank.error_rate=0.0")
    assert [ranks for _, ranks, *_ in orders(space)] == [(3, 2, 1)] * 3


def test_rank_errors(space: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stderr(*args: str) -> str:
        result = runner.invoke(build(), ["rank", *args])
        assert result.exit_code == 2
        return result.stderr

    here = ("-w", str(space.root))
    assert "for the rule judge say --simulated" in stderr("--labeler", "simulated", *here)
    assert "expected a domain with a rule judge" in stderr("--simulated", "--set", "project.domain=none", *here)
    empty = dataclasses.replace(space, root=tmp_path / "empty")
    runner.invoke(build(), ["init", str(empty.root)])
    assert "no answers to rank; expected some: steersman sample" in stderr("--labeler", "ann", "-w", str(empty.root))
    assert not empty.store_path.exists()
