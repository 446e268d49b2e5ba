"""Intervals and calibration for small evaluations (numpy only; train and eval both use it).

Every estimate is an `Interval`: the value, its bounds and how many observations it rests on. Observations that
belong together (the pairs of one prompt) share a group id, and whole groups are resampled (cluster bootstrap),
because treating them as independent would make the interval too narrow.

Degenerate input gives no false certainty: without observations the value is NaN and the bounds infinite, as are those
of a single group; of proportions that are all the same, Wilson's interval over the groups stands for one of width 0.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[Any]
Groups = Sequence[Any] | npt.NDArray[Any] | None

CHUNK_ELEMENTS = 2_000_000
"""Resampled values held at once; bounds memory to tens of megabytes whatever the number of resamples."""
RIDGE = 0.1
"""Penalty on both coefficients of the length regression: keeps them finite, shrinks by under 1 % from 50 prompts on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence bounds. `n` counts observations, not groups."""

    value: float
    low: float
    high: float
    n: int

    def excludes(self, x: float = 0.0) -> bool:
        """True where `x` lies outside the bounds; always False where the bounds are unknown."""
        return self.low > x or self.high < x

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; what is not finite becomes null."""
        return {k: (v if math.isfinite(v) else None) for k, v in dataclasses.asdict(self).items()}

    @staticmethod
    def from_json(value: Any, where: str = "interval") -> Interval:
        """Raises ValueError where a key is missing or not a number."""
        if not isinstance(value, Mapping) or not {"value", "low", "high", "n"} <= set(value):
            raise ValueError(f"{where}: expected an object with value, low, high and n, got {value!r}")
        missing = {"value": math.nan, "low": -math.inf, "high": math.inf, "n": 0}
        try:
            read = {k: float(missing[k] if value[k] is None else value[k]) for k in missing}
        except (TypeError, ValueError):
            raise ValueError(f"{where}: expected numbers or null, got {value!r}") from None
        return Interval(read["value"], read["low"], read["high"], int(read["n"]))


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927). `n == 0` gives (0, 1): nothing is known.

    Both may be fractional (ties count half). Raises ValueError unless 0 <= successes <= n and 0 < level < 1.
    """
    _check_level(level)
    if not (n >= 0 and 0 <= successes <= n):
        raise ValueError(f"wilson: expected 0 <= successes <= n, got {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale
    return low, 1.0 if successes == n else (centre + half) / scale


def bootstrap_mean(
    values: Values,
    groups: Groups = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    expanded: bool = False,
) -> Interval:
    """Percentile bootstrap of the mean of `values` [N]; with `groups` [N] whole groups are resampled.
    `expanded`: as the percentiles of so few groups are too narrow (`_telling`, `expanded_level`).
    Same seed, same result. Values that are all equal give an interval of width 0 (two groups or more).
    """
    x = _vector(values, "values")
    sums, counts = _by_group(x, groups)
    if len(x) == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    if len(sums) == 1:
        return Interval(float(x.mean()), -math.inf, math.inf, len(x))
    means = _resampled_means(sums, counts, resamples, seed)
    low, high = _percentiles(means, expanded_level(level, _telling(sums / counts)) if expanded else level)
    return Interval(float(x.mean()), low, high, len(x))


def _telling(means: Floats) -> int:
    """How many groups tell of the spread: where 5 of 100 differ from the rest, these, as many others, and one."""
    others = len(means) - int(np.unique(means, return_counts=True)[1].max())
    return max(2, min(len(means), 2 * others + 1))


def expanded_level(level: float, groups: int) -> float:
    """The level at which percentiles of resampled means hold the true mean in a share `level` of all cases.

    A bootstrap of n groups has (n - 1) / n of the variance and normal tails where Student's belong: at 12 groups "95 %"
    are 89 (Hesterberg 2015, expanded percentiles). Why so: decision 63 in docs/LOG.md.
    """
    wide = student(groups - 1, level) * math.sqrt(groups / (groups - 1))
    return min(2 * NormalDist().cdf(wide) - 1, 1 - 1e-12)  # of two groups the bootstrap has no more than its ends


def paired_bootstrap(
    a: Values,
    b: Values,
    groups: Groups = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    expanded: bool = False,
) -> Interval:
    """Interval of mean(a - b), where `a` [N] and `b` [N] are measured on the same N prompts."""
    x, y = _vector(a, "a"), _vector(b, "b")
    if len(x) != len(y):
        raise ValueError(f"paired_bootstrap: expected as many values in b as in a ({len(x)}), got {len(y)}")
    return bootstrap_mean(x - y, groups, resamples, seed, level, expanded)


def proportion_interval(
    values: Values, groups: Groups = None, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval of the mean of `values` [N] in [0, 1] (yes/no, wins with ties as a half, pairs by their prompt).

    The cluster bootstrap, or Wilson's interval over the groups where all values are the same (also all ties).
    """
    x = _vector(values, "values")
    if len(x) and (x.min() < 0 or x.max() > 1):
        raise ValueError(f"proportion: expected values in [0, 1], got {x.min()} to {x.max()}")
    if len(x) and bool((x == x[0]).all()):
        return _all_same(float(x[0]), len(_by_group(x, groups)[0]), len(x), level)
    return bootstrap_mean(x, groups, resamples, seed, level)


