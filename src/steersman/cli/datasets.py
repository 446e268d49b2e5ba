"""`steersman data show | remove | export`: looking at one data set, deleting it, writing it out."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.artifact.media import images_in
from steersman.cli.data import languages
from steersman.cli.framework import Reads, Works, free_file
from steersman.cli.kept_images import drop_images
from steersman.data import dataset
from steersman.data.written import values_of
from steersman.messages import Message
from steersman.rounds.data_sets import dropped_of, info_of, users_of


def data_show(
    call: Reads,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Records to show.")] = 3,
    containing: Annotated[str, typer.Option("--containing", help="Only records with these words.")] = "",
    dropped: Annotated[
        bool, typer.Option("--dropped", help="What cleaning dropped to make this set, and why.")
    ] = False,
) -> None:
    """Show the first records of a data set, those with some words, or those that cleaning dropped."""
    space = call.open()
    info = info_of(space, name)
    whys = dict(dropped_of(info)) if dropped else {}
    of = info_of(space, info.config["cleaned"]["from"]) if dropped else info
    if dropped and of.sha256 != info.source_sha256:
        raise ValueError(f"{of.path}: expected the set that {name} was cleaned from; it has changed since")
    every = (
        (number, value)
        for number, value in enumerate(values_of(of.path), 1)
        if (not dropped or number in whys) and containing in "\n".join(_readable(value))
    )
    found = list(itertools.islice(every, count))
    lines = [f"{info.name}: {info.count} {info.kind} ({info.split}), {languages(info)}, from {info.source}"]
    for number, record in found:
        why = f"; dropped by {whys[number]}" if dropped else ""
        lines += ["", f"{number}. {record.get('id', '')}".rstrip() + why, *_readable(record)]
    if not containing and (more := (len(whys) if dropped else info.count) - len(found)) > 0:
        lines += ["", f"... {more} more"]
    shown = [record | ({"dropped": whys[number]} if dropped else {}) for number, record in found]
    call.emit({"dataset": info.to_json(), "records": shown}, "\n".join(lines))


def _readable(record: Mapping[str, Any]) -> list[str]:
    """A record as lines: who says what, then the answers with their ranks."""
    if "text" in record:
        return [f"   {record['text']}"]
    turns = record.get("messages") or record.get("prompt", {}).get("messages", [])
    lines = [f"   {turn['role']}: {Message.from_json(turn).spelled}" for turn in turns]
    marks = record.get("ranks") or record.get("grades") or []
    lines += [f"   answer ({mark}): {text}" for mark, text in zip(marks, record.get("answers", []), strict=False)]
    if "kind" in record:
        lines.append(f"   answer ({record['kind']}): {record.get('answer', '')}")
    return lines


def data_remove(
    call: Reads,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a data set from the workspace. Models that were made from it stay."""
    space = call.open()
    info = info_of(space, name)
    used = users_of(space, name)
    note = f"; made from it: {', '.join(used)}, which then cannot be made again" if used else ""
    if not yes:
        if call.as_json or not sys.stdin.isatty():
            raise ValueError(f"{name}: expected --yes to delete {info.count} {info.kind}{note}")
        typer.confirm(f"Delete {name} ({info.count} {info.kind}){note}?", abort=True, err=True)
    images = list(images_in(info.path)) if info.path.is_file() else []
    dataset.remove_dataset(info)
    drop_images(space, images)
    call.emit({"removed": name, "count": info.count, "used_by": used}, f"removed {name}{note}")


def data_export(
    call: Works,
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="rankings, comparisons, feedback, demonstrations or a data set's name."),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; '-' is stdout.")] = None,
    round_: Annotated[int, typer.Option("--round", min=0, help="Rankings of this round; 0 means the latest.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the file of --output.")] = False,
) -> None:
    """Write what people said, or a data set, as JSON lines.

    Without --output, rankings become the round's artifact that `steersman reward` trains on, and everything else
    goes to exports/ in the workspace. Demonstrations are the answers that people edited.
    """
    from steersman.rounds import export as exporting

    space = call.open()
    to_stdout = str(output) == "-"
    if round_ and what not in ("rankings", "comparisons"):
        raise ValueError(f"--round {round_}: expected rankings or comparisons to export; {what} are of all rounds")
    if round_:
        space.check_round(round_)
    if to_stdout and call.as_json:
        raise ValueError("--json: expected --output to be a file, stdout cannot hold both")
    if to_stdout:
        for line in exporting.export_lines(space, what, round_ or space.round):
            print(line)
        return
    if what == "rankings" and output is None:
        manifest, folder = exporting.export_rankings(space, round_ or space.round)
        data = {"what": what, "path": str(folder), "count": manifest.metrics["rankings"], "metrics": manifest.metrics}
        text = f"{folder}: {manifest.metrics['rankings']} rankings, {manifest.metrics['simulated']} of them simulated"
        call.emit(data, text)
        return
    path = free_file(output, replace) if output else space.root / "exports" / f"{what}.jsonl"
    count = exporting.write_lines(path, exporting.export_lines(space, what, round_ or space.round))
    call.emit({"what": what, "path": str(path), "count": count}, f"{path}: {count} records")
