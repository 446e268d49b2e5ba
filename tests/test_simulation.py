"""The loop climbs for simulated users with hidden preferences: the ten-minute size of bench/simulate_rounds.py."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.slow
def test_the_loop_climbs_and_adversaries_do_not_turn_it(tmp_path: Path) -> None:
    """One seed, three rounds: 30 % adversaries with weights and gate, with weights alone, and with neither."""
    out = tmp_path / "found.json"
    ways = ("guarded", "weighed", "bare")
    command = [sys.executable, str(BENCH / "simulate_rounds.py"), "--seeds", "1", "--rounds", "3"]
    subprocess.run([*command, "--ways", ",".join(ways), "--out", str(out)], check=True, timeout=3000)
    lines: list[dict[str, Any]] = json.loads(out.read_text())["lines"]
    utility = {way: [line["utility"] for line in lines if line["way"] == way] for way in ways}
    assert all(len(steps) == 4 for steps in utility.values())
    guarded, bare = utility["guarded"], utility["bare"]
    assert guarded[-1] > guarded[0] + 0.05
    assert min(b - a for a, b in itertools.pairwise(guarded)) > -0.02
    assert utility["weighed"][-1] > utility["weighed"][0]
    assert bare[-1] < guarded[-1] - 0.1