def _all_same(value: float, groups: int, n: int, level: float) -> Interval:
    """Of values in [0, 1] that are all one: so many others as Wilson's bound allows may be 0, or 1."""
    share = wilson(groups, groups, level)[0]
    return Interval(value, share * value, share * value + 1 - share, n)


def calibration(probabilities: Values, correct: Values, bins: int = 10, level: float = 0.95) -> list[dict[str, float]]:
    """Predicted against observed: one {p, accuracy, n, low, high} per non-empty bin of equal width.

    `p` is the mean prediction in the bin, `low` and `high` Wilson's bounds of `accuracy`. The bins cover [0, 1],
    or [0.5, 1] where no probability is below 0.5 (the confidence in whichever answer the model prefers).
    """
    p, y = _vector(probabilities, "probabilities"), _vector(correct, "correct")
    if len(p) != len(y):
        raise ValueError(f"calibration: expected as many outcomes as probabilities ({len(p)}), got {len(y)}")
    if bins < 1:
        raise ValueError(f"calibration: expected at least 1 bin, got {bins}")
    if len(p) == 0:
        return []
    if p.min() < 0 or p.max() > 1 or y.min() < 0 or y.max() > 1:
        raise ValueError("calibration: expected probabilities and outcomes in [0, 1]")
    start = 0.5 if p.min() >= 0.5 else 0.0
    place = np.minimum(((p - start) / (1 - start) * bins).astype(np.int64), bins - 1)
    out = []
    for k in np.unique(place):
        inside = place == k
        n, hits = int(inside.sum()), float(y[inside].sum())
        low, high = wilson(hits, n, level)
        out.append({"p": float(p[inside].mean()), "accuracy": hits / n, "n": n, "low": low, "high": high})
    return out


