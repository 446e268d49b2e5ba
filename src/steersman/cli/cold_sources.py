"""What the verbs of `steersman cold` read from and whom they ask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.data.split import split_key
from steersman.types import Conversation, Message, SamplingParams

if TYPE_CHECKING:
    from steersman.cold.requests import Asked


def prompts_of(space: Workspace, names: Sequence[str], answers: dict[str, str] | None = None) -> list[Conversation]:
    """Prompts of data sets (by name) and files: any form that `data import` reads, or lines of a .txt file.

    `answers` receives the answers that stood there, by the prompt's last turn.
    """
    infos = {info.name: info for info in dataset.datasets(space)}
    out: list[Conversation] = []
    for name in names:
        path = Path(name)
        if name in infos:
            if infos[name].kind == "texts":
                raise ValueError(f"{name}: expected prompts or dialogues, found texts")
            out += _cut(dataset.load_conversations(infos[name].path, None, max_line_mb=1024), answers)
        elif path.suffix.lower() == ".txt" and path.is_file():
            out += _lines(path)
        elif path.exists():
            out += _cut(dataset.load_conversations(path, None, encoding="auto"), answers)
        else:
            raise ValueError(f"{name}: expected a data set ({', '.join(infos) or 'there is none'}) or a file")
    return out


def _cut(dialogues: Sequence[Conversation], answers: dict[str, str] | None) -> list[Conversation]:
    """The dialogues without their last answers, which `answers` receives."""
    out = []
    for dialogue in dialogues:
        prompt = dialogue if dialogue.is_prompt else dialogue.without_answer()
        if not dialogue.is_prompt and answers is not None:
            answers.setdefault(prompt.last_user, dialogue.messages[-1].text)
        out.append(prompt)
    return out


def _lines(path: Path) -> list[Conversation]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    found = [(i, line) for i, line in enumerate(lines, 1) if line]
    if not found:
        raise ValueError(f"{path}: expected a prompt a line, found none")
    return [Conversation(f"{path.stem}-{i}", (Message("user", line),)) for i, line in found]


def held_out(space: Workspace) -> list[Conversation]:
    """The prompts of the workspace's test and validation splits."""
    infos = [i for i in dataset.datasets(space) if i.split != "train" and i.kind in ("prompts", "demonstrations")]
    return [c for info in infos for c in dataset.load_conversations(info.path, "prompts", max_line_mb=1024)]


def not_held(space: Workspace, records: Sequence[Conversation]) -> tuple[list[Conversation], int]:
    """The records whose prompts are in no test or validation split, and how many others there are."""
    held = {split_key(p) for p in held_out(space)}
    kept = [r for r in records if split_key(r) not in held]
    return kept, len(records) - len(kept)


def asked_of(space: Workspace, url: str, model: str, key: str, params: SamplingParams) -> Asked:
    """Whom to ask: an API, or the workspace's model."""
    from steersman.cold.requests import Asked

    if not url:
        from steersman.cli.talk import choose, load

        return Asked(load(space, model, ""), params, named=choose(space, model)[1])
    if not model:
        raise ValueError(f"--url {url}: expected --model, the model's name there")
    if key and key not in os.environ:
        raise ValueError(f"--api-key-env {key}: no such environment variable")
    from steersman.engine.load import load_engine

    engine = load_engine(model, backend="openai", url=url, api_key=os.environ.get(key, "") if key else "", max_slots=8)
    return Asked(engine, params, url=url)
