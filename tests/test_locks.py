"""Several commands in one workspace: one makes a stage, the others are told who does, wait, or work beside it.

On 0da96d2 two runs at once corrupted artifacts or ended in tracebacks about vanished `.partial` files.
"""

from __future__ import annotations

import contextvars
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steersman import locks

HOLDER = """
import sys, time
from pathlib import Path
from steersman import locks
how, *folders = sys.argv[1:]
with getattr(locks, how)(*map(Path, folders)):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """hold("making" or "using", folder): a process that does."""
    processes: list[subprocess.Popen[str]] = []

    def start(how: str, *folders: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, how, *map(str, folders)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        stdout = processes[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_one_makes_and_the_other_is_told_who_does(hold: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    folder = tmp_path / "rounds" / "001" / "sft"
    holder = hold("making", folder)
    for attempt in (locks.making, locks.using):
        with pytest.raises(locks.Busy, match=rf"sft is being made by process {holder.pid} since .*; wait for it"):
            attempt(folder).__enter__()
    with locks.making(folder.with_name("reward")):  # another stage is free
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locks.making(folder), locks.making(folder):  # what a kill left is only a file
        assert json.loads((folder.parent / ".sft.lock").read_text())["pid"] == os.getpid()


def test_what_is_in_use_is_not_made_anew(hold: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    readers = [hold("using", folder), hold("using", folder)]
    with locks.using(folder):  # any number reads
        pass
    for reader in readers:
        with pytest.raises(locks.Busy, match="sft is in use by process"):
            locks.making(folder).__enter__()
        reader.kill()
        reader.wait()
    with locks.making(folder):
        assert not list(tmp_path.glob("*.using"))


def test_waiting(hold: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    said: list[str] = []
    holder = hold("making", tmp_path / "sft")

    def told(line: str) -> None:
        said.append(line)
        holder.kill()

    def wait() -> None:
        locks.waits.set(True)
        locks.tell.set(told)
        with locks.making(tmp_path / "sft"):
            assert holder.wait() == -signal.SIGKILL

    contextvars.copy_context().run(wait)
    (line,) = said
    assert line.startswith("waiting: ")
    assert str(holder.pid) in line


def test_a_file_is_changed_by_one_at_a_time(tmp_path: Path) -> None:
    """Thirty-two read-modify-writes of four processes: none is lost."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom steersman import locks\n"
        "from steersman.artifact.files import *\n"
        "path = Path(sys.argv[1])\n"
        "for i in range(8):\n"
        "    with locks.brief(path):\n"
        "        write_json(path, {'n': (read_object(path, 'x')['n'] if path.exists() else 0) + 1})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "current.json")]
    running = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert json.loads((tmp_path / "current.json").read_text()) == {"n": 32}
