"""kill -9 at random moments of every stage, then the same command: every file equals the uninterrupted run's.

`tests/kills.py` does it thirty times, `tests/round_kills.py` with a round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = {"sft", "sample", "reward", "ppo", "eval", "dpo", "kto", "grpo", "rloo", "sft-lora", "ppo-lora"}


@pytest.mark.slow
def test_killed_at_random_moments_every_stage_ends_with_the_same_bits() -> None:
    runs = 30
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), str(runs), *sorted(STAGES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=1))
    assert set(found) == STAGES
    for stage, result in found.items():
        assert result["equal"] == runs <= result["kills"], stage


@pytest.mark.slow
def test_a_killed_round_leaves_all_whole_and_goes_on() -> None:
    """`tests/round_kills.py` looks at the served model, the promotions and the store after each kill."""
    runs = 30
    command = [sys.executable, str(Path(__file__).with_name("round_kills.py")), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    assert found["equal"] == runs <= found["kills"], done.stderr
