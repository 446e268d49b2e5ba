"""`steersman tasks list | preview | build | eval`: text-to-text tasks of many kinds, as data and as a measure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.framework import DATA, Reads, Works, add, say
from steersman.cli.import_options import EncodingOption, ReplaceOption, SplitOption
from steersman.data.task_kinds import LANGUAGES, Kind, kind_of, kinds, with_labels

if TYPE_CHECKING:
    from steersman.data.task_building import Building, Built
    from steersman.data.task_records import Counts, Question

FOLDER = "tasks"
"""A workspace's folder of kinds of its own."""
TABLE = "NAME=VALUE"
KindArgument = Annotated[str, typer.Option("--kind", help="steersman tasks list names them; default: by the records.")]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=FIELD", help="The record's field for one of the kind; a.b is b within a."),
]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", metavar="FIELD=VALUE", help="Only records with this value.")
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="VALUE=WORD", help="A label set of your own: value in the data, word to answer."),
]
ListOption = Annotated[
    list[str] | None,
    typer.Option("--list", metavar="NAME=SEPARATOR", help="A field whose text is a list, with what separates items."),
]
BalanceOption = Annotated[
    bool, typer.Option("--balance", help="Labels equally often: --most by their number each, or as the rarest.")
]
LongOption = Annotated[
    int, typer.Option("--most-characters", min=0, help="A longer field is cut at its end, a longer answer left out.")
]
LanguageOption = Annotated[str, typer.Option("--language", help="Of the prompts: auto (the text's), zh, en or both.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Default: project.seed.")]


def tasks_list(call: Reads) -> None:
    """Kinds of tasks, with what a record needs; those of the workspace's tasks/*.toml too."""
    found = kinds(_folder(call.workspace))
    lines = []
    for kind in found.values():
        labels = "the data's" if kind.labels == "data" else f"each record's {kind.labels}"
        if kind.words:
            labels = " | ".join(", ".join(of.values()) for of in kind.words.values())
        prompts = ", ".join(f"{len(of)} {code}" for code, of in kind.templates.items())
        lines.append(f"{kind.name}: {kind.title['en']} ({kind.title['zh']})")
        lines.append(f"  fields {', '.join(kind.fields)}; {kind.metric}; prompts {prompts}")
        lines += [f"  labels {labels}"] if kind.closed else []
    call.emit({"kinds": [_told(kind) for kind in found.values()]}, "\n".join(lines))


def _told(kind: Kind) -> dict[str, Any]:
    return dataclasses.asdict(kind) | {"closed": kind.closed}


def _folder(workspace: Path | None) -> Path | None:
    from steersman.cli.bench import found_space

    space = found_space(workspace, ())
    return space.root / FOLDER if space else None


def tasks_preview(
    call: Reads,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A kind of steersman tasks list.")],
    source: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Records; without: the prompts alone.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Records to show.")] = 2,
    fields: FieldOption = None,
    where: WhereOption = None,
    labels: LabelOption = None,
    lists: ListOption = None,
    language: LanguageOption = "auto",
    characters: LongOption = 1000,
) -> None:
    """Show every prompt of a kind, with the first records of a file in them."""
    chosen = with_labels(kind_of(kind, kinds(_folder(call.workspace))), _pairs(labels, "--label"))
    if source is None:
        every = [text for code, of in chosen.templates.items() for text in (f"[{code}]", *of)]
        call.emit({"kind": _told(chosen)}, "\n\n".join([*every, f"answer: {chosen.target}"]))
        return
    taking = _taking(fields, where, lists, characters)
    _check_language(language, chosen)
    _check_fields(chosen, taking.fields | taking.lists)
    found, counts = _read([source], chosen, taking, "auto", 400)
    how = _building("preview", 0, {"train": 1.0}, language, (99, 20, 0))
    shown = _built(found, chosen, how, counts).splits["train"]
    names = list(dict.fromkeys(c.id.rpartition(f"-{c.meta['task']['template']}")[0] for c in shown))[:count]
    few = [c for c in shown if c.id.rpartition(f"-{c.meta['task']['template']}")[0] in names]
    lines = [f"{c.id}\n{c.messages[0].text}\n=> {c.messages[1].text}\n" for c in few]
    call.emit({"records": [c.to_json() for c in few]}, "\n".join(lines + _said(counts)))


