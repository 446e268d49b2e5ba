"""An evaluation that is there: the measurements kept of it, the verdict computed from them again, and its page.

    models.json, prompts.jsonl -> verdict, report.html (and report.zh.html, where somebody reads the other language)

No model is loaded for it, and nothing that models need is imported.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.artifact.files import read_object
from steersman.artifact.names import REPORT
from steersman.artifact.workspace import renamed
from steersman.config import Config
from steersman.eval.maker import MakerOf
from steersman.eval.page_languages import page_of
from steersman.eval.report import Shown, write_report
from steersman.eval.tasks import TaskScores, summed_up
from steersman.eval.verdict import Caution, ModelAnswers, Verdict, verdict
from steersman.types import Conversation, scores_from

VERDICT, MODELS, PROMPTS = "verdict.json", "models.json", "prompts.jsonl"


@dataclass(frozen=True)
class About:
    """Facts about the models that are known before they answer, for the report."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    searches: Sequence[Mapping[str, Any]] = ()
    reward_report: Mapping[str, Any] | None = None
    simulated_rankings: bool = False
    cautions: Sequence[Caution] = ()
    root: Path | None = None
    """The workspace, from which the files of `eval.tasks` are looked for."""


def compared(
    models: Sequence[ModelAnswers],
    prompts: Sequence[Conversation],
    config: Config,
    judge: str,
    about: About,
    scored: Sequence[TaskScores] = (),
) -> Verdict:
    labels, makers = {m.name: m.label for m in models}, {m.name: m.maker for m in models}
    tasks = [summed_up(of, labels, makers, config.eval.bootstrap, config.project.seed) for of in scored]
    compared = verdict(
        models,
        prompts,
        config.eval,
        judge=judge,
        kl_ceiling=config.ppo.kl.ceiling,
        simulated_rankings=about.simulated_rankings,
        known=about.cautions,
        seed=config.project.seed,
    )
    return dataclasses.replace(compared, tasks=tuple(tasks))


def read(
    folder: Path, config: Config, maker_of: MakerOf
) -> tuple[Verdict, list[Conversation], list[ModelAnswers], dict[str, Any]]:
    """The measurements that `run` kept, and the verdict computed from them again."""
    path = folder / MODELS
    if not path.is_file():
        raise ValueError(f"{path}: no evaluation there; make one with: steersman eval")
    kept = read_object(path, "an evaluation")
    try:
        models = []
        for raw in kept["models"]:
            scores = raw.pop("scores")
            axes = [scores_from(s) for s in scores] if scores else None
            name = renamed(raw.pop("name"))
            models.append(ModelAnswers(name, scores=axes, maker=maker_of(name), **raw))
        if isinstance(kept["curves"], dict):  # a report of an earlier version
            kept["curves"] = [{"stage": stage, "rows": rows} for stage, rows in kept["curves"].items()]
        kept["curves"] = {of["stage"]: of["rows"] for of in kept["curves"]}
        lines = (folder / PROMPTS).read_bytes().split(b"\n")
        prompts = [Conversation.from_json(json.loads(line)) for line in lines if line]
        known = [Caution(**c) for c in kept.get("cautions", ())]
        about = About(simulated_rankings=kept["simulated_rankings"], cautions=known)
        scored = [TaskScores(**of) for of in kept.get("tasks", ())]
        result = compared(models, prompts, config, kept["judge"], about, scored)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(
            f"{path}: not an evaluation ({type(error).__name__}: {error}); make it again: steersman eval"
        ) from None
    return result, prompts, models, kept


def page_in(folder: Path, config: Config, language: str = "") -> Path:
    """The report's page in a language, by default the workspace's."""
    return folder / REPORT if language in ("", _usual(config)) else page_of(folder / REPORT, language)


def _usual(config: Config) -> str:
    return "zh" if config.project.language == "zh" else "en"


def draw(folder: Path, config: Config, maker_of: MakerOf, language: str = "") -> Path:
    """Write the report's page from the measurements kept in `folder`."""
    result, prompts, models, kept = read(folder, config, maker_of)
    shown = Shown(
        config.project.name,
        language or _usual(config),
        kept["facts"],
        kept["curves"],
        kept["reward_report"],
        kept.get("searches", ()),
        config.eval.samples_shown,
        config.ppo.kl.ceiling,
    )
    path = page_in(folder, config, language)
    write_report(path, result, prompts, models, shown)
    return path
