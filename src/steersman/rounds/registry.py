"""The registry of stages: one entry for each, read by all code that deals with stages.

Verbs, `steersman run`, status, lineage, `plan`, `search`, exports, the gate, promotion, jobs and the report name no
stage themselves; they read the registry. The entries stand in `steersman.rounds.stages`, one file per stage or family
of stages. To add one, write such a file and name its entry there.

Why so: decision 50 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman import config as configs
from steersman.artifact.workspace import Workspace, renamed
from steersman.eval.maker import UNKNOWN, Maker
from steersman.rounds.inputs import Source
from steersman.rounds.opened import SERVED

if TYPE_CHECKING:
    from steersman.text.template import Template

Metrics = Mapping[str, Any]
EVERYWHERE = ("project", "model", "data", "store")
"""Sections that every stage reads."""


@dataclass(frozen=True)
class Task:
    """A stage about to be computed: its inputs, settings and output. Argument of `run`, with or without a workspace."""

    stage: Stage
    config: configs.Config
    output: Path
    inputs: Mapping[str, str]
    """Hash of everything that the stage is made from, by name; the manifest records it."""
    values: Mapping[str, Any]
    """The values of the stage's sources, by the sources' names."""
    version: str
    """The policy version stamped on the answers of an input model, such as 001/sft."""

    @property
    def common(self) -> dict[str, Any]:
        """Keyword arguments that every `run()` of `steersman.train` takes."""
        return {
            "output": self.output,
            "config": self.stage.settings(self.config),
            "model_config": self.config.model,
            "seed": self.config.project.seed,
            "inputs": self.inputs,
        }


@dataclass(frozen=True)
class Outcome:
    """Result of making a stage: its artifact exists."""

    stage: Stage
    folder: Path
    metrics: Metrics
    made: bool
    """False where the artifact existed already, from the same inputs and settings."""
    config: configs.Config

    def to_json(self) -> dict[str, Any]:
        head: dict[str, Any] = {"stage": self.stage.verb, "path": str(self.folder), "made": self.made}
        return {**head, **(self.stage.shown(self)[0] if self.stage.shown else {"metrics": dict(self.metrics)})}

    def text(self) -> str:
        if self.stage.shown:
            return self.stage.shown(self)[1]
        head = f"{self.stage.verb}: {self.folder}"
        return "\n".join([head if self.made else f"{head} is up to date", self.stage.tell(self.metrics)])


@dataclass(frozen=True)
class Searched:
    """How a search judges a stage's settings."""

    objectives: Mapping[str, str]
    """Held-out metric -> 'minimize' or 'maximize'; the first is the default."""
    judging: tuple[str, ...] = ()
    """Settings that change how those metrics are measured, so that trials which differ in them do not compare."""
    beside: tuple[str, ...] = ()
    """Further metrics that are shown with a trial's result."""
    cautions: Mapping[str, str] = field(default_factory=dict)
    """Beginning of a setting's name -> a caution to print where that setting is searched."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that every trial has, such as to leave out what costs time and tells a trial nothing."""


