"""The report's pictures: plain data in, one inline SVG out (matplotlib's object API, no global figure state).

Text stays text, so the reader's browser picks the font and Chinese renders. Ink and grid lines are drawn in
marker colours that become CSS variables, so a picture follows the page into dark mode and onto paper. The same
data gives the same bytes: no dates, and element ids come from the picture's name.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from steersman.stats import Interval

MARKERS = {"#010203": "var(--ink)", "#040506": "var(--muted)", "#070809": "var(--grid)", "#0a0b0c": "var(--card)"}
INK, MUTED, GRID, CARD = MARKERS
GREY, COOL, WARM = "#8b90a3", "#3d8bd4", "#e0772f"
OF_MODELS = {"base": GREY, "sft": COOL, "ppo": WARM}
"""Colours of known models; other models take SPARE in their order."""
SPARE = ("#3aa676", "#9a6dd7", "#c2a12c", "#d1495b", "#2f9fb3")
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
}
MOST_POINTS = 300
WIDTH = 10.2
"""Inches of a full-width picture; the page shows an inch as 96 pixels."""


def colour(name: str, order: int = 0) -> str:
    """A model's colour, the same in every picture and in the page."""
    return OF_MODELS.get(name, SPARE[order % len(SPARE)])


@dataclass(frozen=True)
class Series:
    """One line of a panel: points [(x, y)], in order of x."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dots: bool = False
    """Draw markers too: for values measured only now and then."""
    band: Sequence[tuple[float, float]] = ()
    """Ends of each point's interval, drawn where they are given."""


@dataclass(frozen=True)
class Panel:
    """One small chart of `curves`."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    from_zero: bool = False
    """The vertical scale starts at 0, so that a flat line looks flat."""
    doubling: bool = False
    """The horizontal scale is by powers of two."""


@dataclass(frozen=True)
class TrialPanel:
    """One chart of `trials`: the objective (vertical) against `at(trial)`."""

    x: str
    y: str
    at: Callable[[Mapping[str, Any]], float]
    log: bool = False
    names: Sequence[str] = ()
    """Labels of the places 0, 1, ... of a horizontal scale without numbers."""
    best: Sequence[tuple[float, float]] = ()


def points(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> list[tuple[float, float]]:
    """(x, y) of the rows that have both as finite numbers."""
    found = [(row.get(x), row.get(y)) for row in rows]
    good = [(float(a), float(b)) for a, b in found if isinstance(a, int | float) and isinstance(b, int | float)]
    return [(a, b) for a, b in good if math.isfinite(a) and math.isfinite(b)]


def thin(line: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most `most` points: means of consecutive blocks."""
    if len(line) <= most:
        return list(line)
    blocks = np.array_split(np.asarray(line, dtype=np.float64), most)
    return [(float(b[:, 0].mean()), float(b[:, 1].mean())) for b in blocks]


def curves(name: str, label: str, panels: Sequence[Panel], columns: int = 3) -> Markup:
    """Small multiples in a grid, each with its own scales."""
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)

    def paint(axes: Any) -> None:
        for ax, panel in zip(axes.flat, panels, strict=False):
            for s in panel.series:
                line = list(s.points) if s.dots else thin(s.points)
                few = s.dots or len(line) < 3
                ax.plot(
                    *zip(*line, strict=True), color=s.colour, label=s.label, marker="o" if few else "", markersize=4
                )
            ax.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
            if panel.doubling:
                ax.set_xscale("log", base=2)
                ax.xaxis.set_major_formatter("{x:.0f}")
            for s in panel.series:
                if s.band:
                    ax.fill_between([p[0] for p in s.points], *zip(*s.band, strict=True), color=s.colour, alpha=0.15)
            if panel.from_zero:
                top = max(y for s in panel.series for _, y in s.points)
                ax.set_ylim(0, 1.12 * top if top > 0 else 1)
            if len(panel.series) > 1:
                ax.legend(fontsize=9, handlelength=1.4)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()

    return _draw(name, label, (WIDTH / 3 * columns, 2.55 * rows), paint, (rows, columns))


def axes_dots(rows: Sequence[tuple[str, Sequence[tuple[str, str, Interval]]]], x: str, label: str) -> Markup:
    """Per row (axis) one dot with interval per (model, colour, mean); `x` labels the scale from 0 to 1."""

    def paint(axes: Any) -> None:
        ax = axes[0, 0]
        labelled: set[str] = set()
        for at, (_, values) in enumerate(rows):
            for k, (model, tint, mean) in enumerate(values):
                y = at + 0.21 * (k - (len(values) - 1) / 2)
                _whisker(ax, mean, y, tint, "" if model in labelled else model)
                labelled.add(model)
        ax.set_yticks(range(len(rows)), [r[0] for r in rows])
        ax.tick_params(axis="y", length=0, labelsize=10.5, labelcolor=INK)
        ax.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5), xlabel=x)
        ax.grid(visible=False, axis="y")
        ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)

    return _draw("axes", label, (WIDTH, 0.75 * len(rows) + 1.0), paint)


