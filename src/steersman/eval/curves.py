"""How training went: the report's panels of each stage's metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from steersman.eval import figures
from steersman.eval.figures import Panel, Series

Rows = Sequence[Mapping[str, Any]]
"""Lines of a stage's metrics.jsonl."""
Curves = Mapping[str, Rows]
"""A stage's verb -> its metrics, in the order of the loop."""


def training(curves: Curves, t: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """(heading, picture) of each stage with metrics. The fields of its lines decide which panels are drawn."""
    out = []
    for name, rows in curves.items():
        keys = _keys(rows)
        ranking = bool(keys & {"accuracy", "eval_accuracy"})
        drawn = _rollout_panels if "iteration" in keys else _ranking_panels if ranking else _loss_panels
        if panels := drawn(rows, t):
            heading = t.get(f"{name}_curves", name.upper())
            out.append((heading, figures.curves(f"{name}-curves", f"{t['curves']}: {heading}", panels)))
    return out


def _keys(rows: Rows) -> set[str]:
    return {key for row in rows for key in row}


def rollouts(curves: Curves) -> Rows:
    """The metrics of the first stage with iterations of sampling and updating; empty without one."""
    return next((rows for rows in curves.values() if "iteration" in _keys(rows)), ())


def best_row(ppo: Rows, kl_ceiling: float) -> Mapping[str, Any] | None:
    """The kept checkpoint: the row marked `best`, else the highest eval_reward at bounded KL, else None."""
    marked = [row for row in ppo if row.get("best") is True]
    if marked:
        return marked[-1]
    held = [row for row in ppo if figures.points([row], "eval_kl", "eval_reward") and row["eval_kl"] <= kl_ceiling]
    return max(held, key=lambda row: float(row["eval_reward"]), default=None)


def _panel(
    title: str, x: str, y: str, lines: Sequence[tuple[str, Any, str, bool]], from_zero: bool = False
) -> list[Panel]:
    """A panel of the lines that have points; [] where no line has points."""
    series = tuple(Series(label, points, tint, dots) for label, points, tint, dots in lines if points)
    return [Panel(title, x, y, series, from_zero)] if series else []


def _loss_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    tint, other = figures.COOL, figures.WARM
    loss, held, rate, speed = (
        figures.points(rows, "step", k) for k in ("loss", "eval_loss", "lr", "tokens_per_second")
    )
    millionths = [(x, 1e6 * y) for x, y in rate]
    return [
        *_panel(
            t["loss_value"],
            t["step"],
            t["nats_token"],
            [(t["training"], loss, tint, False), (t["held"], held, other, True)],
        ),
        *_panel(t["lr"], t["step"], t["lr_millionths"], [("", millionths, tint, False)], True),
        *_panel(t["speed"], t["step"], t["tokens_per_second"], [("", speed, tint, False)], True),
    ]


def _ranking_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    """Panels for the reward model, DPO and KTO; only the latter two have implicit rewards."""
    tint, other = figures.COOL, figures.WARM
    panels = []
    for key, title, y in (("loss", t["loss_value"], t["nats_pair"]), ("accuracy", t["accuracy"], t["share"])):
        training, held = (figures.points(rows, "step", name) for name in (key, f"eval_{key}"))
        lines = [(t["training"], training, tint, False), (t["held"], held, other, True)]
        panels += _panel(title, t["step"], y, lines)
    implicit = [
        (t[key], figures.points(rows, "step", key), hue, False) for key, hue in (("chosen", tint), ("rejected", other))
    ]
    return [*panels, *_panel(t["implicit"], t["step"], t["reward"], implicit)]


def _rollout_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    tint, other = figures.WARM, figures.COOL
    wanted = (
        ("reward", t["reward"], t["reward_axis"], "eval_reward", False),
        ("kl", t["kl"], t["nats"], "eval_kl", False),
        ("entropy", t["entropy"], t["nats_token"], "", True),
        ("explained_variance", t["explained_variance"], t["share"], "", False),
        ("length", t["length"], t["tokens"], "", True),
        ("no_eos", t["no_eos"], t["share"], "", True),
        ("clip_fraction", t["clip_fraction"], t["share"], "", True),
        ("kl_coef", t["kl_coef"], t["kl_coef"], "", True),
    )
    panels = []
    for key, title, y, held, from_zero in wanted:
        lines = [(t["training"], figures.points(rows, "iteration", key), tint, False)]
        lines += [(t["held"], figures.points(rows, "iteration", held), other, True)] if held else []
        panels += _panel(title, t["iteration"], y, lines, from_zero)
    return panels
