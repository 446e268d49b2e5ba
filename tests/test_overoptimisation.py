"""The over-optimisation bench's formulas against plain loops."""

from __future__ import annotations

import importlib
import math
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "bench"), *sys.path])
    return importlib.import_module("overoptimisation")


def test_best_of_n_is_the_mean_over_all_draws(bench: Any) -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    for n in (1, 2, 4, 6):
        picked = [
            (p, max(draw, key=lambda i, p=p: proxy[p, i])) for p in range(3) for draw in combinations(range(6), n)
        ]
        expected = [float(np.mean([x[p, i] for p, i in picked])) for x in (proxy, gold)]
        assert bench.best_of(proxy, gold, n) == pytest.approx(expected)


@pytest.mark.parametrize("ppo", [False, True])
def test_the_fit_finds_the_curve_it_came_from(bench: Any, ppo: bool) -> None:
    d = np.linspace(0.1, 4, 20)
    gold = d * (1.3 - 0.4 * (np.log(d) if ppo else d))
    alpha, beta = bench.fit([(0.0, 0.0), *zip(d, gold, strict=True)], ppo)
    assert (alpha, beta) == pytest.approx((1.3, 0.4))
    fine = np.linspace(0.01, 20, 200_000)
    highest = fine[np.argmax(fine * (1.3 - 0.4 * (np.log(fine) if ppo else fine)))]
    assert bench.peak(alpha, beta, ppo) == pytest.approx(float(highest), rel=1e-3)
    assert bench.peak(1.0, -0.1, ppo) == math.inf
