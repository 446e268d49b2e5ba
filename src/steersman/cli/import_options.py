"""Options of `steersman data import`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Annotated

import typer

from steersman.data.formats import FORMATS
from steersman.data.kinds import KINDS

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files, archives or folders (JSON, CSV, xlsx, parquet, Markdown, chat logs, packed or not) or 'shop'.",
    ),
]
KindOption = Annotated[
    str, typer.Option("--kind", help="demonstrations, prompts, rankings, feedback or texts; default: by format.")
]
AsOption = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="MODULE:FUNCTION",
        help="Read each file by a function of yours, or an entry point of steersman.importers.",
    ),
]
FormatOption = Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}; default: by each record.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the data set; default: the file's.")]
SplitOption = Annotated[
    str, typer.Option("--split", help="train, validation, test, auto (0.9,0.05,0.05) or three shares.")
]
PurposeOption = Annotated[str, typer.Option("--purpose", help="What prompts are for: any, rank or ppo.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="WHAT=FIELD,...", help="What columns or fields are: answer=reply, ignore=note."),
]
SheetOption = Annotated[str, typer.Option("--sheet", help="Sheet of a workbook; default: the first with rows.")]
OrderedOption = Annotated[
    str, typer.Option("--ordered", help="Lists of answers without scores are best-first, or worst-first.")
]
SpeakersOption = Annotated[
    str,
    typer.Option(
        "--speakers",
        metavar="USER,ASSISTANT",
        help="Names in a chat log or in dialogues; several of a side as Ann|Bob, '*' for everybody else.",
    ),
]
EncodingOption = Annotated[
    str, typer.Option("--encoding", help="auto (UTF-8, or what it surely is), or any that Python knows.")
]
ObjectiveOption = Annotated[
    str,
    typer.Option("--objective", help="What all rankings of the file compare by, such as helpful."),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad records out, count them and keep them beside the data.")
]
TrimOption = Annotated[bool, typer.Option("--trim-last-user", help="Cut a last user turn off demonstrations.")]
MostOption = Annotated[int, typer.Option("--max-records", min=0, help="Read at most this many; 0 reads all.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace a data set of the same name.")]

_SAME = "kind format name split purpose sheet ordered speakers encoding objective skip_bad trim_last_user max_records"
NAMES = {"importer": "--as", "columns": "--map"} | {name: f"--{name.replace('_', '-')}" for name in _SAME.split()}
"""Parameters that say how files are read -> their options."""
USUAL = {"split": "train", "purpose": "any", "encoding": "auto"}
OF_KIND = {"--purpose": "prompts", "--ordered": "rankings", "--trim-last-user": "demonstrations"}
"""Options that say something of one kind of records alone."""


def given(values: Mapping[str, object]) -> list[str]:
    """The options whose parameters differ from their defaults."""
    return [option for name, option in NAMES.items() if values[name] and values[name] != USUAL.get(name)]


def check_kind(kind: str) -> None:
    if kind and kind not in KINDS:
        raise ValueError(f"--kind {kind}: expected one of {', '.join(KINDS)}")


def check_alone(options: Sequence[str]) -> None:
    """ValueError for options beside 'shop', whose records are neither read nor named by them."""
    if options:
        raise ValueError(f"{', '.join(options)}: expected no such option with 'shop', whose records are made, not read")


def check_of_kind(options: Sequence[str], kind: str, used: Container[str]) -> None:
    """ValueError for an option that what was read has no use for."""
    for name in options:
        if OF_KIND.get(name, kind) != kind:
            raise ValueError(f"{name}: expected {OF_KIND[name]}, of which it says something; these are {kind}")
    if "--sheet" in options and "sheet" not in used and "--as" not in options:
        raise ValueError("--sheet: expected a workbook, found none")
