"""Cautions on an evaluation that are known before it begins and are shown beside its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import Workspace
from steersman.data.contamination import Overlap, overlap
from steersman.data.dataset import DatasetInfo, read_info, stream_records
from steersman.data.formats import Parsed
from steersman.data.importing import parse_file
from steersman.data.shelves import Numbers, Shelf
from steersman.eval.verdict import Caution
from steersman.progress import activity
from steersman.progress import note as say
from steersman.rounds.export import RANKINGS_FILE
from steersman.rounds.gather import DEMONSTRATIONS, GATHERED, RANKINGS
from steersman.rounds.lineage import changed_since
from steersman.types import Conversation


def known_cautions(space: Workspace, models: Sequence[str], prompts: Sequence[Conversation]) -> list[Caution]:
    """Models that are the SFT model, test prompts that the round's `models` were trained on, a stale reward model."""
    found = [
        Caution("kept_sft", {"label": name.upper()})
        for name in filter(space.has, models)
        if read_manifest(space.stage_dir(name)).metrics.get("kept") == "sft"
    ]
    if changed := changed_since(space, "reward"):
        found.append(Caution("stale_reward", {"changed": changed}))
    files, gone = _trained_on(space, [*models, "reward"])
    found += contaminated(prompts, files)
    if gone:
        found.append(Caution("unchecked", {"why": f"{', '.join(gone)} is gone or has changed since training"}))
    return found


def contaminated(prompts: Sequence[Conversation], files: Sequence[tuple[Path, str]]) -> list[Caution]:
    """A caution where `files` contain test prompts (each file with the kind of its records, '' to detect it)."""
    say(f"eval: looking for the test prompts in {len(files)} files that the models were trained on")
    of = overlap(prompts, _records(files))
    if not of.found:
        return []
    shown = {"exact": of.exact, "near": of.near, "n": of.total, "examples": ", ".join(of.examples)}
    return [Caution("contaminated", shown)]


def cautions_alone(trained_on: Sequence[Path], prompts: Sequence[Conversation]) -> list[Caution]:
    """The same without a workspace, where only the user knows what the models were trained on."""
    if not trained_on:
        return [Caution("unchecked", {"why": "name the training files with --trained-on"})]
    return contaminated(prompts, [(path, "") for path in trained_on])


def _trained_on(space: Workspace, stages: Sequence[str]) -> tuple[list[tuple[Path, str]], list[str]]:
    """Files (with the kind of their records) that the stages' manifests name, and names of missing files."""
    files: dict[Path, str] = {}
    gone = []
    for stage in filter(space.has, stages):
        for name, recorded in read_manifest(space.stage_dir(stage)).inputs.items():
            round_, _, artifact = name.rpartition("/")
            if artifact == GATHERED:
                folder = space.stage_dir(GATHERED, int(round_ or space.round))
                files |= {folder / DEMONSTRATIONS: "demonstrations", folder / RANKINGS: "rankings"}
            elif artifact == "rankings":
                files[space.stage_dir("rankings", int(round_ or space.round)) / RANKINGS_FILE] = "rankings"
            elif name.startswith("data:"):
                path = space.data / f"{name.removeprefix('data:')}.jsonl"
                if path.is_file() and (info := read_info(path)).sha256 == recorded:
                    files[path] = info.kind
                else:
                    gone.append(name)
    return [(path, kind) for path, kind in files.items() if path.is_file() and path.stat().st_size], sorted(set(gone))


def _records(files: Sequence[tuple[Path, str]]) -> Iterator[Parsed]:
    for path, kind in files:
        yield from stream_records(path) if kind else parse_file(path).records


def _different(prompts: Iterator[Conversation]) -> Iterator[Conversation]:
    """Each prompt once: a test set and one made of it ask the same."""
    seen = Numbers[str]()
    for number, prompt in enumerate(prompts):
        asked = "\n".join(m.spelled for m in prompt.messages if m.role == "user")
        if seen.get_or(asked, number) == number:
            yield prompt


def overlap_of_import(space: Workspace, infos: Sequence[DatasetInfo]) -> Overlap | None:
    """Test prompts that are also in the workspace's training data, if `infos` (just imported) add to the overlap."""
    from steersman.data.dataset import datasets, superseded

    every, new = datasets(space), {info.name for info in infos}
    gone = superseded(every)
    known = [info for info in every if info.name not in gone]
    tests = [i for i in known if i.split == "test" and i.kind in ("prompts", "demonstrations")]
    training = [i for i in known if i.split == "train"]
    if not new & {i.name for i in tests}:  # then only prompts added to the training data can be new in the overlap
        training = [i for i in training if i.name in new]
    if not tests or not training:
        return None
    records = (record for info in tests for record in stream_records(info.path))
    prompts = Shelf(_different(record for record in records if isinstance(record, Conversation)))
    with activity("looking for test prompts", sum(i.count for i in training), "record") as shown:
        return overlap(prompts, shown.counted(_records([(info.path, info.kind) for info in training])))
