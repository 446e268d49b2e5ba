"""How training went: the report's panels of each stage's metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from steersman.artifact.workspace import POLICIES
from steersman.eval import figures
from steersman.eval.figures import Panel, Series

Rows = Sequence[Mapping[str, Any]]
"""Lines of a stage's metrics.jsonl."""
CURVES = ("sft", "reward", "ppo", *(name for name in POLICIES if name != "policy"))


def training(curves: Mapping[str, Rows], t: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """(heading, picture) of each stage that left curves, in the order of the page."""
    drawn = {"sft": _sft_panels, "reward": _reward_panels, "dpo": _reward_panels, "kto": _reward_panels}
    out = []
    for name in CURVES:
        if panels := drawn.get(name, _ppo_panels)(curves.get(name, ()), t):
            heading = POLICIES[name] if name in POLICIES else t[f"{name}_curves"]
            out.append((heading, figures.curves(f"{name}-curves", f"{t['curves']}: {heading}", panels)))
    return out


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
    """A panel of the lines that have points; none where no line has."""
    series = tuple(Series(label, points, tint, dots) for label, points, tint, dots in lines if points)
    return [Panel(title, x, y, series, from_zero)] if series else []


def _sft_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    tint, other = figures.COLOURS["sft"], figures.COLOURS["policy"]
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


def _reward_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    """Of the reward model, DPO and KTO; only the latter two have implicit rewards."""
    tint, other = figures.COLOURS["sft"], figures.COLOURS["policy"]
    panels = []
    for key, title, y in (("loss", t["loss_value"], t["nats_pair"]), ("accuracy", t["accuracy"], t["share"])):
        training, held = (figures.points(rows, "step", name) for name in (key, f"eval_{key}"))
        lines = [(t["training"], training, tint, False), (t["held"], held, other, True)]
        panels += _panel(title, t["step"], y, lines)
    implicit = [
        (t[key], figures.points(rows, "step", key), hue, False) for key, hue in (("chosen", tint), ("rejected", other))
    ]
    return [*panels, *_panel(t["implicit"], t["step"], t["reward"], implicit)]


def _ppo_panels(rows: Rows, t: Mapping[str, str]) -> list[Panel]:
    tint, other = figures.COLOURS["policy"], figures.COLOURS["sft"]
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
