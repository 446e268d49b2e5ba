"""The simulated users of bench/simulate_rounds.py: what they want, say and rank."""

from __future__ import annotations

import importlib
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from steersman.rounds.labelers import reliability
from steersman.types import Ranking


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "bench"), *sys.path])
    return importlib.import_module("simulated_users")


def test_utilities_are_hidden_scales_of_their_own(users: Any) -> None:
    every = users.every_answer()
    assert len(every) == len(set(every)) == 64
    for taste in users.TASTES:
        values = [users.utility(taste, a) for a in every]
        assert min(values) == pytest.approx(0, abs=0.02)
        assert max(values) == pytest.approx(1, abs=0.02)
    best = {taste: max(every, key=lambda a: users.utility(taste, a)) for taste in users.TASTES}
    assert len(set(best.values())) > 1, "kinds of people want different answers"
    kind, rude = "Hello, Your order arrives on Monday. Thank you!", "Look, It is somewhere. Do not ask again."
    assert users.welfare(kind) > 0.8 > 0.2 > users.welfare(rude)
    # a garbled answer, and none at all, are no good
    for broken in ("", "Your Your order", "Hello, Your order arrives on Monday. Monday on Monday"):
        assert users.welfare(broken) < users.welfare(kind) - 0.4


def test_people_say_what_they_want_with_noise(users: Any) -> None:
    rng = random.Random(0)
    everybody = users.people(20, 0.3)
    assert [sum(getattr(u, what) for u in everybody) for what in ("adversary", "lazy")] == [6, 1]
    assert len({u.name for u in everybody}) == 20
    assert not any(u.adversary for u in users.people(20, 0.0))
    every = users.every_answer()
    good, bad = max(every, key=lambda a: users.welfare(a)), min(every, key=lambda a: users.welfare(a))

    def share(user: Any, answer: str) -> float:
        return statistics.mean(user.likes(answer, rng) for _ in range(200))

    for user in everybody:
        if user.adversary:
            assert (share(user, good), share(user, bad)) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))
            assert users.welfare(user.writes()) < 0.1
        elif user.lazy:
            assert share(user, good) == pytest.approx(share(user, bad), abs=0.2)
        else:
            assert share(user, good) > 0.7 > 0.1 > share(user, bad)
            assert users.utility(user.taste, user.writes()) == pytest.approx(1, abs=0.02)


def test_rankings_follow_tastes_and_adversaries_reverse_them(users: Any) -> None:
    rng = random.Random(1)
    answers = [
        "Hello, Your order arrives on Monday. Thank you!",
        "Your order was sent.",
        "Look, It is somewhere. Do not ask again.",
    ]
    honest, adversary = users.User("a", "courteous", noise=0.0), users.User("e", "", noise=0.0, adversary=True)
    assert honest.ranks(answers, rng) == [1, 2, 3]
    assert adversary.ranks(answers, rng) == [3, 2, 1]
    assert honest.ranks([answers[0], answers[0], answers[2]], rng)[:2] == [1, 1]


def test_the_panel_is_noisy_but_the_same_when_asked_again(users: Any) -> None:
    prompts = [users.question(n, random.Random(n)) for n in range(10, 210)]
    said = [users.panel(p, "Your order was sent.")["welfare"] for p in prompts]
    assert said == [users.panel(p, "Your order was sent.")["welfare"] for p in prompts]
    assert 0.05 < statistics.stdev(said) < 0.12


def test_one_round_of_rankings_shows_who_the_adversaries_are(users: Any) -> None:
    """As many as in the simulation: 60 tasks of four answers, each ranked by 3 of 20 people of three tastes."""
    rng, everybody = random.Random(2), users.people(20, 0.3)
    rankings = []
    for task in range(60):
        asked = users.question(task, rng)
        answers = tuple(rng.sample(users.every_answer(), 4))
        for user in rng.sample(everybody, 3):
            ranks = tuple(user.ranks(answers, rng))
            rankings.append(Ranking(f"{task}-{user.name}", asked, answers, ranks, labeler=user.name))
    weights = reliability(rankings).weights
    assert max(w for name, w in weights.items() if name.startswith("adversary")) < 0.1
    assert min(w for name, w in weights.items() if name.startswith("honest")) > 0.4
