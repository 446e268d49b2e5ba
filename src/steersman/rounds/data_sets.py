"""Data sets as a page shows them: who was made from one, its records in words, what cleaning dropped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.data.dataset import DatasetInfo
from steersman.data.written import read_jsonl
from steersman.messages import Message
from steersman.rounds import registry

LOOKED_THROUGH = 100_000
"""Records that a search for words looks through at most, so that it ends."""


def info_of(space: Workspace, name: str) -> DatasetInfo:
    infos = {info.name: info for info in dataset.datasets(space)}
    if name not in infos:
        raise ValueError(f"{name}: no such data set; expected one of {', '.join(infos) or 'none, import some first'}")
    return infos[name]


def users_of(space: Workspace, name: str) -> list[str]:
    """Artifacts, such as 001/sft, that were made from a data set."""
    found = []
    for number in space.rounds():
        for stage in (stage.name for stage in registry.stages()):
            if space.has(stage, number) and f"data:{name}" in read_manifest(space.stage_dir(stage, number)).inputs:
                found.append(f"{number:03d}/{stage}")
    return found


def listed(space: Workspace) -> list[dict[str, Any]]:
    """Every data set without its records. A damaged one is named with what is wrong with it."""
    infos = []
    for path in sorted(space.data.glob("*.jsonl")) if space.data.is_dir() else ():
        if dataset.manifest_path(path).is_file():
            try:
                infos.append(_told(dataset.read_info(path)))
            except ValueError as error:
                infos.append({"name": path.stem, "damage": str(error)})
    gone = dataset.superseded(dataset.datasets(space)) if all("damage" not in one for one in infos) else {}
    return [one | {"replaced_by": gone.get(one["name"], [])} for one in infos]


def _told(info: DatasetInfo) -> dict[str, Any]:
    keys = ("name", "kind", "split", "purpose", "count", "source", "created", "simulated", "languages", "skipped")
    cleaned = info.config.get("cleaned") or {}
    return {key: getattr(info, key) for key in keys} | {"cleaned_from": cleaned.get("from")}


def shown(space: Workspace, name: str, start: int, count: int, containing: str = "") -> dict[str, Any]:
    """Records of a data set from number `start` on, or those from there on that contain the words."""
    info = info_of(space, name)
    numbered = ((number, value) for number, (_, value) in enumerate(read_jsonl(info.path, max_line_mb=1024), 1))
    rest = itertools.islice(numbered, max(0, start - 1), start - 1 + LOOKED_THROUGH)
    wanted = ((number, made) for number, value in rest if containing.lower() in _words(made := _record(value)))
    found = list(itertools.islice(wanted, count))
    return {
        **_told(info),
        "users": users_of(space, name),
        "records": [{"number": number, **record} for number, record in found],
        "next": found[-1][0] + 1 if len(found) == count and found[-1][0] < info.count else None,
    }


def _record(raw: Mapping[str, Any]) -> dict[str, Any]:
    """{id, turns, answers}: who says what, and answers with their mark, of whatever kind the record is."""
    turns = raw.get("messages") or raw.get("prompt", {}).get("messages", [])
    marks = raw.get("ranks") or raw.get("grades") or []
    answers = [{"mark": str(m), "text": text} for m, text in zip(marks, raw.get("answers", []), strict=False)]
    if "kind" in raw:
        answers.append({"mark": str(raw["kind"]), "text": str(raw.get("answer", ""))})
    said = [{"role": str(turn["role"]), "text": Message.from_json(turn).spelled} for turn in turns]
    if "text" in raw:
        said = [{"role": "", "text": str(raw["text"])}]
    return {"id": str(raw.get("id", "")), "turns": said, "answers": answers}


def _words(record: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in (*record["turns"], *record["answers"])).lower()


def dropped_of(info: DatasetInfo) -> Iterator[tuple[int, str]]:
    """(number in the set it was made of, the step and the reason) of each record that cleaning dropped."""
    path = info.path.with_name(f"{info.name}.cleaning.jsonl")
    if not path.is_file() or "cleaned" not in info.config:
        raise ValueError(f"{info.name} --dropped: expected a set that `steersman data clean` made")
    for _, line in read_jsonl(path):
        if "dropped" in line:
            yield line["record"], f"{line['step']}: {line['dropped']}" + (f" (as {line['of']})" if "of" in line else "")


def dropped(space: Workspace, name: str, count: int) -> list[dict[str, Any]]:
    """The first records that cleaning dropped to make a set, with the reasons. ValueError where it was not cleaned."""
    info = info_of(space, name)
    whys = dict(itertools.islice(dropped_of(info), count))
    of = info_of(space, info.config["cleaned"]["from"])
    if of.sha256 != info.source_sha256:
        raise ValueError(f"{of.path}: expected the set that {name} was cleaned from; it has changed since")
    last = max(whys, default=0)
    rows = itertools.islice(read_jsonl(of.path, max_line_mb=1024), last)
    return [
        {"number": number, "why": whys[number], **_record(value)}
        for number, (_, value) in enumerate(rows, 1)
        if number in whys
    ]
