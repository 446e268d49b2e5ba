"""Files instead of a workspace's data sets: the records that a stage reads from them or leaves out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman import config as configs
from steersman.artifact.files import file_sha256, write_json
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest
from steersman.progress import note as say
from steersman.types import Conversation, Ranking


@dataclass(frozen=True, slots=True)
class Files:
    """Reads files for a stage; `left_out` counts the records that the stage does not get, by reason."""

    config: configs.Config
    encoding: str = "auto"
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def _how(self) -> tuple[float, str, Callable[[str], None], Counter[str]]:
        return self.config.data.max_line_mb, self.encoding, say, self.left_out

    def dialogues(self, files: Sequence[Path], kind: str) -> list[Conversation]:
        from steersman.data.dataset import load_conversations

        return [c for path in files for c in load_conversations(path, kind, *self._how)]

    def rankings(self, files: Sequence[Path]) -> list[Ranking]:
        from steersman.data.dataset import load_rankings

        return [r for path in files for r in load_rankings(path, *self._how)]

    def judged(self, files: Sequence[Path], kind: str) -> list[Ranking]:
        """Feedback as rankings of one answer each, as KTO takes them; with `kind` JUDGED rankings too."""
        from steersman.data.dataset import load_judged
        from steersman.rounds.export import as_ranking

        found = [r for path in files for r in load_judged(path, kind, *self._how)]
        made = [r if isinstance(r, Ranking) else as_ranking(r) for r in found]
        self.left_out["feedback that calls no answer good or bad"] += made.count(None)
        return [r for r in made if r is not None]

    def record(self, folder: Path, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        """The stage's metrics with the counts of records left out, also written into the manifest of `folder`."""
        left = {why: n for why, n in self.left_out.items() if n}
        if not left:
            return metrics
        manifest = read_manifest(folder)
        told = dataclasses.replace(manifest, metrics={**manifest.metrics, "left_out": left})
        write_json(folder / MANIFEST_NAME, dataclasses.asdict(told))
        return {**metrics, "left_out": left}


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """Names and hashes of files, as inputs. ValueError where a file is missing."""
    if gone := [path for path in files if not path.exists()]:
        raise ValueError(f"{gone[0]}: no such file")
    return {f"file:{path.name}": file_sha256(path) for path in files}
