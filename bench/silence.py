"""Silences of a command: stretches of more than three seconds without a word, and those without a time to go.

    python bench/silence.py -- steersman demo /tmp/demo --headless          # stderr and stdout are pipes
    python bench/silence.py --tty -- steersman demo /tmp/demo --headless    # a pseudo-terminal: bars
    python bench/silence.py --json silence.json --log said.log -- steersman eval -w /tmp/demo

Exit code 1 where it was silent for longer than --most seconds, 2 where the command itself failed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MOST = 3.0
"""Seconds without a sign of life that a person bears."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[⠀-⣿]")
"""Sequences for terminals, and the spinner's pictures: both are left out of what is quoted."""


@dataclass(frozen=True)
class Stretch:
    """A time in which something was missing."""

    at: float
    """Seconds since the command began."""
    seconds: float
    before: str
    """What had been said last."""
    after: str


def listen(command: list[str], tty: bool, log: Path | None) -> tuple[list[tuple[float, str]], float, int]:
    """Run `command`; (second, text) of all that it wrote, its seconds and its exit code."""
    ours, theirs = pty.openpty() if tty else os.pipe()
    began = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    said: list[tuple[float, str]] = []
    with log.open("w", encoding="utf-8") if log else contextlib.nullcontext() as file:
        # a pseudo-terminal says by an error that its other end was closed
        with contextlib.suppress(OSError):
            while data := os.read(ours, 1 << 16):
                said.append((time.monotonic() - began, data.decode("utf-8", "replace")))
                if file and (words := _plain(said[-1][1])):
                    print(f"{said[-1][0]:8.1f}  {words}", file=file, flush=True)
    code = child.wait()
    os.close(ours)
    return said, time.monotonic() - began, code


def _plain(text: str) -> str:
    return " | ".join(line.strip() for line in CONTROL.sub("", text).replace("\r", "\n").split("\n") if line.strip())


def stretches(said: list[tuple[float, str]], end: float, most: float) -> list[Stretch]:
    """Times between two of `said`, before the first and after the last, that are longer than `most`."""
    said = [(at, text) for at, text in said if _plain(text) or CONTROL.search(text)]
    times = [0.0, *(at for at, _ in said), end]
    texts = ["(start)", *(_plain(text) for _, text in said), "(end)"]
    return [
        Stretch(round(a, 1), round(b - a, 1), texts[i][-120:], texts[i + 1][:120])
        for i, (a, b) in enumerate(itertools.pairwise(times))
        if b - a > most
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tty", action="store_true", help="give the command a pseudo-terminal")
    options.add_argument("--most", type=float, default=MOST, help="seconds that are not yet a silence")
    options.add_argument("--json", type=Path, help="write the result here")
    options.add_argument("--log", type=Path, help="write what was said here, each with its second")
    options.add_argument("command", nargs="+")
    given = options.parse_args()
    said, seconds, code = listen(given.command, given.tty, given.log)
    silent = stretches(said, seconds, given.most)
    blind = stretches([of for of in said if re.search(r"ETA|\bdone\b", of[1])], seconds, 2 * given.most)
    for title, found in (("silent", silent), ("no time to go", blind)):
        print(f"{title}: {len(found)} stretches, the longest {max((s.seconds for s in found), default=0.0)} s")
        for s in found:
            print(f"  at {s.at:.1f} for {s.seconds:.1f} s, between {s.before!r} and {s.after!r}")
    print(f"exit code {code} after {seconds:.1f} s")
    if given.json:
        result = {
            "command": given.command,
            "tty": given.tty,
            "seconds": round(seconds, 1),
            "exit_code": code,
            "silent": [asdict(s) for s in silent],
            "no_time_to_go": [asdict(s) for s in blind],
        }
        given.json.write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
    return 2 if code else 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
