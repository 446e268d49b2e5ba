"""The recipe from raw text runs whole at its smallest size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".." / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "pretrain").is_dir(), reason="needs ../shared/data")
def test_from_raw_text_to_the_chat(tmp_path: Path) -> None:
    command = tmp_path / "steersman"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m steersman "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    space = tmp_path / "space"
    given = os.environ | {"SMOKE": "1", "WORKSPACE": str(space), "DATA": str(DATA), "STEERSMAN": str(command)}
    found = subprocess.run(
        ["bash", str(ROOT / "recipes" / "from-scratch-tiny.sh")],
        env=given,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    for number, name in enumerate(("corpus", "tokenizer", "pretraining", "data", "the loop"), 1):
        assert f"== {number} of 5, {name}" in found.stdout
    assert (space / "rounds" / "001" / "report" / "report.html").is_file()
    assert "> I want" in found.stdout
