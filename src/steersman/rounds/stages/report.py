"""The report: base, SFT and every improved model of the round on the same held-out prompts, and whether it helped."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from steersman.artifact.files import file_sha256, hash_json
from steersman.artifact.manifest import identity, read_manifest, verify
from steersman.artifact.names import REPORT
from steersman.artifact.workspace import Workspace, renamed
from steersman.config import Config, to_dict
from steersman.eval.maker import Evaluated
from steersman.plugins import is_file
from steersman.rounds import registry
from steersman.rounds.inputs import (
    Dialogues,
    Found,
    Functions,
    Given,
    Named,
    Option,
    Source,
    artifact_hash,
    base_model,
    model_hash,
    need,
    resolved,
)
from steersman.rounds.opened import SERVED, opened
from steersman.rounds.registry import Outcome, Stage, Task
from steersman.rounds.verb_options import DATA

if TYPE_CHECKING:
    from steersman.eval.verdict import Caution
    from steersman.types import Conversation

MODELS = Option(
    "--model",
    "Without a workspace: NAME=FOLDER, weakest first; base, sft and the names of other stages are known.",
    "texts",
    needed=True,
)
JUDGE = Option("--reward", "Without a workspace: a reward model, optional.", "text")
TRAINED_ON = Option("--trained-on", "Without a workspace: files that the models learned from.")
REWARD = "reward"
"""The stage whose model judges beside the rules."""


@dataclass(frozen=True)
class Compared(Source):
    """The base model (in a round of `steersman round` the served one), the SFT model and every improved model that
    the round has; or the models that options name."""

    compares: ClassVar[bool] = True

    def of_round(self, space: Workspace) -> Found:
        began = opened(space)
        name = began.against if began else "base"
        first = space.root / began.served["path"] if began and began.served else base_model(space)
        label = "the served model" if name == SERVED else name
        models, inputs = {name: Evaluated(label, first, registry.maker_of(name))}, {name: model_hash(first)}
        for stage in present(space):
            assert stage.maker is not None
            models[stage.name] = Evaluated(stage.title, need(space, stage.name), stage.maker)
            inputs[stage.name] = artifact_hash(space, stage.name)
        return Found(inputs, lambda: models)

    def of_files(self, given: Given) -> Found:
        texts = given.options[MODELS.key]
        named = dict(map(named_folder, texts))
        if len(named) < len(texts):
            raise ValueError(f"--model {' --model '.join(texts)}: expected each name once")
        models = {n: Evaluated(n, resolved(path), registry.maker_of(n)) for n, path in named.items()}
        return Found({n: model_hash(model.folder) for n, model in models.items()}, lambda: models)


def present(space: Workspace) -> list[Stage]:
    """Stages of this round whose models can be compared, the SFT model first, unless it is the one before it."""
    made = [stage for stage in registry.models() if space.has(stage.name)]
    return [s for s in made if read_manifest(space.stage_dir(s.name)).metrics.get("kept") != "base"]


def named_folder(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"--model {text}: expected NAME=FOLDER, such as sft=out/sft")
    return renamed(name), path


@dataclass(frozen=True)
class Scorer(Source):
    """The round's reward model, if it has one; in a round of `steersman round` else the last one that there is."""

    def of_round(self, space: Workspace) -> Found:
        if not space.has(REWARD):
            return self._earlier(space)
        folder, inputs = need(space, REWARD), {REWARD: artifact_hash(space, REWARD)}
        if weights := space.config.ppo.score.objectives:
            inputs["ppo.objectives"] = hash_json(weights)
        return Found(inputs, lambda: folder)

    def _earlier(self, space: Workspace) -> Found:
        earlier = [r for r in space.rounds() if r < space.round and space.has(REWARD, r)] if opened(space) else []
        if not earlier:
            return Found({}, lambda: None)
        folder = space.stage_dir(REWARD, earlier[-1])
        return Found({f"{earlier[-1]:03d}/{REWARD}": identity(verify(folder))}, lambda: folder)

    def of_files(self, given: Given) -> Found:
        folder = resolved(given.text(self.option)) if given.text(self.option) else None
        return Found({}, lambda: folder)


@dataclass(frozen=True)
class Evidence:
    """Contents of a report beside the comparison."""

    facts: Mapping[str, Any]
    curves: Mapping[str, Any]
    searches: Sequence[Mapping[str, Any]]
    reward_report: Mapping[str, Any] | None
    cautions: Callable[[Sequence[Conversation]], list[Caution]]
    """Hash of the test prompts"""
    root: Path | None = None


@dataclass(frozen=True)
class Circumstances(Source):
    """Known facts on how the models were made, from the round's manifests or from options."""

    def of_round(self, space: Workspace) -> Found:
        def read() -> Evidence:
            from steersman.rounds.evidence import known_cautions

            names = [stage.name for stage in present(space)]
            report = dict(read_manifest(space.stage_dir(REWARD)).metrics) if space.has(REWARD) else None
            warn = functools.partial(known_cautions, space, names)
            return Evidence(facts(space), curves(space), searches(space), report, warn, space.root)

        return Found({}, read)

    def of_files(self, given: Given) -> Found:
        def read() -> Evidence:
            from steersman.rounds.evidence import cautions_alone

            named = dict(map(named_folder, given.options[MODELS.key]))
            return Evidence(named, {}, (), None, functools.partial(cautions_alone, given.paths(self.option)))

        return Found({}, read)