def tasks_build(
    call: Works,
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Any file or archive of records.")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The set's name; splits get -train and so on.")],
    kind: KindArgument = "",
    fields: FieldOption = None,
    where: WhereOption = None,
    labels: LabelOption = None,
    lists: ListOption = None,
    language: LanguageOption = "auto",
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Prompts of a record in the training split.")] = 2,
    options: Annotated[int, typer.Option("--options", help="Label sets up to so many are listed in prompts.")] = 20,
    most: Annotated[int, typer.Option("--most", min=0, help="Records of all splits, drawn by the seed; 0: all.")] = 0,
    balance: BalanceOption = False,
    characters: LongOption = 1000,
    split: SplitOption = "auto",
    seed: SeedOption = None,
    encoding: EncodingOption = "auto",
    replace: ReplaceOption = False,
) -> None:
    """Make demonstrations of a kind of task from records: several prompts each, split so that no text is in two.

    Without --kind records are taken as they are: pCLUE's and Firefly's input and target, P3's prompt and completion,
    FLAN's and xP3's inputs and targets, instructions with an input and an output (BELLE, COIG, Super-Natural
    Instructions), and the fields that --field names: input, target, instruction, choices, type.
    Mix sets with `steersman data mix --smoothing`, train with `steersman sft`.
    """
    from steersman.cli.data import LEAST, parse_split, write_each
    from steersman.data.dataset import check_name

    space = call.open()
    check_name(into, "--into")
    chosen = with_labels(kind_of(kind, kinds(space.root / FOLDER)), _pairs(labels, "--label")) if kind else None
    taking = _taking(fields, where, lists, characters)
    _check_language(language, chosen)
    _check_fields(chosen, taking.fields | taking.lists)
    found, counts = _read(sources, chosen, taking, encoding, 0)
    seed = space.config.project.seed if seed is None else seed
    how = _building(into, seed, parse_split(split), language, (prompts, options, most), LEAST if split == "auto" else 0)
    built = _built(found, chosen, dataclasses.replace(how, balance=_balanced(balance, chosen)), counts)
    about = {"task": kind or "ready", "taking": dataclasses.asdict(taking), "language": language, "seed": seed}
    about |= {"prompts": prompts, "options": options, "most": most, "balance": balance, "split": split}
    about["changed"] = dict(counts.changed)
    splits = {split: of or None for split, of in built.splits.items()}
    infos = write_each(space, (into, "demonstrations"), splits, _origin(sources, counts, replace), about)
    lines = [f"{info.name}: {info.count} {info.kind} ({info.split})" for info in infos]
    few = list(built.labels.items())[:4]
    lines += [f"  labels ({code}): {', '.join(of) if len(of) <= options else len(of)}" for code, of in few]
    lines += [f"  labels of {len(built.labels) - len(few)} more kinds"] if len(built.labels) > len(few) else []
    of_kinds = Counter(c.meta["task"]["kind"] for part in built.splits.values() for c in part)
    data: dict[str, Any] = {"datasets": [info.to_json() for info in infos], "labels": built.labels}
    data |= {
        "kinds": dict(of_kinds),
        "read": counts.read,
        "left_out": dict(counts.left_out),
        "changed": dict(counts.changed),
    }
    call.emit(data, "\n".join(lines + _said(counts)))


def _balanced(balance: bool, kind: Kind | None) -> bool:
    if balance and (kind is None or not kind.closed or kind.labels in kind.fields):
        raise ValueError("--balance: expected a kind with one label set (--kind; steersman tasks list)")
    return balance


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    out = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise ValueError(f"{option} {text}: expected {TABLE}")
        out[name] = value
    return out


