"""`steersman cold legacy`, and the group of the verbs that make the first data from what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli import cold_groups, cold_models
from steersman.cli import cold_options as options
from steersman.cli import import_options as given
from steersman.cli.data import LEAST, default_name, parse_columns, parse_split, write_splits
from steersman.cli.framework import DATA, Works, add, say
from steersman.data.clean import Known, by_reason, cleaned
from steersman.data.formats import Parsed
from steersman.data.reading import Reading
from steersman.data.shelves import Numbers, Shelf
from steersman.data.split import planned
from steersman.types import Conversation

if TYPE_CHECKING:
    from steersman.data import importing

OldSources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="Tickets (JSON, CSV), chat logs, mails (mbox, eml), pages of questions (HTML, Markdown).",
    ),
]


def legacy(
    call: Works,
    sources: OldSources,
    kind: options.DialoguesOption = "demonstrations",
    keep: options.KeepOption = None,
    dry_run: options.DryOption = False,
    show: options.ShowOption = 2,
    format: given.FormatOption = "",
    name: options.NameOption = "",
    split: options.SplitOption = "train",
    columns: given.MapOption = None,
    sheet: given.SheetOption = "",
    speakers: given.SpeakersOption = "",
    encoding: given.EncodingOption = "auto",
    skip_bad: given.SkipBadOption = False,
    max_records: given.MostOption = 0,
    replace: given.ReplaceOption = False,
) -> None:
    """Make dialogues of what old systems hold: tickets, chats, mails, pages of questions.

    Internal notes, quoted mails, signatures, greetings and repeated text blocks are taken out, each counted and shown.
    """
    from steersman.cold.legacy import stripped
    from steersman.data import importing
    from steersman.data.formats.exports import MAILS

    if kind not in ("demonstrations", "prompts"):
        raise ValueError(f"--kind {kind}: expected demonstrations or prompts")
    space, shares = call.open(), parse_split(split)
    limits = {n: getattr(space.config.data, n) for n in ("max_line_mb", "max_unpacked_mb", "session_hours")}
    reading = Reading(encoding=encoding, speakers=speakers, sheet=sheet, tell=say, prompts=kind == "prompts", **limits)
    how: dict[str, Any] = {"format": format or None, "skip_bad": skip_bad, "max_records": max_records}
    found = importing.parse_file(sources, kind, mapping=parse_columns(columns), reading=reading, make=Shelf, **how)
    dialogues = (record for record in found.records if isinstance(record, Conversation))
    kept, report = stripped(dialogues, keep or (), kind == "prompts", Shelf)
    changed, gone = Counter(found.changed), Counter[str]()
    del changed[MAILS]  # they are taken out here
    records = Shelf(cleaned(kept, gone, changed, Known(Numbers(), Numbers())))
    dropped = by_reason(gone)
    read = {**found.reasons(), **found.left_out}
    lines = [*_read(found, changed, read), *report.lines()]
    lines += [*(f"  left out {n}: {why}" for why, n in dropped.items()), f"  {len(records)} {kind}"]
    data = {"read": found.read, "changed": dict(changed), "left_out": read, "cleaning": report.to_json()}
    data |= {"dropped": dropped, "kept": len(records), "datasets": []}
    if not records:
        raise ValueError(f"{sources[0]}: nothing is left; {'; '.join(line.strip() for line in lines)}")
    data["shown"] = _shown(records[:show], lines)
    if dry_run:
        lines.append("nothing written (--dry-run)")
    else:
        skipped, done = {**read, **report.dropped, **dropped}, {**changed, **report.changed()}
        origin = {"source": ", ".join(map(str, sources)), "skipped": skipped, "changed": done, "replace": replace}
        config = {"format": found.format, "split": split, "cold": "legacy", "kept_in": sorted(keep or ())}
        plan = planned(records, shares, LEAST if split == "auto" else 0)
        infos = write_splits(space, (name or default_name(sources[0]), kind), (plan, records), origin, config)
        data["datasets"] = [info.to_json() for info in infos]
        lines += ["", *(f"{info.name}: {info.count} {info.kind} ({info.split})" for info in infos)]
    call.emit(data, "\n".join(lines))


def _shown(records: Sequence[Parsed], lines: list[str]) -> list[Any]:
    """The dialogues as JSON; as text they are added to `lines`."""
    shown = [r for r in records if isinstance(r, Conversation)]
    lines += [line for r in shown for line in ("", *(f"  {m.role}: {m.text}" for m in r.messages))]
    return [r.to_json() for r in shown]


def _read(found: importing.Imported, changed: Mapping[str, int], left: Mapping[str, int]) -> list[str]:
    """How the files were read."""
    out = [f"  read {found.read} records ({', '.join(f'{k} {n}' for k, n in found.formats.items())})"]
    out += [f"  changed, {n} times: {what}" for what, n in changed.items() if n]
    return out + [f"  left out {n}: {why}" for why, n in left.items()]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Make the first data: from old systems, logs, seeds, other models.")
    app.add_typer(group, name="cold", rich_help_panel=DATA)
    examples = [
        "steersman cold legacy tickets.json --dry-run",
        "steersman cold legacy support.mbox --speakers '*,@firm.example' --name desk",
        "steersman cold legacy faq.html --keep greetings",
    ]
    add(group, legacy, panel=DATA, examples=examples)
    cold_groups.add_to(group)
    cold_models.add_to(group)
