"""An encoder (or a decoder's states) fine-tuned on labelled examples; the server uses what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman.artifact.workspace import Workspace
from steersman.config import Config
from steersman.rounds.given_files import hashes
from steersman.rounds.inputs import Found, Given, Model, Option, Source, model_hash, resolved
from steersman.rounds.registry import Metrics, Searched, Stage, Task
from steersman.rounds.telling import cautions
from steersman.rounds.verb_options import DATA, MODEL

if TYPE_CHECKING:
    from steersman.data.examples import Examples


def columns_of(config: Config) -> dict[str, str]:
    """Role -> column, of settings such as 'text=utterance'. Raises ValueError for anything else."""
    out = {}
    for entry in config.encoder.columns:
        role, sign, name = entry.partition("=")
        if not (sign and role.strip() and name.strip()):
            raise ValueError(f"encoder.columns: expected entries such as text=utterance, got {entry!r}")
        out[role.strip()] = name.strip()
    return out


@dataclass(frozen=True)
class Labelled(Source):
    """Files of labelled examples: of the workspace's settings, or named by an option."""

    def of_round(self, space: Workspace) -> Found:
        if self.name != "examples":
            return Found({}, list)
        if not space.config.encoder.data:
            raise ValueError(
                "encoder.data: expected files of labelled examples; set it, or work without a workspace: "
                "steersman encoder --model NAME --data FILE --output DIR"
            )
        return self._found([space.root / name for name in space.config.encoder.data], space.config, "auto")

    def of_files(self, given: Given) -> Found:
        return self._found(given.paths(self.option), given.files.config, given.files.encoding)

    def _found(self, paths: list[Path], config: Config, encoding: str) -> Found:
        return Found(
            {f"{self.name}:{k}": v for k, v in hashes(paths).items()}, lambda: self._read(paths, config, encoding)
        )

    def _read(self, paths: list[Path], config: Config, encoding: str) -> Examples | None:
        from steersman.data.examples import load
        from steersman.data.reading import Reading

        if not paths:
            return None
        reading = Reading(encoding, max_line_mb=config.data.max_line_mb, max_unpacked_mb=config.data.max_unpacked_mb)
        return load(paths, reading, columns_of(config), config.encoder.task)


@dataclass(frozen=True)
class Base(Model):
    """What `encoder.model` names, else the workspace's base model."""

    def of_round(self, space: Workspace) -> Found:
        if not space.config.encoder.model:
            return super().of_round(space)
        folder = resolved(space.named(space.config.encoder.model))
        return Found({self.name: model_hash(folder)}, lambda: folder)


VALIDATION = Option(
    "--validation", "Without a workspace: examples that choose the weights; default: a share of --data."
)
TEST = Option("--test", "Without a workspace: examples that are looked at once, when all is learned.")


def run(task: Task) -> Any:
    from steersman.train import encoding

    examples = task.values["examples"]
    for split in ("validation", "test"):
        if not (found := task.values[split]):
            continue
        if found.kind != examples.kind:
            raise ValueError(
                f"--{split}: holds {found.kind} examples, --data {examples.kind} ones; expected one kind: "
                "encoder.task says which"
            )
        examples.records += [dataclasses.replace(e, split=split) for e in found.records]
        examples.left_out += found.left_out
        examples.notes += found.notes
    return encoding.run(base=task.values["base"], examples=examples, **task.common)


def _share(value: Mapping[str, Any]) -> str:
    if value["low"] is None or value["high"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _measures(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_share(v)}" for name, v in found.items() if isinstance(v, Mapping) and "value" in v)


def tell(metrics: Metrics) -> str:
    labels = f", {metrics['labels']} labels" if "labels" in metrics else ""
    kept = f"the weights of step {metrics['best_step']}" if metrics["best_step"] else "the weights before fine-tuning"
    lines = [f"{metrics['task']}{labels}, {metrics['examples']} examples, {kept}"]
    if "held_out_measures" in metrics:
        lines.append(f"held out ({metrics['held_out']}): {_measures(metrics['held_out_measures'])}")
    if "test" in metrics:
        lines.append(f"test ({metrics['test']['examples']}): {_measures(metrics['test'])}")
    for name, found in metrics.get("baselines", {}).items():
        ahead = metrics["lead"][name]
        sure = ahead["low"] is not None and ahead["low"] > 0
        lines.append(
            f"  baseline {name}: {_measures(found)}; ahead by {_share(ahead)} {metrics['lead']['of']}"
            f"{'' if sure else ' (caution: not shown to be better)'}"
        )
    if metrics.get("cut"):
        lines.append(f"note: {metrics['cut']} texts are longer than encoder.rows.text_tokens, cut or read in windows")
    return "\n".join([*lines, *cautions(metrics)])


STAGE = Stage(
    name="encoder",
    verb="encoder",
    section="encoder",
    title="encoder",
    summary="Fine-tune an encoder on labelled examples: classes, pairs, spans in passages, embeddings.",
    examples=(
        "steersman encoder --model bert-base-chinese --data intents.csv --test test.csv --output out/intents",
        "steersman encoder --model FOLDER --data pairs.tsv --output out/pairs -s encoder.task=embedding",
    ),
    parents=(),
    sources=(
        Labelled("examples", DATA),
        Labelled("validation", VALIDATION),
        Labelled("test", TEST),
        Base("base", MODEL),
    ),
    run=run,
    tell=tell,
    search=Searched(
        dict.fromkeys(("eval_macro_f1", "eval_accuracy", "eval_micro_f1", "eval_f1", "eval_mrr10"), "maximize"),
        judging=("eval_fraction", "eval_examples"),
    ),
    reported=("epochs", "lr", "batch_examples", "train_layers"),
)
