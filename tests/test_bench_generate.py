"""bench/generate.py: ratios without transformers, left out or failed."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "bench"), *sys.path])
    return importlib.import_module("generate")


def rows(bench: Any, names: list[str], left: list[str]) -> dict[str, float]:
    """Ratios of the sides that are left, of two repeats that all of them finished."""
    found = {name: {"first": [1.0, 1.0], "all": [2.0 + i, 2.0 + i], "peak": [9.0, 9.0]} for i, name in enumerate(names)}
    for name in set(names) - set(left):
        found[name]["all"].pop()  # it failed in the second
    workers = [SimpleNamespace(name=name, dtype="bfloat16", weight_bytes=10) for name in left]
    bounds = {"copy_gb_per_second": 30.0, "bfloat16": 1.0}
    return {row["side"]: row["ratio"] for row in bench.summarise(found, workers, 8, 16, bounds)}


def test_ratios_are_against_transformers_or_else_the_first_side(bench: Any) -> None:
    ours, plain, other = "steersman bfloat16", bench.BASELINE, "vllm bfloat16"
    assert rows(bench, [ours, plain, other], [ours, plain, other]) == {ours: 1.5, plain: 1.0, other: 0.75}
    assert rows(bench, [ours, other], [ours, other]) == {ours: 1.0, other: pytest.approx(2 / 3)}
    assert rows(bench, [ours, plain, other], [ours, other]) == {ours: 1.0, other: 0.5}


def test_transformers_can_be_left_out(bench: Any) -> None:
    given = {"without": "transformers", "vllm_python": "", "llama_server": "", "llama_gguf": ""}
    given |= dict.fromkeys(("int8", "streams", "continuous"), False)
    sides = bench.sides_of(argparse.Namespace(**given), Path("model"))
    assert [side.name for side in sides] == ["steersman bfloat16"]
    assert bench.baseline_of([side.name for side in sides]) == "steersman bfloat16"
