"""The bundled shop domain as data sets, in the sizes of [data]."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from steersman import __version__
from steersman.config import Config
from steersman.data.dataset import DatasetInfo, manifest_path, read_info, write_dataset
from steersman.types import Conversation

SOURCE = "generated: steersman.data.shop"

Plan = tuple[str, str, str, str, int]


def plan(config: Config) -> list[Plan]:
    """(name, kind, split, purpose, size) of each set; worlds of different splits share nothing."""
    data = config.data
    return [
        ("shop-demonstrations-train", "demonstrations", "train", "any", data.demonstrations),
        ("shop-prompts-rank-train", "prompts", "train", "rank", data.ranking_prompts),
        ("shop-prompts-ppo-train", "prompts", "train", "ppo", data.ppo_prompts),
        ("shop-demonstrations-validation", "demonstrations", "validation", "any", data.eval_prompts),
        ("shop-prompts-validation", "prompts", "validation", "any", data.eval_prompts),
        ("shop-prompts-test", "prompts", "test", "any", data.eval_prompts),
    ]


def import_shop(
    folder: Path, config: Config, replace: bool = False, done: Callable[[int], None] = lambda n: None
) -> list[DatasetInfo]:
    """Generate the sets that are missing; `done` is told how many records have been made so far.

    A set that this version made from the same settings is not made again. Sizes of 0 are left out.
    """
    infos, made = [], 0
    for name, kind, split, purpose, size in plan(config):
        if size < 1:
            continue
        settings = {
            "language": config.project.language,
            "seed": config.project.seed,
            "size": size,
            "stream": "" if purpose == "any" else purpose,
        }
        path = folder / f"{name}.jsonl"
        existing = read_info(path) if path.is_file() and manifest_path(path).is_file() else None
        if existing is not None and (existing.config, existing.code_version) == (settings, __version__) and not replace:
            infos.append(existing)
        else:
            records = _counted(_generate(kind, split, settings), made, done)
            info = write_dataset(folder, name, kind, split, records, SOURCE, settings, purpose=purpose, replace=replace)
            infos.append(info)
        made += size
        done(made)
    return infos


def _counted(records: Iterator[Conversation], before: int, done: Callable[[int], None]) -> Iterator[Conversation]:
    for i, record in enumerate(records, 1):
        yield record
        if i % 100 == 0:
            done(before + i)


def _generate(kind: str, split: str, settings: dict[str, Any]) -> Iterator[Conversation]:
    from steersman.data import shop

    n, language, seed, stream = (settings[key] for key in ("size", "language", "seed", "stream"))
    return shop.generate(kind, split, n, language, seed, stream=stream)  # type: ignore[arg-type]