def curves(space: Workspace) -> dict[str, Any]:
    """The stages' metrics.jsonl; the line of the kept checkpoint is marked where several were evaluated."""
    from steersman.train.log import read_metrics

    out: dict[str, Any] = {}
    for stage in registry.stages():
        if stage.curves and space.has(stage.name) and (rows := read_metrics(space.stage_dir(stage.name))):
            if best := read_manifest(space.stage_dir(stage.name)).metrics.get("best"):
                rows = [{**row, "best": row["iteration"] == best["iteration"]} for row in rows]
            out[stage.verb] = rows
    return out


def search_path(space: Workspace, name: str) -> str:
    """Path of the summary of a search of the round, relative to the workspace."""
    return f"search/{space.round:03d}-{name}/study.json"


def searches(space: Workspace) -> list[dict[str, Any]]:
    """The round's hyper-parameter searches."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(space.root.glob(search_path(space, "*")))]


def facts(space: Workspace) -> dict[str, Any]:
    """Settings, data and seeds that the models were made with, for the end of the report."""
    config = space.config
    rows: dict[str, Any] = {"base model": config.model.base, "round": space.round, "seed": config.project.seed}
    made = {s: read_manifest(space.stage_dir(s.name)) for s in registry.stages() if space.has(s.name)}
    for stage in registry.stages():
        if stage.reported and (stage.in_loop or stage in made):
            values = to_dict(getattr(config, stage.section))
            rows[stage.section] = ", ".join(f"{key} {values[key]}" for key in stage.reported)
    for stage, manifest in made.items():
        if stage.name == REWARD:
            people, judge = (manifest.metrics.get(key, 0) for key in ("human", "simulated"))
            rows["rankings"] = f"{people} by people, {judge} simulated by a rule judge"
        if "start" in manifest.metrics:
            rows[f"{stage.verb} at its start"] = {k: f"{v:.2g}" for k, v in manifest.metrics["start"].items()}
            rows[f"{stage.verb} warnings"] = dict(manifest.metrics.get("warnings", {}))
    return rows


def run(task: Task) -> Any:
    from steersman.eval import kept
    from steersman.eval import run as evaluation

    evidence: Evidence = task.values["evidence"]
    report = evidence.reward_report
    return evaluation.run(
        models=task.values["models"],
        prompts=task.values["prompts"],
        output=task.output,
        reward=task.values[REWARD],
        config=task.config,
        inputs=task.inputs,
        about=kept.About(
            facts={**evidence.facts, "inputs": {name: value[:16] for name, value in task.inputs.items()}},
            curves=evidence.curves,
            searches=evidence.searches,
            reward_report=report,
            simulated_rankings=bool(report and report.get("simulated")),
            cautions=evidence.cautions(task.values["prompts"]),
            root=evidence.root,
        ),
    )


def shown(outcome: Outcome) -> tuple[Mapping[str, Any], str]:
    """The verdict, and where the report lies."""
    from steersman.eval import kept
    from steersman.eval.verdict import plain

    result, *_ = kept.read(outcome.folder, outcome.config, registry.maker_of)
    language = "zh" if outcome.config.project.language == "zh" else "en"
    path = outcome.folder / REPORT
    return {"verdict": result.to_json()}, f"{plain(result, language)}\nreport: {path}"


def again(space: Workspace, language: str = "") -> Outcome:
    """The round's existing report, its page (in another language: the one beside it) written again if it is missing.

    ValueError where there is no report."""
    from steersman.eval import kept

    folder: Path = space.stage_dir(STAGE.name)
    if not space.has(STAGE.name):
        raise ValueError(f"{folder}: no report of this round yet; make it with: steersman {STAGE.verb}")
    for wanted in dict.fromkeys(("", language)):
        if not kept.page_in(folder, space.config, wanted).is_file():
            kept.draw(folder, space.config, registry.maker_of, wanted)
    return Outcome(STAGE, folder, read_manifest(folder).metrics, False, space.config)


def judged_by(config: Config) -> list[tuple[str, str]]:
    """The judge and the tasks that are users' functions."""
    from steersman.eval.tasks import BUILT_IN

    judge = [("judges", config.project.judge)] if config.project.judge else []
    functions = [name for name in config.eval.tasks if name not in BUILT_IN and not is_file(name)]
    return judge + [("tasks", name) for name in functions]


@dataclass(frozen=True)
class QuestionFiles(Named):
    """The files of test questions that `eval.tasks` names: a report depends on their content."""

    def _found(self, config: Config, root: Path | None) -> Found:
        from steersman.eval.suites.forms import files_of

        named = [(name, path) for name in config.eval.tasks if is_file(name) for path in files_of(name, root)]
        return Found({f"tasks {path.name} of {name}": file_sha256(path) for name, path in named}, lambda: None)


STAGE = Stage(
    name="report",
    verb="eval",
    section="eval",
    title="report",
    summary="Compare base, SFT and PPO on held-out prompts and say whether it helped.",
    examples=(
        "steersman eval",
        "steersman eval --model sft=out/sft --model ppo=out/ppo --data FILE --output out/report",
    ),
    parents=("sft",),
    sources=(
        Dialogues("prompts", DATA, "prompts", "test", demanded="test prompts (--split test)"),
        Compared("models", MODELS),
        Scorer(REWARD, JUDGE),
        Circumstances("evidence", TRAINED_ON),
        Functions("functions", None, judged_by),
        QuestionFiles("questions", None),
    ),
    run=run,
    shown=shown,
    in_loop=True,
    reported=("temperature", "max_tokens"),
)
