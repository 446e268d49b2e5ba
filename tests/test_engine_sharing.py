"""A decode step takes all threads alone, and half of them beside other processes where that is faster."""

from __future__ import annotations

from steersman.engine.backends.local.sharing import TRIAL, Sharing


def drive(
    sharing: Sharing, seconds: dict[int, float], busy: dict[int, float], steps: int, now: float = 0.0
) -> list[int]:
    """Threads of each step, where a step with so many threads takes so long, of which they compute a share."""
    taken = []
    for _ in range(steps):
        threads = sharing.threads
        taken.append(threads)
        now += seconds[threads]
        sharing.done(4, seconds[threads], busy[threads] * threads * seconds[threads], now)
    return taken


def test_alone_nothing_is_tried() -> None:
    assert set(drive(Sharing(2), {2: 0.01, 1: 0.018}, {2: 0.97, 1: 1.0}, 1000)) == {2}
    assert set(drive(Sharing(1), {1: 0.01}, {1: 0.2}, 1000)) == {1}


def test_beside_others_the_faster_number_stays_and_comes_back() -> None:
    sharing = Sharing(8)
    beside = drive(sharing, {8: 0.03, 4: 0.02}, {8: 0.5, 4: 0.9}, 2000)
    assert beside.count(4) > 1700
    assert sharing.threads == 4 or beside[-1] == 4
    alone = drive(sharing, {8: 0.01, 4: 0.018}, {8: 0.97, 4: 1.0}, 1000, now=100.0)
    assert alone.count(8) > 850
    assert alone[-1] == 8


def test_where_fewer_are_slower_trials_are_rare() -> None:
    taken = drive(Sharing(2), {2: 0.01, 1: 0.012}, {2: 0.5, 1: 0.9}, 3000)
    assert taken.count(1) <= 40 * TRIAL
    assert taken[-1] == 2


def test_another_number_of_sequences_ends_a_trial() -> None:
    sharing = Sharing(2)
    for i in range(1000):
        sharing.done(i % 2, 0.01, 0.005, float(i))
        assert sharing.threads == 2
