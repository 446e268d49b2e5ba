"""The report's section on hyper-parameter searches: the trials, their results, and which settings mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.eval import figures

ROWS = 10
"""Number of best trials in the table."""


def sections(searches: Sequence[Mapping[str, Any]], t: Mapping[str, str]) -> list[dict[str, Any]]:
    """One per search with a finished trial, from its study.json; numbers as text."""
    return [_section(i, s, t) for i, s in enumerate(searches) if s["best"] is not None]


def _section(order: int, search: Mapping[str, Any], t: Mapping[str, str]) -> dict[str, Any]:
    trials, importances = search["trials"], search["importances"]
    done = [trial for trial in trials if trial["state"] == "complete"]
    ranked = sorted(done, key=lambda trial: trial["value"], reverse=search["direction"] == "maximize")
    keys = [d["key"] for d in search["space"]]
    pruned = sum(trial["state"] == "pruned" for trial in trials)
    text = t["search_text"].format(n=len(done) + pruned, pruned=pruned, way=t[search["direction"]])
    if now := search.get("configured"):
        text += t["search_configured"].format(number=now["number"], value=f"{now['value']:.4g}")
    beside = list(ranked[0].get("metrics", {}))
    rows = [
        [
            str(r["number"]),
            *map(_text, (r["value"], *r.get("metrics", {}).values(), *(r["params"][key] for key in keys))),
        ]
        for r in ranked[:ROWS]
    ]
    return {
        "title": t["search_of"].format(stage=search["stage"], objective=search["objective"]),
        "text": text,
        "picture": figures.trials(f"search-{order}", t["searches"], _panels(search, t), _points(trials), t),
        "head": [t["trial"], search["objective"], *beside, *keys],
        "rows": rows,
        "importances": ", ".join(f"{key} {100 * share:.0f} %" for key, share in importances.items()),
    }


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _points(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [trial for trial in trials if trial["value"] is not None and math.isfinite(trial["value"])]


def _panels(search: Mapping[str, Any], t: Mapping[str, str]) -> list[figures.TrialPanel]:
    best: list[tuple[float, float]] = []
    pick = max if search["direction"] == "maximize" else min
    for trial in search["trials"]:
        if trial["state"] == "complete":
            best.append((trial["number"], pick([trial["value"], *(y for _, y in best[-1:])])))
    first = figures.TrialPanel(t["trial"], search["objective"], lambda trial: float(trial["number"]), best=best)
    return [first, *(_setting(d, search["objective"]) for d in search["space"])]


def _setting(dimension: Mapping[str, Any], y: str) -> figures.TrialPanel:
    key, values = dimension["key"], dimension["values"]
    if values:
        names = [_text(value) for value in values]
        return figures.TrialPanel(key, y, lambda trial: float(values.index(trial["params"][key])), names=names)
    return figures.TrialPanel(key, y, lambda trial: float(trial["params"][key]), log=dimension["log"])
