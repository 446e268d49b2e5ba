"""`steersman data import | list | export`, and the group of all verbs on data."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from steersman import plugin_calls, plugins
from steersman.artifact.files import atomic_write, file_sha256, hash_json
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import DATA, Reads, Works, add, say
from steersman.cli.import_options import (
    AsOption,
    EncodingOption,
    FormatOption,
    KindOption,
    MapOption,
    MostOption,
    NameOption,
    ObjectiveOption,
    OrderedOption,
    PurposeOption,
    ReplaceOption,
    SheetOption,
    SkipBadOption,
    SourcesArgument,
    SpeakersOption,
    SplitOption,
    TrimOption,
    check_alone,
    check_kind,
    check_of_kind,
    given,
)
from steersman.cli.import_summary import Summary
from steersman.cli.kept_images import pictures_of
from steersman.data import bundled, dataset
from steersman.data.clean import Known, by_reason, cleaned
from steersman.data.dataset import DatasetInfo
from steersman.data.formats import Parsed
from steersman.data.reading import Reading
from steersman.data.shelves import Numbers, Pile, Shelf
from steersman.data.split import SPLITS, Plan, planned
from steersman.progress import activity, progress
from steersman.types import Ranking, to_objective

if TYPE_CHECKING:
    from steersman.data import importing

SEVERAL = ("ignore", "context", "system", "sender")
"""Roles to which --map may give several fields."""
AUTO = {"train": 0.9, "validation": 0.05, "test": 0.05}
MB = 1_000_000
LEAST = 3
"""Records that --split auto gives every split where there are enough."""


def parse_split(text: str) -> dict[str, float]:
    """--split: one split's name, 'auto', or three shares for train, validation and test."""
    if text in SPLITS:
        return {text: 1.0}
    if text == "auto":
        return AUTO
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"--split {text}: expected {', '.join(SPLITS)}, auto, or three shares that add up to 1 (0.9,0.05,0.05)"
        )
    return dict(zip(SPLITS, shares, strict=True))


def parse_columns(settings: list[str] | None) -> dict[str, str]:
    """--map question=COL,answer=COL, repeatable; what may be said of several fields gathers them, between commas."""
    out: dict[str, str] = {}
    for part in (piece for setting in settings or () for piece in setting.split(",")):
        field, eq, column = part.partition("=")
        if not (eq and field.strip() and column.strip()):
            raise ValueError(f"--map {part}: expected field=COLUMN, such as question=Frage,answer=Antwort")
        before = [out[field.strip()]] if field.strip() in SEVERAL and field.strip() in out else []
        out[field.strip()] = ",".join([*before, column.strip()])
    return out


def default_name(source: Path) -> str:
    """The file's name without its endings, other characters replaced by '-'."""
    from steersman.data.sources import ENDINGS

    stem = source.resolve().name if source.name in ("", ".", "..") else source.name
    while not source.is_dir() and (suffix := Path(stem).suffix).lower() in ENDINGS and stem != suffix:
        stem = stem.removesuffix(suffix)
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).lstrip("-_.")
    if not name:
        raise ValueError(f"{source}: expected --name, the file's name gives none")
    return name


