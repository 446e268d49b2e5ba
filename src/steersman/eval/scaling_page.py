"""A scaling law as a page: the runs, the law through them, and what it predicted beside what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steersman.eval import figures
from steersman.eval.figures import Panel, Series
from steersman.eval.report import write_page

EN = {
    "lang": "en",
    "bpb": "bits per byte of held-out text",
    "loss": "held-out loss, nats per token",
    "claim": "{loss:.3f} {what} predicted for {name}",
    "said": "From {low:.3f} to {high:.3f} where one of the {n} runs is left out.",
    "measured": "Measured: {loss:.3f}.",
    "curves": "The law and its runs",
    "law": "law",
    "runs": "runs it was fitted to",
    "predicted": "predicted",
    "came": "measured",
    "x": "operations of training, powers of ten",
    "facts": "Made of",
}
ZH = {
    "lang": "zh",
    "bpb": "（留出文本每字节比特数）",
    "loss": "（留出文本损失，奈特/词元）",
    "claim": "{name} 的预测：{loss:.3f}{what}",
    "said": "从 {n} 次训练中各去掉一次，预测在 {low:.3f} 到 {high:.3f} 之间。",
    "measured": "实测：{loss:.3f}。",
    "curves": "规律与各次训练",
    "law": "规律",
    "runs": "用于拟合的训练",
    "predicted": "预测",
    "came": "实测",
    "x": "训练的运算量（十的幂）",
    "facts": "由来",
}
WORDS = {"en": EN, "zh": ZH}


def draw(path: Path, found: Mapping[str, Any], law: Any, language: str) -> None:
    """Write the page to `path`, atomically. `found`: as `steersman scaling --json` prints it; `law`: a scaling law."""
    t = WORDS[language]
    runs = [(run["operations"], run[found["measure"]]) for run in found["runs"]]
    first = found["predictions"][0]
    measured = first["measured"]
    context = {
        "t": t,
        "title": path.stem,
        "claim": t["claim"].format(loss=first["loss"], what=t[found["measure"]], name=first["name"]),
        "said": t["said"].format(low=first["low"], high=first["high"], n=len(runs)),
        "spikes": "" if measured is None else t["measured"].format(loss=measured),
        "curves": figures.curves("scaling", t["curves"], [_panel(runs, found, law, t)], columns=1),
        "samples": (),
        "facts": {
            t["law"]: str(law),
            **{run["name"]: f"{run[found['measure']]:.4f} ({run['operations']:.3g})" for run in found["runs"]},
        },
    }
    write_page(path, "pretraining.html", context)


def _panel(runs: Sequence[tuple[float, float]], found: Mapping[str, Any], law: Any, t: Mapping[str, str]) -> Panel:
    said = found["predictions"]
    ends = [x for x, _ in runs] + [one["operations"] for one in said]
    places = np.geomspace(min(ends), max(ends), 60)
    drawn = [
        (t["law"], [(float(x), law.loss(float(x))) for x in places], figures.GREY, False),
        (t["runs"], runs, figures.COOL, True),
        (t["predicted"], [(one["operations"], one["loss"]) for one in said], figures.SPARE[0], True),
        (t["came"], [(o["operations"], o["measured"]) for o in said if o["measured"] is not None], figures.WARM, True),
    ]
    lines = tuple(
        Series(label, [(math.log10(x), y) for x, y in points], tint, dots)
        for label, points, tint, dots in drawn
        if points
    )
    return Panel(t["curves"], t["x"], t[found["measure"]], lines)
