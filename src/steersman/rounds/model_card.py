"""The README.md of a model that leaves the workspace: what it is, what it learned from, how it was judged, how to load
it. Only what is recorded is said; what is not is named as unknown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman import __version__
from steersman.artifact.files import now, read_object
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest
from steersman.artifact.workspace import Workspace, renamed
from steersman.data import dataset
from steersman.rounds import provenance
from steersman.rounds.opened import opened
from steersman.rounds.registry import artifact_of

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Told:
    """What a card is told besides what the workspace holds."""

    name: str
    base: str = ""
    licence: str = ""
    context: int = 0
    languages: tuple[str, ...] = ()
    files: tuple[tuple[str, int, str], ...] = ()
    """(name, bytes, what it is) of the weights."""
    cautions: tuple[str, ...] = ()


def card(told: Told, space: Workspace | None, entry: provenance.Entry | None) -> str:
    """The card; `entry` names the model's round and stage, None for a model from elsewhere."""
    data = list(_data(space, entry)) if space and entry else []
    languages = tuple(sorted({code for row in data for code in row["languages"]}) or told.languages)
    parts = [_front(told, languages, entry), f"# {told.name}\n", _what(told, entry), _loading(told)]
    if space and entry:
        parts += [_verdict(space, entry), _data_table(data), _lineage(space, entry)]
    parts += [_limits(told), f"Made with Steersman {__version__}, {now()}.\n"]
    return "\n".join(part for part in parts if part)


def _front(told: Told, languages: Sequence[str], entry: provenance.Entry | None) -> str:
    """JSON strings are YAML strings."""
    licence = told.licence or "unknown"
    lines = ["---", f"license: {json.dumps(licence)}"]
    if languages:
        lines.append(f"language: {json.dumps(list(languages))}")
    if told.base:
        lines.append(f"base_model: {json.dumps(told.base)}")
    tags = ["steersman", *([entry["stage"]] if entry else []), *(["gguf"] if _gguf(told) else [])]
    lines += ["library_name: transformers", "pipeline_tag: text-generation", f"tags: {json.dumps(tags)}", "---\n"]
    return "\n".join(lines)


def _gguf(told: Told) -> list[str]:
    return [name for name, _, _ in told.files if name.endswith(".gguf")]


def _what(told: Told, entry: provenance.Entry | None) -> str:
    how = (
        f"made by `{entry['stage']}` in round {entry['round']} of a Steersman workspace" if entry else "exported as is"
    )
    lines = [
        f"- Model: {how}",
        f"- Base: {told.base or UNKNOWN}",
        f"- Licence: {told.licence or UNKNOWN + ': ask whoever publishes it; the base and each data set bind too'}",
        f"- Context: {told.context} tokens" if told.context else "",
    ]
    table = ["\n| file | MB | what |", "| --- | --- | --- |"]
    table += [f"| {name} | {size / 1e6:.1f} | {what} |" for name, size, what in told.files]
    return "\n".join(line for line in lines if line) + "\n" + "\n".join(table) + "\n"


def _loading(told: Told) -> str:
    lines = ["## Loading\n", "```sh"]
    if any(name.endswith(".safetensors") for name, _, _ in told.files):
        lines += ["vllm serve FOLDER", "steersman serve --model FOLDER"]
    if files := _gguf(told):
        lines += [f"llama-server -m {files[0]}", f"ollama create {told.name} -f Modelfile && ollama run {told.name}"]
    lines += ["```\n"]
    if any(name == "model.safetensors" or name.startswith("model-0") for name, _, _ in told.files):
        lines += [
            "```python",
            "from transformers import pipeline",
            'chat = pipeline("text-generation", "FOLDER")',
            'print(chat([{"role": "user", "content": "Hello"}], max_new_tokens=64))',
            "```\n",
        ]
    return "\n".join(lines)


