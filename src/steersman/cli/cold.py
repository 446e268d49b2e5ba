"""`steersman cold legacy | similar | custom | approve | distill | augment`: the first data, from what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.artifact.workspace import Workspace
from steersman.cli.data import default_name, parse_columns, parse_split
from steersman.cli.framework import DATA, JsonOption, SetOption, WorkspaceOption, add, emit, open_workspace, say
from steersman.cli.import_options import (
    EncodingOption,
    FormatOption,
    MapOption,
    MostOption,
    ReplaceOption,
    SheetOption,
    SkipBadOption,
    SpeakersOption,
)
from steersman.data import dataset, importing
from steersman.data.clean import clean
from steersman.data.dataset import DatasetInfo
from steersman.data.formats import Parsed
from steersman.data.reading import Reading
from steersman.data.split import split_records
from steersman.types import Conversation

DryOption = Annotated[bool, typer.Option("--dry-run", help="Show what would become of it; write nothing.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the data set.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation, test, auto or three shares.")]


def legacy(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Tickets (JSON, CSV), chat logs, mails (mbox, eml), pages of questions (HTML, Markdown).",
        ),
    ],
    kind: Annotated[str, typer.Option("--kind", help="demonstrations or prompts.")] = "demonstrations",
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="STEP", help="Leave in: notes, quotes, signatures, greetings or macros."),
    ] = None,
    dry_run: DryOption = False,
    show: Annotated[int, typer.Option("--show", min=0, help="Dialogues to show as they come out.")] = 2,
    format: FormatOption = "",
    name: NameOption = "",
    split: SplitOption = "train",
    columns: MapOption = None,
    sheet: SheetOption = "",
    speakers: SpeakersOption = "",
    encoding: EncodingOption = "auto",
    skip_bad: SkipBadOption = False,
    max_records: MostOption = 0,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make dialogues of what old systems hold: tickets, chats, mails, pages of questions.

    Internal notes, quoted mails, signatures, greetings and repeated text blocks are taken out, each counted and shown.
    """
    from steersman.cold.legacy import stripped

    if kind not in ("demonstrations", "prompts"):
        raise ValueError(f"--kind {kind}: expected demonstrations or prompts")
    space = open_workspace(workspace, settings)
    limits = {n: getattr(space.config.data, n) for n in ("max_line_mb", "max_unpacked_mb", "session_hours")}
    reading = Reading(encoding=encoding, speakers=speakers, sheet=sheet, tell=say, prompts=kind == "prompts", **limits)
    how = {"format": format or None, "skip_bad": skip_bad, "max_records": max_records}
    found = importing.parse_file(sources, kind, mapping=parse_columns(columns), reading=reading, **how)
    dialogues = [record for record in found.records if isinstance(record, Conversation)]
    before = {id(record): record for record in dialogues}
    kept, report = stripped(dialogues, keep or (), kind == "prompts")
    changed = Counter(found.changed)
    records, dropped = clean(kept, changed)
    lines = _counts(found, changed, dropped)
    data = {"read": found.read, "changed": dict(changed), "left_out": {**found.reasons(), **found.left_out}}
    data |= {"cleaning": report.to_json(), "dropped": dropped, "kept": len(records), "datasets": []}
    lines += [*report.lines(), *(f"  left out {n}: {why}" for why, n in dropped.items()), f"  {len(records)} {kind}"]
    for record in records[:show]:
        lines += ["", *(f"  {m.role}: {m.text}" for m in record.messages)] if isinstance(record, Conversation) else []
    data["shown"] = [r.to_json() for r in records[:show] if not isinstance(r, str)]
    del before
    if not records:
        raise ValueError(f"{sources[0]}: nothing is left; {'; '.join(line.strip() for line in lines)}")
    if not dry_run:
        stem = name or default_name(sources[0])
        origin = {"source": ", ".join(map(str, sources)), "skipped": {**data["left_out"], **report.dropped, **dropped}}
        config = {"format": found.format, "split": split, "cold": "legacy", "kept_in": sorted(keep or ())}
        infos = put(space, stem, kind, parse_split(split), records, origin | {"replace": replace}, config)
        data["datasets"] = [info.to_json() for info in infos]
        lines += [f"{info.name}: {info.count} {info.kind} ({info.split})" for info in infos]
    else:
        lines.append("nothing written (--dry-run)")
    emit(as_json, data, "\n".join(lines))


def _counts(found: importing.Imported, changed: Mapping[str, int], dropped: Mapping[str, int]) -> list[str]:
    """How the files were read."""
    out = [f"  read {found.read} records ({', '.join(f'{k} {n}' for k, n in found.formats.items())})"]
    out += [f"  changed, {n} times: {what}" for what, n in changed.items() if n]
    return out + [f"  left out {n}: {why}" for why, n in {**found.reasons(), **found.left_out}.items()]


def put(
    space: Workspace,
    name: str,
    kind: str,
    shares: Mapping[str, float],
    records: Sequence[Parsed],
    origin: Mapping[str, Any],
    config: Mapping[str, Any],
) -> list[DatasetInfo]:
    """Write records as data sets, one a split that has some."""
    parts = split_records(records, shares)
    several = sum(bool(part) for part in parts.values()) > 1 or len(parts) > 1
    out = []
    for split, part in parts.items():
        if part:
            stem = f"{name}-{split}" if several else name
            out.append(dataset.write_dataset(space.data, stem, kind, split, part, config=config, **origin))
    return out


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Make the first data: from old systems, logs, seeds, other models.")
    app.add_typer(group, name="cold", rich_help_panel=DATA)
    examples = [
        "steersman cold legacy tickets.json --dry-run",
        "steersman cold legacy support.mbox --speakers '*,@firm.example' --name desk",
        "steersman cold legacy faq.html --keep greetings",
    ]
    add(group, legacy, panel=DATA, examples=examples)