def expected_calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Mean |accuracy - p| over the bins of `calibration`, weighted by n (Guo et al. 2017); NaN without bins."""
    total = sum(b["n"] for b in bins)
    return sum(b["n"] * abs(b["accuracy"] - b["p"]) for b in bins) / total if total else math.nan


def length_controlled_win_rate(
    wins: Values, longer: Values, resamples: int = 2000, seed: int = 0, level: float = 0.95, groups: Groups = None
) -> Interval:
    """Win rate at equal length: P(win) = sigmoid(theta + phi * tanh(d / std(d))) read at d = 0.

    `wins` [N] is 0, 0.5 (tie) or 1; `longer` [N] is length of ours minus length of theirs. The idea of
    length-controlled AlpacaEval (Dubois et al. 2024, without its per-prompt difficulty). Where d does not vary the
    plain win rate remains. A small ridge keeps the fit finite; all wins or all losses take Wilson's bounds. With
    `groups` [N] whole groups are resampled.
    """
    y, d = _vector(wins, "wins"), _vector(longer, "longer")
    if len(y) != len(d):
        raise ValueError(f"length_controlled_win_rate: expected {len(y)} length differences, got {len(d)}")
    if len(y) and (y.min() < 0 or y.max() > 1):
        raise ValueError("length_controlled_win_rate: expected wins in [0, 1]")
    if len(y) == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    spread = float(d.std())
    x = np.tanh(d / spread) if spread > 0 else np.zeros_like(d)
    start = _fit_logistic(x[None], y[None], np.zeros((1, 2)))
    value = float(_sigmoid(start[0, 0]))
    owner = np.unique([] if groups is None else np.asarray(groups), return_inverse=True)[1].reshape(-1).astype(np.int64)
    count = int(owner.max(initial=-1)) + 1 or len(y)
    if count == 1:
        return Interval(value, -math.inf, math.inf, len(y))
    if bool((y == y[0]).all()):
        same = _all_same(float(y[0]), count, len(y), level)
        return Interval(value, min(same.low, value), max(same.high, value), len(y))
    low, high = _percentiles(_sigmoid(_thetas(x.tobytes(), y.tobytes(), resamples, seed, owner.tobytes())), level)
    return Interval(value, low, high, len(y))


@functools.lru_cache(maxsize=64)
def _thetas(x_: bytes, y_: bytes, resamples: int, seed: int, owner_: bytes) -> Floats:
    """theta of `length_controlled_win_rate` in each resample; kept as `_means` are."""
    x, y, owner = np.frombuffer(x_), np.frombuffer(y_), np.frombuffer(owner_, dtype=np.int64)
    start = _fit_logistic(x[None], y[None], np.zeros((1, 2)))
    rng = np.random.default_rng(seed)
    thetas = []
    for size in _chunks(resamples, len(y)):
        begin = np.repeat(start, size, axis=0)
        if count := int(owner.max(initial=-1)) + 1:
            drawn = rng.multinomial(count, np.full(count, 1 / count), size)
            thetas.append(_fit_logistic(x[None], y[None], begin, drawn[:, owner])[:, 0])
            continue
        picked = rng.integers(0, len(y), (size, len(y)))
        thetas.append(_fit_logistic(x[picked], y[picked], begin)[:, 0])
    out = np.concatenate(thetas)
    out.setflags(write=False)
    return out


def crossed_mean(values: npt.NDArray[Any], resamples: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """Interval of the mean of `values` [S seeds, P prompts] that holds both: other seeds and other prompts.

    Seeds and prompts are crossed, every seed answers every prompt. Seeds and prompts are resampled each by itself and
    their effects added. A plain percentile of that would be too narrow (few seeds) and too wide (what is left of a
    value after both effects would count twice), so the resampled means are scaled to the variance that the analysis
    of variance gives, and to Student's t with Satterthwaite's degrees of freedom. With one seed or one prompt nothing
    is known of their spread: infinite bounds. Why so: decision 57 in docs/LOG.md.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"crossed_mean: expected finite numbers [seeds, prompts], got shape {list(x.shape)}")
    if min(x.shape) < 2:
        return Interval(float(x.mean()) if x.size else math.nan, -math.inf, math.inf, x.size)
    mean, of_seeds, of_prompts = float(x.mean()), x.mean(axis=1), x.mean(axis=0)
    square, both, degrees = crossed_variance(x)
    if square == 0:
        return Interval(mean, mean, mean, x.size)
    wide = student(degrees, level) / NormalDist().inv_cdf(0.5 + level / 2)
    moved = _moved(of_seeds, resamples, seed) + _moved(of_prompts, resamples, seed + 1)
    low, high = _percentiles(moved * wide * math.sqrt(square / both), level)
    return Interval(mean, mean + low, mean + high, x.size)


def crossed_variance(x: Floats) -> tuple[float, float, float]:
    """(variance of the mean of x [S, P] times S P, that of both effects by themselves, degrees of freedom)."""
    mean, of_seeds, of_prompts = float(x.mean()), x.mean(axis=1), x.mean(axis=0)
    rest = x - of_seeds[:, None] - of_prompts + mean
    seeds, prompts = (float(n * part.var(ddof=1)) for n, part in ((x.shape[1], of_seeds), (x.shape[0], of_prompts)))
    degrees = (x.shape[0] - 1, x.shape[1] - 1)
    left = float((rest**2).sum()) / (degrees[0] * degrees[1])
    square = max(seeds + prompts - left, seeds, prompts)
    parts = seeds**2 / degrees[0] + prompts**2 / degrees[1] + left**2 / (degrees[0] * degrees[1])
    return square, seeds + prompts, max(1.0, square**2 / parts) if parts else 1.0


def _moved(effects: Floats, resamples: int, seed: int) -> Floats:
    """How far the mean moves when its parts are drawn again, of the variance that independent parts would give."""
    grown = math.sqrt(len(effects) / (len(effects) - 1))
    moved: Floats = _resampled_means(effects, np.ones_like(effects), resamples, seed) - effects.mean()
    return moved * grown


def few_mean(values: Values, level: float = 0.95) -> Interval:
    """Student's interval of the mean of a few independent values, such as one figure of each seed."""
    x = _vector(values, "values")
    if len(x) < 2:
        return Interval(float(x[0]) if len(x) else math.nan, -math.inf, math.inf, len(x))
    half = student(len(x) - 1, level) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, len(x))