def _verdict(space: Workspace, entry: provenance.Entry) -> str:
    path = space.stage_dir("report", entry["round"]) / "verdict.json"
    if not path.is_file():
        return "## Verdict\n\nThis model was not compared with any other.\n"
    found = read_object(path, "a verdict")
    pairs = [pair for pair in found["pairs"] if entry["stage"] in (renamed(pair["a"]), renamed(pair["b"]))]
    lines = [f"- {pair['sentence']}" for pair in pairs] or ["- This model is in no comparison of its round's report."]
    lines += [f"- Caution: {caution['text']}" for caution in found["cautions"]]
    judge = f"Judge: {found['judge']}. Intervals of {found['level']:.0%}, over held-out prompts."
    return "\n".join(["## Verdict\n", judge + "\n", *lines, ""])


def _data(space: Workspace, entry: provenance.Entry) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for source in provenance.behind(space, entry):
        for name, sha256 in source.datasets.items():
            if name in seen:
                continue
            seen.add(name)
            path = space.data / f"{name.removeprefix('data:')}.jsonl"
            row: dict[str, Any] = {"name": path.stem, "sha256": sha256, "languages": {}, "gone": not path.is_file()}
            if path.is_file():
                info = dataset.read_info(path)
                row |= {"kind": info.kind, "split": info.split, "count": info.count, "languages": info.languages}
                # a file's place on this machine is nobody's business
                row |= {"source": Path(info.source).name if "/" in info.source else info.source}
                row |= {"licence": _licence(info), "changed": info.sha256 != sha256}
            yield row


def _licence(info: dataset.DatasetInfo) -> str:
    ours = info.source.startswith("generated: steersman.")
    return str(info.config.get("licence") or ("apache-2.0, made by Steersman" if ours else UNKNOWN))


def _data_table(data: Sequence[Mapping[str, Any]]) -> str:
    head = ["## Data\n", "| set | kind | records | languages | source | licence | sha256 |", "| --- " * 7 + "|"]
    for row in data:
        if row["gone"]:
            head.append(f"| {row['name']} | gone | | | | {UNKNOWN} | {row['sha256'][:12]} |")
            continue
        languages = ", ".join(f"{code} {n}" for code, n in row["languages"].items())
        changed = " (changed since)" if row["changed"] else ""
        cells = (row["name"], f"{row['kind']}, {row['split']}", row["count"], languages, row["source"], row["licence"])
        head.append(
            "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + f" | {row['sha256'][:12]}{changed} |"
        )
    return "\n".join([*head, ""])


def _lineage(space: Workspace, entry: provenance.Entry) -> str:
    lines = ["## Lineage and settings\n"]
    rules: Counter[str] = Counter()
    for source in provenance.behind(space, entry):
        rules.update(one["rule"] for one in source.records)
        lines += [f"- round {source.round}: {what}" for what in source.unknown]
    if rules:
        lines.append("- records of the store: " + ", ".join(f"{n} {rule}" for rule, n in sorted(rules.items())))
    began = opened(space, entry["round"])
    if began and began.start:
        lines.append(f"- round {entry['round']} began from the model promoted before it, {began.start['path']}")
    for name, folder in stages_of(space, entry["round"], space.root / entry["path"], set()):
        made = read_manifest(folder)
        lines.append(f"- {name}: made {made.created} by version {made.code_version}")
        lines += [f"  - note: {note}" for note in made.notes]
        settings = json.dumps(dict(made.config), ensure_ascii=False, sort_keys=True)
        lines += [f"  <details><summary>settings</summary>\n\n  `{settings.replace('`', ' ')}`\n\n  </details>"]
    return "\n".join([*lines, ""])


def stages_of(space: Workspace, round_: int, folder: Path, seen: set[Path]) -> Iterator[tuple[str, Path]]:
    """The model's own stage and those that it was made from."""
    if folder in seen or not (folder / MANIFEST_NAME).is_file():
        return
    seen.add(folder)
    made = read_manifest(folder)
    yield f"{renamed(made.stage)} of round {round_}", folder
    for name in made.inputs:
        of = artifact_of(name)
        if of is not None:
            yield from stages_of(space, of[0] or round_, space.stage_dir(of[1].name, of[0] or round_), seen)


def _limits(told: Told) -> str:
    lines = ["## Limits\n", *(f"- {text}" for text in told.cautions)]
    lines += [
        "- It answers with what sounds right to it: facts, names and numbers may be wrong.",
        "- It was judged on the prompts above alone, in the languages of its data; elsewhere nothing is known.",
    ]
    return "\n".join([*lines, ""])
