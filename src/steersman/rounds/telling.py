"""Words that the outcomes of several stages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cautions(metrics: Mapping[str, Any]) -> list[str]:
    """Lines on what a reader must know beside a stage's numbers."""
    return [f"caution: {text}" for text in metrics.get("cautions", ())]


def accuracy(metrics: Mapping[str, Any]) -> str:
    """A line on a stage's accuracy on its held-out rankings."""

    def percent(i: Mapping[str, Any]) -> str:
        if i["low"] is None or i["high"] is None:  # a single prompt does not show the spread between prompts
            return f"{100 * i['value']:.1f} % [too few prompts for an interval]"
        return f"{100 * i['value']:.1f} % [{100 * i['low']:.1f}, {100 * i['high']:.1f}]"

    def held_out(report: Mapping[str, Any]) -> str:
        return (
            f"held-out accuracy {percent(report['accuracy'])} over {report['n_pairs']} pairs of {report['n_prompts']} "
            f"prompts; 'the longer answer wins' {percent(report['length_baseline'])}"
        )

    lines = [held_out(metrics)]
    lines += [
        f"{name} (weight {of['weight']:g}): {held_out(of)}; the heads' weighted sum {percent(of['sum'])}"
        for name, of in metrics.get("objectives", {}).items()
    ]
    if "accuracies" in metrics:
        each = ", ".join(f"{100 * a:.1f}" for a in metrics["accuracies"])
        lines.append(f"members {each} %, the mean of their scores {100 * metrics['ensemble_accuracy']:.1f} %")
    if check := metrics.get("validator"):
        lines.append(
            f"validation model, learned from those prompts alone: {percent(check['accuracy'])} over "
            f"{check['n_pairs']} pairs of the {check['n_prompts']} others"
        )
    if metrics.get("simulated"):
        lines.append(f"note: {metrics['simulated']} rankings are simulated by a rule judge, not made by people")
    lead = metrics["lead_over_length"]["low"]
    if lead is None or lead <= 0:
        lines.append("caution: not shown to be better than length alone; more or cleaner rankings are needed")
    return "\n".join([*lines, *cautions(metrics)])
