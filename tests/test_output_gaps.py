"""Something is said within a second of a command's start and every three seconds after, whatever its steps take.

On 0da96d2 a plain line came every ten seconds at most, and none while models were loaded, measured or saved.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import steersman.progress as module
import tiny as t
from commands import Command, commands
from steersman import waits
from steersman.progress import Progress, activity, heartbeat, progress

Run = Callable[..., Command]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with commands(tmp_path_factory.mktemp("said")) as start:
        yield start


class Watch:
    """The times at which a command's stderr grew."""

    def __init__(self, command: Command) -> None:
        self.command, self.times, self._ended = command, [time.monotonic()], threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        size = 0
        while not self._ended.wait(0.02):
            now = self.command.err.stat().st_size if self.command.err.is_file() else 0
            if now > size:
                size = now
                self.times.append(time.monotonic())

    def gaps(self) -> list[float]:
        """Seconds between what was said, once the command has ended."""
        code = self.command.end()
        assert code == 0, self.command.text
        self.times.append(time.monotonic())
        self._ended.set()
        self._thread.join()
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


@pytest.mark.parametrize("verb", [pytest.param("sft", marks=pytest.mark.slow), "reward"])
def test_a_stage_of_slow_steps_is_never_silent(verb: str, run: Run, tmp_path: Path) -> None:
    """Each optimizer step takes five seconds. What comes first comes before the 2.5 of others."""
    base = t.make_model(tmp_path / "base")
    asked = [(f"Where is my order {i}?", "It arrives on 6 May.") for i in range(8)]
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in asked]
    files = {
        "sft": t.write_jsonl(tmp_path / "d.jsonl", [{"messages": m} for m in turns]),
        "reward": t.write_jsonl(
            tmp_path / "p.jsonl", [{"prompt": q, "chosen": a, "rejected": "No."} for q, a in asked]
        ),
    }
    small = ["-s", "model.device=cpu", "-s", "model.dtype=float32", "-s", "model.memory_check=false"]
    where = ["--model", str(base), "--data", str(files[verb]), "--output", str(tmp_path / "out")]
    for attempt in range(3):  # a busy machine may hold everything up once
        watch = Watch(run(5.0, verb, *where, *small, "-s", f"{verb}.epochs=1", *(["--fresh"] if attempt else [])))
        gaps = watch.gaps()
        assert "--:--" not in watch.command.text
        if gaps[0] < 2.4 and max(gaps) < 4.8:
            return
        shutil.rmtree(tmp_path / "out")
    raise AssertionError((gaps, watch.command.text))


def test_a_bar_never_shows_an_unknown_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a first step that takes minutes it says for how long."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    shown = Progress("ppo", 10, 0, "iteration", None)
    clock[0] = 90.0
    assert shown.clock() == "for 1m30s"
    shown.update(1)
    assert shown.clock() == "ETA 13m30s"
    clock[0] = 135.0
    assert shown.clock() == "ETA 12m45s", "it goes down while the second is computed"
    clock[0] = 270.0
    assert shown.clock() == "ETA 19m11s", "longer than the first: 1.9 of ten have taken this"


def heard(capsys: pytest.CaptureFixture[str], pattern: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait until there is such a line; a busy machine may take its time."""
    said, deadline = "", time.monotonic() + 60
    while not re.search(pattern, said, re.MULTILINE):
        assert time.monotonic() < deadline, said
        meanwhile()
        time.sleep(0.01)
        said += capsys.readouterr().err


def test_the_heartbeat_speaks_of_the_innermost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And counts what only another thread can see, and stops with the command."""
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.1)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    until = functools.partial(heard, capsys)
    with heartbeat("eval"):
        until(r"^eval  for \d+s$")
        with progress("ppo", 3, unit="iteration"), activity("answers", 8, "prompt") as inner:
            inner.probe = lambda: 5
            until(r"^ppo  iteration 0/3  answers  prompt 5/8  ETA \d+s$")
    capsys.readouterr()
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What this machine remembers, in a folder of its own."""
    monkeypatch.delenv(waits.SETTING, raising=False)
    monkeypatch.setattr(waits, "place", lambda: tmp_path / "cache" / "waits.json")
    monkeypatch.setattr(waits, "_known", None)
    monkeypatch.setattr(waits, "_new", {})
    return tmp_path / "cache" / "waits.json"


def test_the_first_unit_has_the_pace_of_the_last_time(remembering: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress("sft", 4) as shown, activity("loading x", about=9.0) as loading:
        assert (shown.clock(), loading.clock()) == ("for 0s", "ETA 9s"), "nothing is known yet"
        clock[0] = 20.0
        assert loading.clock() == "for 20s", "longer than it may take"
        shown.update(4)
    waits.keep()
    assert json.loads(remembering.read_text()) == {"sft": 5.0, "loading x": 20.0}
    clock[0] = 0.0
    with progress("sft", 6) as shown, activity("loading x", about=9.0) as loading:
        assert (shown.clock(), loading.clock()) == ("ETA 30s", "ETA 20s")
        clock[0] = 2.0
        shown.update(1)
        assert shown.clock() == "ETA 10s", "its own pace, as soon as there is one"
        shown.probe = lambda: 1
        assert shown.clock() == "ETA 15s", "of answers sampled together half a unit is lent from the last time"
        clock[0] = 4.0
        shown.update(2)
        assert shown.clock() == "ETA 8s", "its own pace, from a quarter on"
    remembering.write_text("[1, 2]")
    monkeypatch.setattr(waits, "_known", None)
    assert waits.last("sft") == 4.0 / 2, "this process has seen it; a damaged file is done without"
    monkeypatch.setenv(waits.SETTING, "off")
    waits.keep()
    assert remembering.read_text() == "[1, 2]"


def test_importing_is_told_and_counted(
    remembering: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.2)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    waits.count("sft: modules", len(sys.modules) + 100_000)
    names: list[str] = []

    def load() -> None:
        names.extend(f"steersman_nothing_{len(names) + i}" for i in range(100))
        sys.modules.update(dict.fromkeys(names[-100:], module))

    try:
        with heartbeat("sft"):
            heard(capsys, r"^loading libraries  module \d+/\d+  ETA [\dms]+$", load)
    finally:
        for name in names:
            sys.modules.pop(name, None)
    assert json.loads(remembering.read_text())["sft: modules"] > len(sys.modules) + len(names) // 2


def test_silences_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """bench/silence.py, with which commands are looked at."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "bench"), *sys.path])
    import silence

    said = [(1.0, "one\n"), (1.5, "\n"), (6.0, "\x1b[2K⠋ sft  ETA 4s")]
    assert silence.stretches(said, 8.0, 3.0) == [silence.Stretch(1.0, 5.0, "one", "sft  ETA 4s")]
    for tty in (False, True):
        said, seconds, code = silence.listen(["sh", "-c", "echo one; echo two >&2; exit 3"], tty, tmp_path / "log")
        assert code == 3
        assert 0 <= said[0][0] <= seconds
        assert re.findall(r"\w{3}", (tmp_path / "log").read_text()) == ["one", "two"]


def test_a_command_speaks_before_it_imports_torch(tmp_path: Path) -> None:
    """With a whole new process: the first line precedes the import."""
    import subprocess

    code = (
        "import sys\nfrom steersman import progress\nreal = progress.note\n"
        "def note(text):\n    print('torch' in sys.modules, text, file=sys.stderr)\n"
        "progress.note = note\nfrom steersman.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "sft", "-w", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stderr.splitlines()[0] == "False sft: starting"