def _taking(fields: list[str] | None, where: list[str] | None, lists: list[str] | None, most: int) -> Any:
    from steersman.data.task_records import Taking

    return Taking(_pairs(fields, "--field"), _pairs(where, "--where"), _pairs(lists, "--list"), most)


def _check_language(language: str, kind: Kind | None) -> None:
    known = ("auto", "both", *(kind.templates if kind else LANGUAGES))
    if language not in known:
        raise ValueError(f"--language {language}: expected one of {', '.join(known)}")


def _check_fields(kind: Kind | None, named: Mapping[str, str]) -> None:
    from steersman.data.published_tasks import READY

    known = kind.fields if kind else READY
    if unknown := sorted(set(named) - set(known)):
        raise ValueError(f"--field or --list {unknown[0]}: expected one of {', '.join(known)}")


def _building(
    name: str, seed: int, fractions: Mapping[str, float], language: str, numbers: tuple[int, int, int], least: int = 0
) -> Building:
    from steersman.data.task_building import Building

    prompts, options, most = numbers
    return Building(name, seed, fractions, least, language, prompts, options, most)


def _read(
    sources: Sequence[Path], kind: Kind | None, taking: Any, encoding: str, most: int
) -> tuple[list[Question], Counts]:
    import itertools

    from steersman.data.reading import AS_THEY_ARE, Reading
    from steersman.data.sources import scan_all
    from steersman.data.task_records import Counts, questions

    counts = Counts()
    # columns of questions and answers are looked for only where the kind has these, and nobody says which they are
    looked = kind is not None and {"question", "answer"} <= set(kind.fields) and not taking.fields
    reading = Reading(encoding=encoding, tell=say, mapping={} if looked else AS_THEY_ARE)
    records = questions(scan_all(sources, reading), kind, taking, counts)
    return list(itertools.islice(records, most or None)), counts


def _built(found: Sequence[Question], kind: Kind | None, how: Building, counts: Counts) -> Built:
    from steersman.data.task_building import build

    return build(found, kind, how, counts)


def _origin(sources: Sequence[Path], counts: Counts, replace: bool) -> dict[str, Any]:
    from steersman.cli.data import source_hash

    return {
        "source": ", ".join(map(str, sources)),
        "source_sha256": source_hash(sources),
        "skipped": dict(counts.left_out),
        "changed": dict(counts.changed),
        "replace": replace,
    }


def _said(counts: Counts) -> list[str]:
    out = [f"  read {counts.read} records"]
    out += [f"  left out {n}: {why}" for why, n in counts.left_out.most_common()]
    return out + [f"  changed {n}: {what}" for what, n in counts.changed.most_common()]


def register(app: typer.Typer) -> None:
    from steersman.cli.task_eval import tasks_eval

    group = typer.Typer(
        no_args_is_help=True,
        help="Text-to-text tasks of many kinds: make data of them, and measure. Training on them is steersman sft.",
    )
    add(group, tasks_list, name="list", panel=DATA, examples=["steersman tasks list"])
    shows = ["steersman tasks preview inference", "steersman tasks preview news news.csv --field text=title"]
    add(group, tasks_preview, name="preview", panel=DATA, examples=shows)
    builds = [
        "steersman tasks build news.csv --kind news --field text=title --field label=section --into news",
        "steersman tasks build tickets.csv --kind intent --label 0=refund --label 1=delivery --into intents",
        "steersman tasks build pclue.jsonl --into pclue",
    ]
    add(group, tasks_build, name="build", panel=DATA, examples=builds)
    evals = [
        "steersman tasks eval news intents --model sft -o bench/tasks",
        "steersman tasks eval news --model base --model sft --shots 0,1,2,4 -o bench/shots",
    ]
    add(group, tasks_eval, name="eval", panel=DATA, examples=evals, slow=True)
    app.add_typer(group, name="tasks", rich_help_panel=DATA)
