"""The tasks of an evaluation: every model's answers to every suite, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from steersman.config import Config
from steersman.eval.maker import Evaluated
from steersman.eval.suites.asking import Folder, Manner, ask, fitting
from steersman.eval.suites.suite import Suite
from steersman.eval.tasks import TaskScores


def task_scores(
    tasks: Sequence[Suite], models: Mapping[str, Evaluated], folder: Path, config: Config
) -> list[TaskScores]:
    """Scores of every model on every task of `eval.tasks`; answers are kept in `folder`, by task and model."""
    settings = config.eval
    manner = Manner(settings.max_tokens, settings.temperature, settings.batch_prompts, config.project.seed)
    askers = {name: Folder(name, model.folder, config.model) for name, model in models.items()}
    suites = [fitting(task, list(askers.values()), manner) for task in tasks]
    scores: list[dict[str, list[float]]] = [{} for _ in suites]
    for name in [*askers]:
        model = askers.pop(name)  # one engine in memory at a time
        for i, suite in enumerate(suites):
            scores[i][name] = ask(suite, model, folder / f"task-{i}" / name, manner).scores
    return [
        TaskScores(
            *(s.name, [item.id for item in s.items], of, s.kind, s.margin),
            compared=[item.id for item in s.items if item.compared],
        )
        for s, of in zip(suites, scores, strict=True)
    ]
