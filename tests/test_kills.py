"""kill -9 at random moments of every stage, then the same command: every file equals the uninterrupted run's.

`tests/kills.py` does it; twice per stage here, thirty times by `make test-slow`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = {"sft", "sample", "reward", "ppo", "eval"}


@pytest.mark.parametrize("runs", [2, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_killed_at_random_moments_every_stage_ends_with_the_same_bits(runs: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=1))
    assert set(found) == STAGES
    for stage, result in found.items():
        assert result["equal"] == runs <= result["kills"], stage
