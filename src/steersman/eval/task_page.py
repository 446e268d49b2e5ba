"""The page of an evaluation on tasks: a table of verdicts, a picture where several numbers of examples were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from steersman.eval import figures
from steersman.eval import task_words as words
from steersman.eval.figures import Panel, Series
from steersman.eval.report import write_page
from steersman.eval.task_verdicts import Beside


def draw(path: Path, found: Sequence[Beside], told: Sequence[str], language: str, facts: Mapping[str, Any]) -> None:
    """Write the page to `path`, atomically; `told`: the word of each comparison."""
    t = words.LANGUAGES[language]
    context = {
        "t": t,
        "title": t["title"],
        "lead": str(t["lead"]).format(n=len(found)),
        "claim": words.claim(told, language),
        "rows": [words.row(of, word, language) for of, word in zip(found, told, strict=True)],
        "picture": _picture(found, t),
        "facts": facts,
    }
    write_page(path, "tasks.html", context)


def _picture(found: Sequence[Beside], t: Mapping[str, Any]) -> Markup | None:
    """A panel of each task: score by number of examples, a line of each model between thin ones of its interval, and
    the baseline. None without a second number of examples."""
    if len({of.shots for of in found}) < 2:
        return None
    models = list(dict.fromkeys(of.model for of in found))
    panels = []
    for task in dict.fromkeys(of.task for of in found):
        series = []
        for place, model in enumerate(models):
            mine = sorted((of for of in found if (of.task, of.model) == (task, model)), key=lambda of: of.shots)
            tint = figures.colour(model, place)
            series.append(Series(model, [(of.shots, 100 * of.score.value) for of in mine], tint, dots=True))
            for bound in ("low", "high"):
                edge = [(float(of.shots), 100 * float(getattr(of.score, bound))) for of in mine]
                series.append(Series(f"_{model} {bound}", edge, f"{tint}55"))
        bars = [of for of in found if of.task == task and of.baseline]
        if bars:
            ends = (min(of.shots for of in found), max(of.shots for of in found))
            line = [(float(x), 100 * bars[0].bar.value) for x in ends]
            series.append(
                Series(str(t["lead_answer" if bars[0].baseline == "lead" else bars[0].baseline]), line, figures.GREY)
            )
        panels.append(Panel(task, t["shots"], t["score"], tuple(series)))
    return figures.curves("shots", t["curve"], panels)
