"""The thread that steps: one at a time, gone when idle; failures, interrupts and exits reach whom they concern."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny as t
from steersman.engine.backends.local import driver as local_driver
from steersman.engine.backends.local import engine as local
from steersman.engine.load import load_engine
from steersman.types import SamplingParams

PROMPT = t.conversation("Where is my order?")
LONG = SamplingParams(max_tokens=400, seed=1, ignore_end=True)
SHORT = SamplingParams(max_tokens=10, seed=1, ignore_end=True)


@pytest.fixture
def engine(tiny: Path) -> Any:
    return load_engine(tiny, dtype="float32", max_slots=4)


def watch(engine: Any, during: Callable[[], object]) -> None:
    step = engine.scheduler.step
    engine.scheduler.step = lambda: (during(), step())


def test_whoever_asks_one_thread_steps(engine: Any) -> None:
    """Two threads that compute would bring OpenMP threads each, and halve the speed."""
    steppers: list[tuple[threading.Thread, int]] = []

    def note() -> None:
        steppers.append((threading.current_thread(), sum(x.name == "engine" for x in threading.enumerate())))

    watch(engine, note)
    callers = [threading.Thread(target=lambda: list(engine.stream(PROMPT, LONG))) for _ in range(6)]
    for caller in callers:
        caller.start()
    engine.generate([PROMPT] * 9, SHORT)
    for caller in callers:
        caller.join()
    assert {alive for _, alive in steppers} == {1}
    assert not {thread for thread, _ in steppers} & {threading.current_thread(), *callers}
    steppers[-1][0].join(60)
    assert not steppers[-1][0].is_alive(), "it ends with the work"


def test_callers_who_come_during_a_step_are_begun_together(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    prefill = engine.decoder.prefill
    monkeypatch.setattr(engine.decoder, "prefill", lambda p, *a: (together.append(len(p)), prefill(p, *a))[1])
    others = [threading.Thread(target=lambda: engine.generate([PROMPT], SHORT)) for _ in range(3)]

    def during() -> None:
        if not together:
            for other in others:
                other.start()
            while len(engine._driver._arrived) < 3:
                time.sleep(0.001)

    watch(engine, during)
    engine.generate([PROMPT], SHORT)
    for other in others:
        other.join()
    assert together == [1, 3]


def test_a_reader_is_woken_for_pieces_and_for_the_end(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wake takes a core from the step that runs; but nobody waits for a piece where the answer is done."""
    monkeypatch.setattr(local, "PIECE_SECONDS", 60.0)
    *pieces, last = engine.stream(PROMPT, LONG)
    assert len(pieces) <= 2
    assert "".join(pieces) == last.text == engine.generate([PROMPT], LONG)[0][0].text


def test_a_failed_step_reaches_everybody_who_waits_and_nobody_after(engine: Any) -> None:
    expected = engine.generate([PROMPT], SHORT)
    caught: list[BaseException] = []
    fail = threading.Event()

    def during() -> None:
        if fail.is_set():
            raise MemoryError("of this machine")

    watch(engine, during)

    def read() -> None:
        try:
            list(engine.stream(PROMPT, LONG))
        except MemoryError as error:
            caught.append(error)

    callers = [threading.Thread(target=read) for _ in range(6)]
    for caller in callers:
        caller.start()
    while len(engine.scheduler.active) < 4:
        time.sleep(0.001)
    fail.set()
    for caller in callers:
        caller.join()
    assert len(caught) == 6
    fail.clear()
    assert not engine.scheduler.busy
    assert engine.generate([PROMPT], SHORT) == expected


def test_an_interrupted_call_is_cancelled(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._driver, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.generate([PROMPT] * 9, LONG)
    assert not engine.scheduler.busy


def test_weights_are_loaded_between_two_steps(engine: Any) -> None:
    stepping: list[bool] = [False]
    step = engine.scheduler.step

    def slow() -> None:
        stepping[0] = True
        time.sleep(0.002)
        step()
        stepping[0] = False

    engine.scheduler.step = slow
    seen = []

    def weights() -> Any:
        for _ in range(5):
            seen.append(stepping[0])
            time.sleep(0.002)
        yield from ()

    stream = engine.stream(PROMPT, LONG)
    next(stream)
    for version in "abc":
        engine.load_weights(weights(), version)
    stream.close()
    assert seen == [False] * 15


def test_nothing_is_kept_of_an_answer_that_new_weights_met(engine: Any) -> None:
    """The next turn would go on from keys and values of the old ones."""
    running: list[int] = []

    def weights() -> Any:
        running.append(len(engine.scheduler.active))
        yield from ()

    for number in range(2):
        stream = engine.stream(PROMPT, LONG)
        next(stream)
        if number:
            engine.load_weights(weights(), "new")
        list(stream)
        with engine._driver.between_steps():  # what has ended is kept by then
            assert len(engine.prefixes) == 1 - number
    assert running == [1]


def test_who_reads_hears_of_the_end_before_the_answer_is_kept(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, put = threading.Event(), engine.prefixes.put
    monkeypatch.setattr(engine.prefixes, "put", lambda *given: heard.wait(20) and put(*given))
    answer = list(engine.stream(PROMPT, SHORT))[-1]
    heard.set()
    with engine._driver.between_steps():
        assert len(engine.prefixes) == 1
    assert list(engine.stream(PROMPT, SHORT))[-1] == answer


def test_a_program_ends_in_the_midst_of_an_answer(tiny: Path) -> None:
    program = f"""
from steersman.engine.load import load_engine
from steersman.types import SamplingParams
engine = load_engine({str(tiny)!r}, dtype="float32")
stream = engine.stream("Hi", SamplingParams(max_tokens=480, seed=1, ignore_end=True))
print(bool(next(stream)), engine.scheduler.busy)
import builtins; builtins.kept = stream
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True", "True"], "")


def test_a_stream_closed_while_the_driving_thread_starts_waits_for_nobody(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the garbage collector may close one in the thread that starts: its starter held what it needed."""
    engine: Any = load_engine(tiny, dtype="float32")
    start, closed = threading.Thread.start, []

    def started(thread: threading.Thread) -> None:
        if thread.name == "engine":
            collector = threading.Thread(target=engine._driver.cancel, args=((),))
            start(collector)
            collector.join(60)
            closed.append(not collector.is_alive())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    assert engine.generate(["Hello"], SamplingParams(max_tokens=2))[0][0].token_ids
    assert closed == [True]


def test_a_caller_who_waits_looks_at_its_own_condition_alone(engine: Any) -> None:
    """Looked each caller at all, 200 streams would look 40,000 times for each piece of theirs."""
    looked: list[int] = []
    driver = engine._driver
    run = driver.add([])
    others = {local_driver.Waiter(lambda: looked.append(1) is not None) for _ in range(3)}
    driver._waiters |= others
    run.thread.join(60)
    before = len(looked)
    driver.wait(run, lambda: True)
    assert len(looked) == before
    driver._waiters -= others