@functools.lru_cache(maxsize=512)
def student(degrees: float, level: float = 0.95) -> float:
    """The factor t that puts a share `level` of Student's distribution between -t and t."""
    _check_level(level)
    degrees = min(degrees, 1000.0)  # beyond, it is the normal's to a thousandth
    angles, density = student_curve(degrees)
    below = np.cumsum(density)
    return math.sqrt(degrees) * math.tan(float(np.interp(level, below / below[-1], angles[1:])))


def student_curve(degrees: float) -> tuple[Floats, Floats]:
    """x = sqrt(degrees) * tan(angle) turns Student's density into a power of the cosine: (edges, density between)."""
    angles = np.linspace(0, math.pi / 2, 20_001)
    return angles, np.cos((angles[1:] + angles[:-1]) / 2) ** (degrees - 1)


def _fit_logistic(x: Floats, y: Floats, start: Floats, counts: Any = 1.0) -> Floats:
    """Ridge-penalised Newton for R regressions at once: x, y, counts [R, N], start [R, 2] -> (theta, phi) [R, 2].

    Steps are clipped at 1, which keeps Newton from overshooting where the sample is nearly separable; the
    penalised likelihood is strictly concave, so the solution does not depend on the start.
    """
    beta = start.copy()
    for _ in range(60):
        p = _sigmoid(beta[:, :1] + beta[:, 1:] * x)
        residual, weight = counts * (y - p), counts * p * (1 - p)
        gradient0 = residual.sum(1) - RIDGE * beta[:, 0]
        gradient1 = (residual * x).sum(1) - RIDGE * beta[:, 1]
        h00 = weight.sum(1) + RIDGE
        h01 = (weight * x).sum(1)
        h11 = (weight * x * x).sum(1) + RIDGE
        determinant = h00 * h11 - h01 * h01
        step = np.stack([h11 * gradient0 - h01 * gradient1, h00 * gradient1 - h01 * gradient0], axis=1)
        step = np.clip(step / determinant[:, None], -1, 1)
        beta += step
        if float(np.abs(step).max()) < 1e-7:
            break
    return beta


def _sigmoid(z: Any) -> Floats:
    # tanh form: no overflow for large |z|, so no warning to suppress
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(z))), dtype=np.float64)


def _vector(values: Values, name: str) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"{name}: expected one dimension [N], got shape {list(x.shape)}")
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: expected finite numbers, got {x[~np.isfinite(x)][0]} at index {int(np.argmin(np.isfinite(x)))}"
        )
    return x


def _by_group(x: Floats, groups: Groups) -> tuple[Floats, Floats]:
    """Sum and count of the values of each group, [G] and [G]."""
    if groups is None:
        return x, np.ones_like(x)
    ids = np.asarray(groups)
    if ids.shape != x.shape:
        raise ValueError(f"groups: expected {len(x)} ids, one per value, got shape {list(ids.shape)}")
    inverse = np.unique(ids, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(inverse, weights=x).astype(np.float64)
    return sums, np.bincount(inverse).astype(np.float64)


def _chunks(resamples: int, width: int) -> list[int]:
    """Sizes of consecutive blocks of resamples, each at most CHUNK_ELEMENTS values."""
    if resamples < 1:
        raise ValueError(f"bootstrap: expected at least 1 resample, got {resamples}")
    size = max(1, CHUNK_ELEMENTS // width)
    return [min(size, resamples - done) for done in range(0, resamples, size)]


def _resampled_means(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    """Mean of `resamples` draws of G groups with replacement, [resamples]."""
    return _means(sums.tobytes(), counts.tobytes(), resamples, seed)


@functools.lru_cache(maxsize=512)
def _means(sums_: bytes, counts_: bytes, resamples: int, seed: int) -> Floats:
    """Kept: a verdict asks for most of its intervals at two levels, and the report's page computes it again."""
    sums, counts = np.frombuffer(sums_), np.frombuffer(counts_)
    rng = np.random.default_rng(seed)
    equal = bool((counts == counts[0]).all())
    means = []
    for size in _chunks(resamples, len(sums)):
        picked = rng.integers(0, len(sums), (size, len(sums)))
        drawn = len(sums) * counts[0] if equal else counts[picked].sum(1)
        means.append(sums[picked].sum(1) / drawn)
    out = np.concatenate(means)
    out.setflags(write=False)
    return out


def _percentiles(x: Floats, level: float) -> tuple[float, float]:
    _check_level(level)
    low, high = np.quantile(x, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
