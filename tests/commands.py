"""Commands in processes of their own, quickly started: what `slowly.py` forks, and what they say while they run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SLOWLY = Path(__file__).with_name("slowly.py")


class Command:
    """The command line in a process of its own, with slow steps; what it says on stderr, line by line."""

    def __init__(self, slowly: subprocess.Popen[str], output: Path, seconds: float, *arguments: str) -> None:
        self.slowly, self.err = slowly, Path(f"{output}.err")
        self.err.unlink(missing_ok=True)
        self.pid = self._ask({"run": arguments, "seconds": seconds, "output": str(output)})

    def _ask(self, question: Any) -> int:
        assert self.slowly.stdin is not None
        assert self.slowly.stdout is not None
        self.slowly.stdin.write(json.dumps(question) + "\n")
        self.slowly.stdin.flush()
        return int(self.slowly.stdout.readline())

    def until(self, pattern: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"never said {pattern!r}: {self.text}"
            time.sleep(0.02)

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def end(self) -> int:
        return self._ask({"wait": self.pid})

    @property
    def text(self) -> str:
        return self.err.read_text() if self.err.is_file() else ""


@contextlib.contextmanager
def forking() -> Iterator[subprocess.Popen[str]]:
    """A process that forks a `Command` whenever one is made with it."""
    with subprocess.Popen(
        [sys.executable, str(SLOWLY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as slowly:
        yield slowly
        assert slowly.stdin is not None
        slowly.stdin.close()


@contextlib.contextmanager
def commands(root: Path) -> Iterator[Callable[..., Command]]:
    """run(seconds, *arguments) -> Command, with slow steps; what they say lies in `root`."""
    places = map(str, itertools.count())
    with forking() as slowly:
        yield lambda seconds, *arguments: Command(slowly, root / next(places), seconds, *arguments)
