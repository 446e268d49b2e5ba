"""A bench's result as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def percent(value: Any) -> str:
    return "?" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def interval(of: Mapping[str, Any]) -> str:
    """Points out of 100: '61.5 [54.0 to 68.9]'."""
    return f"{percent(of['value'])} [{percent(of['low'])} to {percent(of['high'])}]"


def text(result: Mapping[str, Any]) -> str:
    """Every task with its models, groups and comparisons; scores in points of 100."""
    out: list[str] = []
    for task in result["tasks"]:
        out.append(f"{task['name']} ({task['kind']}, {task['n']} prompts; points of 100, 95 % interval)")
        out += [f"  not asked: {n} {why}" for why, n in task["left_out"].items()]
        for name, model in task["models"].items():
            out.append(f"  {name}: {interval(model['score'])}{_notes(model)}")
            out += [f"    {part}: {interval(of)}" for part, of in model["parts"].items()]
            groups = model["groups"]
            if 1 < len(groups) <= 12:
                out.append("    " + ", ".join(f"{k} {percent(of['value'])} (n {of['n']})" for k, of in groups.items()))
            if failed := task["failed"].get(name):
                out.append(f"    fails {len(failed)}: {', '.join(failed[:5])}{', ...' if len(failed) > 5 else ''}")
        for pair in task["pairs"]:
            shown = pair["smallest_shown"]
            could = f"; {task['n']} prompts show {percent(shown)} points 8 times in 10" if shown else ""
            out.append(
                f"  {pair['a']} against {pair['b']}: {pair['word_adjusted']}, {interval(pair['difference'])}, "
                f"p {pair['p']:.3g}, after Holm {pair['p_holm']:.3g}{could}"
            )
        out.append("")
    if result["comparisons"] > 1:
        out.append(f"{result['comparisons']} comparisons: words hold for all of them together at 5 % (Holm).")
    return "\n".join(out).rstrip()


def _notes(model: Mapping[str, Any]) -> str:
    """What a reader should know of the answers, where it is worth a word."""
    notes = [
        f"{percent(model[key])} % {words}"
        for key, words in (("unfinished", "cut off by length"), ("empty", "empty"), ("repeated", "of words said again"))
        if model.get(key, 0) >= 0.1
    ]
    if model.get("cut_dialogues"):
        notes.append(f"{model['cut_dialogues']} dialogues outgrew the context")
    return f" ({'; '.join(notes)})" if notes else ""
