"""A stage without a workspace: its options, what it reads, and where it writes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file, locks
from steersman.artifact.files import file_sha256, hash_json, write_json
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest, tree_hashes
from steersman.cli.framework import emit, say
from steersman.cli.making import Metrics
from steersman.types import Conversation, Ranking

ModelOption = Annotated[str, typer.Option("--model", help="Without a workspace: the model to start from.")]
DataOption = Annotated[list[Path] | None, typer.Option("--data", help="Without a workspace: a file; may be repeated.")]
EncodingOption = Annotated[
    str, typer.Option("--encoding", help="Without a workspace: of the files; auto, or any that Python knows.")
]
OutputOption = Annotated[Path | None, typer.Option("--output", help="Without a workspace: the folder to make.")]


def alone(settings: list[str] | None, **needed: Any) -> tuple[configs.Config, Path] | None:
    """(configuration, output) where a stage is run without a workspace; None inside one. All of `needed` or none."""
    if not any(needed.values()):
        return None
    missing = [f"--{name}" for name, value in needed.items() if not value]
    if missing:
        raise ValueError(
            f"without a workspace a stage needs {', '.join('--' + n for n in needed)}; missing: {', '.join(missing)}"
        )
    output: Path = needed["output"]
    if (output / MANIFEST_NAME).is_file():
        raise ValueError(f"{output}: finished already; expected a folder that is not there yet")
    if output.is_file() or (output.is_dir() and any(output.iterdir())):  # finishing would replace what is there
        raise ValueError(f"{output}: something else is there already; expected a folder that is not there yet")
    locks.keep(output)
    from steersman.train.trackers import chosen

    config = config_file.with_overrides(configs.Config(), settings or ())
    chosen.set(config.project)
    return config, output


def resolved(model: str) -> Path:
    from steersman.weights.resolve import resolve

    return resolve(model, say=say)


def hashes(files: list[Path] | None, **folders: Path) -> dict[str, str]:
    inputs = {f"file:{path.name}": file_sha256(path) for path in files or ()}
    return inputs | {name: hash_json(tree_hashes(folder)) for name, folder in folders.items()}


@dataclass(frozen=True, slots=True)
class Files:
    """Reads files for a stage; `left_out` counts what they hold and the stage does not get, by reason."""

    config: configs.Config
    encoding: str
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def _how(self) -> tuple[float, str, Callable[[str], None], Counter[str]]:
        return self.config.data.max_line_mb, self.encoding, say, self.left_out

    def dialogues(self, files: list[Path] | None, kind: str) -> list[Conversation]:
        from steersman.data.dataset import load_conversations

        return [c for path in files or () for c in load_conversations(path, kind, *self._how)]

    def rankings(self, files: list[Path] | None) -> list[Ranking]:
        from steersman.data.dataset import load_rankings

        return [r for path in files or () for r in load_rankings(path, *self._how)]

    def judged(self, files: list[Path] | None, kind: str) -> list[Ranking]:
        """Feedback as rankings of one answer each, as KTO takes them; with `kind` JUDGED rankings too."""
        from steersman.cli.exporting import as_ranking
        from steersman.data.dataset import load_judged

        found = [r for path in files or () for r in load_judged(path, kind, *self._how)]
        made = [r if isinstance(r, Ranking) else as_ranking(r) for r in found]
        self.left_out["feedback that calls no answer good or bad"] += made.count(None)
        return [r for r in made if r is not None]

    def record(self, folder: Path, metrics: Metrics) -> Metrics:
        """The stage's metrics with what was left out of its files; so in the manifest of `folder`, once it is made."""
        left = {why: n for why, n in self.left_out.items() if n}
        if not left:
            return metrics
        manifest = read_manifest(folder)
        told = dataclasses.replace(manifest, metrics={**manifest.metrics, "left_out": left})
        write_json(folder / MANIFEST_NAME, dataclasses.asdict(told))
        return {**metrics, "left_out": left}


def tell(as_json: bool, stage: str, folder: Path, metrics: Metrics, made: bool, text: str) -> None:
    head = f"{stage}: {folder}" if made else f"{stage}: {folder} is up to date"
    emit(as_json, {"stage": stage, "path": str(folder), "made": made, "metrics": dict(metrics)}, f"{head}\n{text}")