def _whisker(ax: Any, mean: Interval, y: float, tint: str, label: str) -> None:
    known = math.isfinite(mean.low) and math.isfinite(mean.high)
    error = [[max(0.0, mean.value - mean.low)], [max(0.0, mean.high - mean.value)]] if known else None
    ax.errorbar([mean.value], [y], xerr=error, fmt="o", color=tint, markersize=6, capsize=3, linewidth=2, label=label)
    ax.annotate(
        f"{mean.value:.2f}",
        (mean.high if known else mean.value, y),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=MUTED,
    )


def seeds(dots: Sequence[tuple[str, str, Interval]], x: str, label: str) -> Markup:
    """One dot with interval per (seed, colour, difference), against a line at zero; the last row is all of them."""

    def paint(axes: Any) -> None:
        ax = axes[0, 0]
        ax.axvline(0, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        for at, (_, tint, difference) in enumerate(dots):
            _whisker(ax, difference, at, tint, "")
        ax.axhline(len(dots) - 1.5, color=GRID, linewidth=0.8)
        ax.set_yticks(range(len(dots)), [name for name, _, _ in dots])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set(ylim=(len(dots) - 0.5, -0.5), xlabel=x)
        ax.grid(visible=False, axis="y")

    return _draw("seeds", label, (WIDTH, 0.33 * len(dots) + 0.9), paint)


def reward_kl(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, words: Mapping[str, str]) -> Markup:
    """Reward against KL: one dot per PPO iteration (darker is later), diamonds for evaluations, a ring on the best."""
    train, held = points(rows, "kl", "reward"), points(rows, "eval_kl", "eval_reward")

    def paint(axes: Any) -> None:
        ax = axes[0, 0]
        if train:
            xs, ys = zip(*train, strict=True)
            ax.plot(xs, ys, color=WARM, linewidth=0.7, alpha=0.35)
            shade = np.linspace(0.25, 1.0, len(train))
            ax.scatter(xs, ys, color=WARM, alpha=shade, s=24, linewidths=0)
            ax.scatter([], [], color=WARM, s=24, linewidths=0, label=words["rollouts"])
            for k, at in ((0, words["first"]), (-1, words["last"])):
                ax.annotate(at, train[k], (7, -11), textcoords="offset points", fontsize=9, color=MUTED)
        if held:
            ax.plot(*zip(*held, strict=True), "D", color=COOL, markersize=6, label=words["held_out"])
        if best is not None:
            spot = points([best], "eval_kl", "eval_reward") or points([best], "kl", "reward")
            ax.plot(*zip(*spot, strict=True), "o", mfc="none", mec=INK, markersize=15, mew=1.8, label=words["best"])
        ax.set(xlabel=words["kl_axis"], ylabel=words["reward_axis"])
        ax.legend(fontsize=9.5, loc="best")

    return _draw("reward-kl", words["reward_kl"], (WIDTH, 4.2), paint)


def lengths(models: Sequence[tuple[str, str, Sequence[int]]], x: str, y: str, median: str, label: str) -> Markup:
    """One histogram of answer length in tokens per (label, colour, tokens), on one scale, medians marked."""
    longest = max((max(t) for _, _, t in models if len(t)), default=1)
    edges = np.linspace(0, max(longest, 1), 31)

    def paint(axes: Any) -> None:
        for ax, (name, tint, tokens) in zip(axes[:, 0], models, strict=True):
            if len(tokens):
                ax.hist(tokens, bins=edges, color=tint, weights=np.full(len(tokens), 100 / len(tokens)))
                middle = float(np.median(tokens))
                ax.axvline(middle, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
                ax.set_title(f"{name} · {median} {middle:g}")
            ax.grid(visible=False, axis="x")
            ax.set(xlim=(0, edges[-1]), ylabel=y)
            ax.label_outer()
        axes[-1, 0].set_xlabel(x)

    return _draw("lengths", label, (WIDTH, 1.35 * len(models) + 0.5), paint, (len(models), 1))


def calibration(bins: Sequence[Mapping[str, Any]], x: str, y: str, ideal: str, label: str) -> Markup:
    """Predicted against observed share, Wilson bounds as whiskers; a dot's area grows with its number of pairs."""
    p, accuracy, n, low, high = (np.array([float(b[k]) for b in bins]) for k in ("p", "accuracy", "n", "low", "high"))
    start = 0.5 if p.min() >= 0.5 else 0.0

    def paint(axes: Any) -> None:
        ax = axes[0, 0]
        ax.plot([start, 1], [start, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label=ideal)
        error = np.maximum([accuracy - low, high - accuracy], 0)
        ax.errorbar(p, accuracy, yerr=error, fmt="none", ecolor=COOL, capsize=3, linewidth=1.5)
        ax.scatter(p, accuracy, s=20 + 90 * n / n.max(), color=COOL, zorder=3)
        ax.set(xlim=(start - 0.02, 1.02), xlabel=x, ylabel=y, ylim=(min(start, low.min()) - 0.03, 1.03))
        ax.legend(fontsize=9, loc="upper left")

    return _draw("calibration", label, (4.4, 3.7), paint)


def trials(
    name: str,
    label: str,
    panels: Sequence[TrialPanel],
    tried: Sequence[Mapping[str, Any]],
    words: Mapping[str, str],
) -> Markup:
    """A search's trials ({value, state, ...}) in small multiples: full dots are finished trials, rings pruned ones."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)

    def paint(axes: Any) -> None:
        for ax, panel in zip(axes.flat, panels, strict=False):
            for state, face in (("complete", COOL), ("pruned", "none")):
                spots = [(panel.at(trial), trial["value"]) for trial in tried if trial["state"] == state]
                if spots:
                    edge = COOL if face != "none" else GREY
                    ax.scatter(*zip(*spots, strict=True), s=28, facecolor=face, edgecolor=edge, label=words[state])
            if panel.best:
                ax.step(*zip(*panel.best, strict=True), where="post", color=WARM, label=words["best_so_far"])
                ax.legend(fontsize=9)
            ax.set(xlabel=panel.x, ylabel=panel.y)
            if panel.log:
                ax.set_xscale("log")
            if panel.names:
                ax.set_xticks(range(len(panel.names)), panel.names)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()

    return _draw(name, label, (WIDTH / 3 * columns, 2.7 * rows), paint, (rows, columns))


def heat(
    name: str, label: str, panels: Sequence[tuple[str, Sequence[Sequence[float]]]], x: Sequence[str], y: tuple[str, str]
) -> Markup:
    """Shares from 0 to 1 as coloured fields, a row of a panel for each depth from 0 to 100 % and a column for each `x`.

    `y`: what rows and columns are.
    """
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)

    def paint(axes: Any) -> None:
        for ax, (title, shares) in zip(axes.flat, panels, strict=False):
            table = np.asarray(shares, dtype=np.float64).T
            ax.pcolormesh(table, cmap="RdYlGn", vmin=0, vmax=1, edgecolors=GRID, linewidth=0.5)  # paths: no image loads
            ax.invert_yaxis()
            depths = [round(100 * i / max(1, len(table) - 1)) for i in range(len(table))]
            ax.set_yticks([i + 0.5 for i in range(0, len(table), 3)], depths[::3])
            ax.set_xticks([i + 0.5 for i in range(len(x))], x)
            ax.set(title=title, xlabel=y[1], ylabel=y[0])
            ax.grid(visible=False)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()

    return _draw(name, label, (WIDTH / 3 * columns, 2.55 * rows), paint, (rows, columns))


def bars(name: str, label: str, rows: Sequence[tuple[str, int]], x: str) -> Markup:
    """A horizontal bar for each (what, number), the first on top, with its number behind it."""
    top = max((n for _, n in rows), default=0) or 1

    def paint(axes: Any) -> None:
        ax = axes[0, 0]
        ax.barh(range(len(rows)), [n for _, n in rows], color=COOL, height=0.7)
        for i, (_, n) in enumerate(rows):
            ax.text(n + 0.01 * top, i, f"{n:,}", va="center", fontsize=9)
        ax.set_yticks(range(len(rows)), [what for what, _ in rows])
        ax.set(xlim=(0, 1.15 * top), xlabel=x)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)

    return _draw(name, label, (5.0, 0.7 + 0.27 * len(rows)), paint)


def _draw(
    name: str,
    label: str,
    size: tuple[float, float],
    paint: Callable[[Any], None],
    shape: tuple[int, int] = (1, 1),
) -> Markup:
    """Paint onto a fresh grid of axes and return it as an inline SVG that is read out as `label`."""
    out = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # widths of characters that matplotlib's own font lacks are estimated; the browser has the font
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.11, w_pad=0.08))
        paint(figure.subplots(*shape, squeeze=False))
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), name, label)


def _inline(svg: str, name: str, label: str) -> Markup:
    """The `<svg>` element alone, themed, sized by the page, its ids made unique by the picture's name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert box is not None, "matplotlib wrote no viewBox"
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for marker, variable in MARKERS.items():
        body = body.replace(marker, variable)
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        'aria-label="{}" viewBox="{}" style="max-width:{}px">'
    ).format(label, f"0 0 {box[1]} {box[2]}", round(float(box[1]) * 4 / 3))
    return head + Markup(body)