def data_import(
    call: Works,
    sources: SourcesArgument,
    kind: KindOption = "",
    importer: AsOption = "",
    format: FormatOption = "",
    name: NameOption = "",
    split: SplitOption = "train",
    purpose: PurposeOption = "any",
    columns: MapOption = None,
    sheet: SheetOption = "",
    ordered: OrderedOption = "",
    speakers: SpeakersOption = "",
    encoding: EncodingOption = "auto",
    objective: ObjectiveOption = "",
    skip_bad: SkipBadOption = False,
    trim_last_user: TrimOption = False,
    max_records: MostOption = 0,
    replace: ReplaceOption = False,
) -> None:
    """Import demonstrations, prompts, rankings or texts into the workspace's data folder."""
    asked = given(locals())
    from steersman.data import importing

    space = call.open()
    if sources == ["shop"]:
        call.emit(*_shown(_import_shop(space, replace, asked), None))
        return
    check_kind(kind)
    shares, paths = parse_split(split), [Path(source) for source in sources]
    stem, label = dataset.check_name(name or default_name(paths[0])), ", ".join(sources)
    say(f"reading {label}")
    with pictures_of(space, paths[0]) as pictures:
        way = {"encoding": encoding, "speakers": speakers, "sheet": sheet, "tell": say, "pictures": pictures}
        reading, by = _read_by(importer, space, way)
        with activity("import: reading", sum(size_of(path) for path in paths) // MB or None, "MB") as shown:
            found = importing.parse_file(
                paths,
                kind or None,
                format=format or None,
                skip_bad=skip_bad,
                trim_last_user=trim_last_user,
                max_records=max_records,
                mapping=parse_columns(columns),
                ordered=ordered,
                reading=dataclasses.replace(reading, tick=lambda read, n: shown.update(read // MB, records=n)),
                make=Shelf,
            )
        check_of_kind(asked, found.kind, reading.used)
        records, summary = _cleaned(found, objective, label)
        sha256 = source_hash(paths, every=bool(importer))
        about = {"source": label, "purpose": purpose, "replace": replace, "source_sha256": sha256} | summary.counts
        how = {"format": found.format, "split": split, "max_records": max_records, **by}
        parts = planned(records, shares, LEAST if split == "auto" else 0), records
        infos = write_splits(space, (stem, found.kind), parts, about, how | _read_so(found, reading, objective))
        keep_rejected(space.data / f"{stem}.rejected.jsonl", found.rejected)
    warn_of_overlap(space, infos)
    call.emit(*_shown(infos, summary))


def _cleaned(found: importing.Imported, objective: str, label: str) -> tuple[Shelf[Parsed], Summary]:
    """The records to keep, and counts of all. Raises ValueError where none is left."""
    given: Iterable[Parsed] = found.records
    if objective:
        given = (_by_objective(record, objective, label) for record in given)
    changed, dropped = Counter(found.changed), Counter[str]()
    with activity("import: cleaning", len(found.records), "record") as shown:
        records = Shelf(cleaned(shown.counted(given), dropped, changed, Known(Numbers(), Numbers())))
    summary = Summary(found, {**found.reasons(), **found.left_out, **by_reason(dropped)}, changed)
    if not records:
        raise ValueError(f"{label}: nothing is left to import{summary.left}")
    return records, summary


def _read_by(importer: str, space: Workspace, way: Mapping[str, Any]) -> tuple[Reading, dict[str, Any]]:
    """How files are read, by a user's function if one is named, and the manifest's record of it."""
    limits = {n: getattr(space.config.data, n) for n in ("max_line_mb", "max_unpacked_mb", "session_hours")}
    reading = Reading(**way, **limits)
    if not importer:
        return reading, {}
    plugins.admit_named([importer], space.root)
    plugins.admit_named([importer], Path.cwd())
    plugin, read = plugin_calls.reader(importer)
    return dataclasses.replace(reading, importer=read), {"importer": plugin.name, "importer_sha256": plugin.digest}


def warn_of_overlap(space: Workspace, infos: list[DatasetInfo]) -> None:
    from steersman.rounds.evidence import overlap_of_import

    if (same := overlap_of_import(space, infos)) is not None and same.found:
        say(f"caution: {same}")
    every, new = dataset.datasets(space), {info.name for info in infos}
    gone = new | dataset.superseded(every).keys()
    known = [info for info in every if info.name not in gone]
    for info in infos:
        of = info.source_sha256, info.kind
        if twins := [i.name for i in known if (i.source_sha256, i.kind) == of and of[0]]:
            say(f"caution: {info.name} is of the same file as {', '.join(twins)}: what both hold counts twice")


def _read_so(found: importing.Imported, reading: Reading, objective: str) -> dict[str, Any]:
    """How files were read, for the manifest: the fields taken for roles, several files, other encodings than UTF-8."""
    out: dict[str, Any] = {"files": dict(found.files)} if len(found.files) > 1 else {}
    out |= {"fields": dict(found.fields)} if found.fields else {}
    out |= {"objective": objective} if objective else {}
    others = {part: used for part, used in reading.encodings.items() if used != "utf-8"}
    return out | ({"encodings": others} if others else {})


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def source_hash(paths: Sequence[Path], every: bool = False) -> str:
    """The file's hash; for several files or a folder one hash of all files read, or with `every` of all files."""
    from steersman.data.sources import files_in

    def inside(folder: Path) -> list[Path]:
        return sorted(p for p in folder.rglob("*") if p.is_file()) if every else files_in(folder)[0]

    files = [file for path in paths for file in (inside(path) if path.is_dir() else [path])]
    alone = files == list(paths) and len(files) == 1
    return file_sha256(files[0]) if alone else hash_json([file_sha256(f) for f in files])


def _by_objective(record: Parsed, name: str, path: str) -> Ranking:
    if not isinstance(record, Ranking):
        raise ValueError(f"--objective {name}: expected {path} to hold rankings; import it with --kind rankings")
    return dataclasses.replace(record, objective=to_objective(name, "--objective"))


def write_splits(
    space: Workspace,
    called: tuple[str, str],
    parts: tuple[Plan, Pile[Parsed]],
    origin: Mapping[str, Any],
    how: Mapping[str, Any],
) -> list[DatasetInfo]:
    """One data set per split that has records (`called`: name and kind); names get the split's name where there are
    several."""
    plan, records = parts
    alone = len(plan.fractions) == 1
    filled = [split for split in plan.fractions if plan.sizes[split] or alone]
    with activity("import: writing", len(records) * len(filled), "record") as shown:
        of = {s: plan.of(shown.counted(records), s) if s in filled else None for s in plan.fractions}
        return write_each(space, called, of, origin, how)


def write_each(
    space: Workspace,
    called: tuple[str, str],
    parts: Mapping[str, Iterable[Parsed] | None],
    origin: Mapping[str, Any],
    how: Mapping[str, Any],
) -> list[DatasetInfo]:
    """A data set of each split that is not None; all appear, or none does."""
    (stem, kind), several = called, len(parts) > 1
    infos: list[DatasetInfo] = []
    before = {path.stem for path in space.data.glob("*.jsonl")}
    try:
        for split, of in parts.items():
            if of is None:
                say(f"note: no record fell into {split}")
                continue
            name = f"{stem}-{split}" if several else stem
            infos.append(dataset.write_dataset(space.data, name, kind, split, of, config=how, **origin))
    except BaseException:  # a full disk or Ctrl-C between two splits: none of them stays
        for info in infos:
            if info.name not in before:
                dataset.remove_dataset(info)
        raise
    return infos


def keep_rejected(path: Path, rejected: Pile[importing.Rejected]) -> None:
    """The lines that were left out, with the reason of each, in a file beside the data set."""
    if dataset.manifest_path(path).is_file():  # a data set that an older version let be called so
        say(f"note: {path} is a data set; rename it, so that what is left out of others can be kept there")
        return
    if not rejected:
        path.unlink(missing_ok=True)  # of an earlier import under this name
        return
    with atomic_write(path) as file:
        for r in rejected:
            where = {"file": r.file} if r.file else {}
            line = where | {"line": r.line, "reason": r.reason, "raw": r.raw}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    say(f"note: {len(rejected)} bad records were left out; they are in {path}")


def _import_shop(space: Workspace, replace: bool, asked: Sequence[str]) -> list[DatasetInfo]:
    check_alone(asked)
    if space.config.project.domain != "shop":
        raise ValueError(
            f"project.domain is {space.config.project.domain!r}; expected 'shop' to generate the shop's data"
        )
    total = sum(size for *_, size in bundled.plan(space.config))
    with progress("shop", total, unit="record") as shown:
        return bundled.import_shop(space.data, space.config, replace, shown.update)


def _shown(infos: list[DatasetInfo], summary: Summary | None) -> tuple[dict[str, Any], str]:
    """The import's result as JSON and as text."""
    lines = [f"{info.name}: {info.count} {info.kind} ({info.split}), {languages(info)}" for info in infos]
    of = summary.to_json() if summary else {"rejected": {}, "dropped": {}}
    return {"datasets": [info.to_json() for info in infos], **of}, "\n".join(
        [*lines, *(summary.lines() if summary else [])]
    )


def languages(info: DatasetInfo) -> str:
    return ", ".join(f"{language} {n}" for language, n in sorted(info.languages.items(), key=lambda item: -item[1]))


def data_list(call: Reads) -> None:
    """List the workspace's data sets."""
    from rich.table import Table

    space = call.open()
    infos = dataset.datasets(space)
    by = dataset.superseded(infos)
    table = Table("name", "kind", "split", "for", "records", "languages", "made from", box=None, padding=(0, 2, 0, 0))
    for i in infos:
        source = f"{i.source} (simulated)" if i.simulated else i.source
        use = f"nothing: {', '.join(by[i.name])} took its place" if i.name in by else i.purpose
        table.add_row(i.name, i.kind, i.split, use, str(i.count), languages(i), source)
    what = "shop" if space.config.project.domain == "shop" else "FILE"
    empty = f"no data yet; import some with: steersman data import {what}"
    call.emit({"datasets": [info.to_json() for info in infos], "superseded": by}, table if infos else empty)


def register(app: typer.Typer) -> None:
    from steersman.cli import cleaning, portions
    from steersman.cli.datasets import data_export, data_remove, data_show

    group = typer.Typer(no_args_is_help=True, help="Import, clean, mix, split, show, export and remove data.")
    app.add_typer(group, name="data", rich_help_panel=DATA)
    imports = [
        "steersman data import shop",
        "steersman data import chats.jsonl --split auto --skip-bad",
        "steersman data import tickets.xlsx --map question=Subject,answer=Reply",
        "steersman data import exports/ faq.md --name desk",
        "steersman data import log.txt --format chatlog --speakers Customer,Agent",
        "steersman data import prompts.jsonl --kind prompts --purpose ppo",
        "steersman data import harmless.jsonl --kind rankings --objective harmless",
    ]
    add(group, data_import, name="import", panel=DATA, examples=imports)
    add(group, data_list, name="list", panel=DATA, examples=["steersman data list", "steersman data list --json"])
    add(
        group,
        data_show,
        name="show",
        panel=DATA,
        examples=[
            "steersman data show chats -n 10",
            "steersman data show chats --containing refund",
            "steersman data show chats-clean --dropped",
        ],
    )
    cleaning.register_in(group)
    portions.register_in(group)
    add(group, data_remove, name="remove", panel=DATA, examples=["steersman data remove chats --yes"])
    exports = ["steersman data export rankings", "steersman data export comparisons --output pairs.jsonl"]
    add(group, data_export, name="export", panel=DATA, examples=exports)