Sizes = Callable[[Workspace, "Template"], tuple[Sequence[Any], Callable[[Any], int]]]
"""The stage's records and each one's number of tokens, for `steersman plan`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One kind of artifact: its name, inputs, computation and presentation."""

    name: str
    """Name of the artifact and of its folder in a round"""
    verb: str
    section: str
    """Section of the configuration; '' where there are no settings"""
    title: str
    """Title shown to readers, such as 'PPO'"""
    summary: str
    """The verb's help; its first line stands in the list of verbs"""
    examples: tuple[str, ...]
    parents: tuple[str, ...]
    """Stages whose artifacts of the same round are inputs"""
    sources: tuple[Source, ...]
    """Its inputs: how each is found in a workspace, and the option that gives it without one"""
    run: Callable[[Task], Any] | None
    """Computes the artifact into `task.output`; None: people make it, and `by_judge` may stand in for them"""
    tell: Callable[[Metrics], str] = lambda _metrics: ""
    """The outcome in a few lines"""
    shown: Callable[[Outcome], tuple[Mapping[str, Any], str]] | None = None
    """The outcome as (JSON, text); None: the metrics, and the text of `tell`"""
    in_loop: bool = False
    """Whether `steersman run` makes it; the others are made when they are asked for"""
    wanted: Callable[[Workspace], bool] = lambda _space: True
    """Whether the loop needs it in this round"""
    by_judge: Callable[[Workspace], Any] | None = None
    """Lets the rule judge do what people have not done"""
    todo: Callable[[Workspace, int], str | None] | None = None
    """The command that makes a round's missing artifact; None: no command. Default: the stage's verb"""
    after: Callable[[Workspace], None] | None = None
    """Called whenever the artifact is finished or found"""
    processes: bool = False
    """Whether several processes can compute it together"""
    maker: Maker | None = None
    """For a model that can be served: the models it is compared with, and the signal that improved it"""
    search: Searched | None = None
    sizes: Sizes | None = None
    """Measures the records for `steersman plan`; None for a stage without a plan. A stage that has one trains a model,
    so its section has the settings of an optimiser and of rows, as those in `config.supervised` do."""
    reported: tuple[str, ...] = ()
    """Settings that the report names"""
    curves: bool = False
    """Whether the report draws its metrics.jsonl"""
    reads: tuple[str, ...] = ()
    """Sections that it reads beside its own and those that every stage reads; a stage that compares models also reads
    those of all stages that say what the report names"""

    @property
    def compares(self) -> bool:
        """Whether it compares the models of other stages, and so comes after them."""
        return any(source.compares for source in self.sources)

    @property
    def improved(self) -> bool:
        """Whether the stage improves the SFT model."""
        return self.maker is not None and self.maker.improved

    @property
    def baseline(self) -> str:
        """The model that the stage's model must not be worse than."""
        assert self.maker is not None, self.name
        return self.maker.against[0]

    def unread(self, settings: Iterable[str]) -> str:
        """A line on those of the settings 'section.key=value' that change nothing in it; '' where there are none."""
        told = [s.section for s in stages() if s.reported] if self.compares else []
        own = [name for name in dict.fromkeys((self.section, *self.reads, *told, *EVERYWHERE)) if name]
        if not (idle := [one for one in settings if one.partition(".")[0].strip() not in own]):
            return ""
        return f"caution: {', '.join(idle)}: changes nothing in {self.verb}, which reads {', '.join(own)}"

    def settings(self, config: configs.Config) -> Any:
        return configs.of_stage(config, self.section) if self.section else None

    def defaults(self) -> dict[str, Any]:
        """Default settings: the values of settings that did not exist when an older artifact was made."""
        return configs.to_dict(type(self.settings(configs.Config()))()) if self.section else {}

    def recorded(self, config: configs.Config) -> dict[str, Any]:
        """The settings as the manifest records them."""
        own = configs.to_dict(self.settings(config)) if self.section else {}
        return {**own, "seed": config.project.seed, **config.model.recorded}


_registered: dict[str, Stage] = {}


def _known() -> dict[str, Stage]:
    """Stages by name. Entries are imported on first use, since they import this module."""
    if not _registered:
        from steersman.rounds.stages import ENTRIES

        for entry in ENTRIES:
            _put(entry)
    return _registered


def _put(stage: Stage) -> None:
    if stage.name in _registered or any(stage.verb == other.verb for other in _registered.values()):
        raise ValueError(f"stage {stage.name} (verb {stage.verb}): there is one of that name already")
    if unknown := [name for name in stage.parents if name not in _registered]:
        raise ValueError(f"stage {stage.name}: its parents {', '.join(unknown)} are no stages; register them before")
    _registered[stage.name] = stage


def register(stage: Stage) -> None:
    """Make one more stage known. ValueError where a name or verb is taken, or a parent is not known."""
    _known()
    _put(stage)


def unregister(name: str) -> None:
    """Forget a stage, as tests do."""
    del _registered[name]


def stages() -> list[Stage]:
    """All stages in the order of the loop: parents first, stages that compare improved models last."""
    every = list(_known().values())
    return sorted(every, key=lambda stage: stage.compares)


def loop() -> list[Stage]:
    return [stage for stage in stages() if stage.in_loop]


def improved() -> list[Stage]:
    """Stages that improve the SFT model, alternatives to each other; the one promoted by default comes first."""
    return [stage for stage in stages() if stage.improved]


def models() -> list[Stage]:
    """Stages whose models can be compared and served, the improved ones last."""
    return [*(s for s in stages() if s.maker is not None and not s.improved), *improved()]


def for_improved_only(stage: Stage) -> bool:
    """Whether the stage makes an improved model, or an artifact that only improved models are made from."""
    children = [s for s in stages() if stage.name in s.parents]
    return stage.improved or bool(children and all(child.improved for child in children))


def is_stage(name: str) -> bool:
    return renamed(name) in _known()


def get(name: str) -> Stage:
    """The stage of that artifact, by its present or an earlier name."""
    return _known()[renamed(name)]


def by_verb(verb: str) -> Stage:
    """ValueError where no stage has that verb; the names of artifacts are understood too."""
    found = next((s for s in stages() if renamed(verb) in (s.verb, s.name)), None)
    if found is None:
        raise ValueError(f"stage '{verb}': expected one of {', '.join(s.verb for s in stages())}")
    return found


def artifact_of(input_name: str) -> tuple[int | None, Stage] | None:
    """(round, stage) of an input that is an artifact, such as 'sft' or '001/policy'; None of any other input."""
    round_, slash, name = input_name.rpartition("/")
    if not is_stage(name) or (slash and not round_.isdigit()):
        return None
    return int(round_) if slash else None, get(name)


def maker_of(name: str) -> Maker:
    """The stage that made the model of that name ('base' and 'served' included), in the form that evaluation takes."""
    if name in ("base", SERVED):
        return Maker("", "", ())
    found = get(name).maker if is_stage(name) else None
    return found or UNKNOWN
