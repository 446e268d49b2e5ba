"""Another steersman process asked for its JSON answer: what needs torch or pictures stays out of a server's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from steersman.artifact.workspace import Workspace
from steersman.rounds.jobs import SECRETS

SECONDS = 180.0
"""Longest that an answer may take."""


def ask(space: Workspace, *words: str, seconds: float = SECONDS) -> dict[str, Any]:
    """What `steersman WORDS --json` says of the workspace. ValueError with its reason where it has no answer."""
    command = [sys.executable, "-m", "steersman", *words, "-w", str(space.root.absolute()), "--json"]
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    told = f"steersman {' '.join(words)}"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{told}: no answer within {seconds:g} seconds; the machine may be busy") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["nothing was said"]
        raise ValueError(f"{told}: ended with code {done.returncode}: {last[0][:500]}") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise ValueError(str(answer["error"] if isinstance(answer, dict) else answer).removeprefix("error: "))
    return answer
