"""Needles and losses by position as figures with intervals, and whether the loss rises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.stats import Interval, few_mean, proportion_interval

Done = Mapping[str, Any]


def results(
    names: Sequence[str],
    contexts: Mapping[str, int],
    units: Sequence[Any],
    done: Done,
    bounds: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    """What `context.json` holds."""
    out: dict[str, Any] = {"format": 1, "positions": list(bounds), "first": names[0], "models": {}}
    languages = list(dict.fromkeys(u.language for u in units))
    lengths = sorted({u.length for u in units if u.kind == "needles"})
    for name in names:
        of: dict[str, Any] = {"context": contexts[name], "needles": {}, "loss": {}}
        for language in languages:
            of["needles"][language] = [_needles(name, language, length, units, done, seed) for length in lengths]
            if windows := _windows(name, language, units, done):
                of["loss"][language] = _losses(windows, bounds, min(contexts.values()))
                first = _windows(names[0], language, units, done)
                if name != names[0]:
                    of["loss"][language]["against"] = [
                        few_mean([a - b for a, b in zip(ours, theirs, strict=True)]).to_json()
                        for ours, theirs in zip(zip(*windows, strict=True), zip(*first, strict=True), strict=True)
                    ]
        out["models"][name] = of
    return out


def _needles(name: str, language: str, length: int, units: Sequence[Any], done: Done, seed: int) -> dict[str, Any]:
    asked = [u for u in units if (u.kind, u.language, u.length) == ("needles", language, length)]
    hits = [done[u.key(name)]["found"] for u in asked]
    flat = [float(hit) for some in hits for hit in some]
    groups = [i for i, some in enumerate(hits) for _ in some]
    share = proportion_interval(flat, groups if len(hits) > 1 else None, seed=seed)
    by_depth = [sum(column) / len(column) for column in zip(*hits, strict=True)]
    return {"length": length, "found": share.to_json(), "by_depth": by_depth, "haystacks": len(hits)}


def _windows(name: str, language: str, units: Sequence[Any], done: Done) -> list[list[float]]:
    return [done[u.key(name)] for u in units if u.kind == "window" and u.language == language]


def _losses(windows: Sequence[Sequence[float]], bounds: Sequence[int], original: int) -> dict[str, Any]:
    """Nats per token between bounds; `rise`: the last stretch against the one that ends within the shortest context."""
    columns = list(zip(*windows, strict=True))
    out: dict[str, Any] = {"nats": [few_mean(c).to_json() for c in columns], "windows": len(windows)}
    inside = [i for i, high in enumerate(bounds[1:]) if high <= original and i < len(columns) - 1]
    if inside:
        rise = few_mean([a - b for a, b in zip(columns[-1], columns[inside[-1]], strict=True)])
        out["rise"] = rise.to_json() | {"from": bounds[inside[-1] + 1], "word": word(rise)}
    return out


def word(rise: Interval) -> str:
    if rise.n < 2:
        return "one window alone shows nothing"
    return "rises" if rise.low > 0 else "falls" if rise.high < 0 else "no evidence of a rise"


def difference(of: Mapping[str, Any]) -> str:
    """With its interval, where there is more than one window."""
    sure = f" [{of['low']:+.3f}, {of['high']:+.3f}]" if of["n"] > 1 else ""
    return f"{of['value']:+.3f}{sure}"


def text(result: Mapping[str, Any]) -> str:
    """As the command prints it."""
    lines = []
    bounds = result["positions"]
    for name, of in result["models"].items():
        lines.append(f"{name} (context {of['context']})")
        for language, rows in of["needles"].items():
            shares = (f"{row['length']}: {100 * row['found']['value']:.0f} %" for row in rows)
            last = rows[-1]["found"]
            lines.append(
                f"  {language} needles found, by length: {', '.join(shares)} [{100 * last['low']:.0f}, "
                f"{100 * last['high']:.0f}]"
            )
        for language, loss in of["loss"].items():
            each = (f"to {high}: {math.exp(n['value']):.1f}" for high, n in zip(bounds[1:], loss["nats"], strict=True))
            lines.append(f"  {language} perplexity, by position: {', '.join(each)}")
            if rise := loss.get("rise"):
                said = f"{difference(rise)} nats: {rise['word']}"
                lines.append(f"    last stretch against the one to {rise['from']}: {said}")
            if against := loss.get("against"):
                lines.append(f"    last stretch against that of {result['first']}: {difference(against[-1])} nats")
    return "\n".join(lines)
