"""`steersman cold similar | approve`: groups of prompts like some seeds, and what people say in a sheet."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.workspace import Workspace
from steersman.cli import cold_options as options
from steersman.cli.cold_sources import held_out, prompts_of
from steersman.cli.framework import DATA, Works, add, say
from steersman.cli.import_options import ReplaceOption
from steersman.data import dataset
from steersman.data.clean import clean
from steersman.types import Conversation

if TYPE_CHECKING:
    from steersman.cold.proposals import Decided, Proposal
    from steersman.cold.similar import Group

SHOWN = 12


def similar(
    call: Works,
    seeds: options.SeedsArgument,
    logs: options.LogsOption = None,
    by: options.ByOption = "chars",
    model: options.EmbedderOption = "base",
    most: options.RetrieveOption = 200,
    groups: options.GroupsOption = 0,
    least: options.LeastOption = 0.1,
    seed: options.SeedOption = 17,
    name: options.SheetName = "similar",
    dry_run: options.DryOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Find prompts of the logs that resemble some seeds, in groups; write a sheet in which people answer one of each.

    Nothing becomes data before `steersman cold approve`, and an answer goes to a whole group only if the sheet says so.
    """
    from steersman.cold import proposals
    from steersman.cold.similar import similar as find

    space = call.open()
    texts = [p.last_user for p in prompts_of(space, seeds)]
    answers: dict[str, str] = {}
    prompts = prompts_of(space, logs or _training(space), answers)
    embed = _embedder(space, by, model)
    found = find(texts, prompts, most=most, groups=groups, least=least, seed=seed, embed=embed)
    made, held = proposals.fresh([_proposal(i, g, by, answers) for i, g in enumerate(found.groups, 1)], held_out(space))
    lines = [
        f"  {found.prompts} prompts: {found.repeated} repeated, {found.further} further off, {found.grouped} in "
        f"{len(found.groups)} groups (by {by})",
        *([f"  left out {held} groups: their prompt is in a test or validation split"] if held else []),
        *_listed(made[:SHOWN]),
    ]
    data: dict[str, Any] = {"prompts": found.prompts, "repeated": found.repeated, "further": found.further, "by": by}
    data |= {"grouped": found.grouped, "held_out": held, "groups": [p.to_json() for p in made], "sheet": ""}
    if not dry_run and made:
        _, sheet = proposals.write(space.root, name, made, replace)
        data["sheet"] = str(sheet)
        lines.append(f"{sheet}: write answers, yes in 'approve', yes in 'spread' to answer the whole group; then:")
        lines.append(f"  steersman cold approve {name}")
    call.emit(data, "\n".join(lines))


def _training(space: Workspace) -> list[str]:
    every = dataset.datasets(space)
    gone = dataset.superseded(every)
    infos = [i for i in every if i.split == "train" and i.kind in ("prompts", "demonstrations") and i.name not in gone]
    if not infos:
        raise ValueError("expected prompts to look in: name files or data sets with --in, or import some")
    return [i.name for i in infos]


def _embedder(space: Workspace, by: str, model: str) -> Callable[[Sequence[str]], Any] | None:
    if by not in ("chars", "model"):
        raise ValueError(f"--by {by}: expected chars or model")
    if by == "chars":
        return None
    from steersman.cli.talk import choose
    from steersman.cold.hidden import embedder

    config = space.config.model
    return embedder(choose(space, model)[0], config.dtype, config.device, config.trust_remote_code)


def _proposal(number: int, group: Group, by: str, answers: Mapping[str, str]) -> Proposal:
    from steersman.cold.proposals import Proposal

    prompt, *others = group.prompts
    about = {"how": "similar", "method": by, "group": number, "seed": group.seed, "likeness": group.score}
    told = answers.get(prompt.last_user, "")  # what the log answered, to be corrected
    return Proposal(f"g{number}", prompt, told, tuple(others), f"{group.score:.2f} {group.seed}", about)


def _listed(made: Sequence[Proposal]) -> list[str]:
    out = []
    for p in made:
        out.append(f"  {len(p.group) + 1:>4}  {_short(p.prompt)}  (like: {p.likeness[:60]})")
        out += [f"          {_short(other)}" for other in p.group[:2]]
    return out


def _short(prompt: Conversation) -> str:
    text = " ".join(prompt.last_user.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def approve(
    call: Works,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sheet's name in proposals/.")],
    sheet: Annotated[Path | None, typer.Option("--sheet", help="The filled-in sheet, if it lies elsewhere.")] = None,
    by: options.DeciderOption = "",
    dry_run: options.DryOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Make data of the lines of a sheet that people approved: with an answer demonstrations, without one prompts."""
    from steersman.cold import proposals

    space = call.open()
    records, usual = proposals.paths(space.root, name)
    path = sheet or usual
    for file in (records, path):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; expected a sheet of `steersman cold similar` or `custom`")
    found = proposals.decided(records, path, by or getpass.getuser())
    written, dropped = _kept(space, name, found, dry_run, replace)
    lines = [*found.told(), *(f"  left out {n}: {why}" for why, n in dropped.items())]
    lines += [f"{info.name}: {info.count} {info.kind} ({info.split})" for info in written]
    if dry_run:
        lines.append("nothing written (--dry-run)")
    elif not written:
        say(f"note: nothing is approved yet; write yes in the column 'approve' of {path}")
    counts = {k: getattr(found, k) for k in ("lines", "approved", "rejected", "open", "corrected", "spread")}
    data = counts | {"dropped": dropped, "datasets": [info.to_json() for info in written]}
    call.emit(data, "\n".join(lines))


def _kept(
    space: Workspace, name: str, found: Decided, dry_run: bool, replace: bool
) -> tuple[list[dataset.DatasetInfo], dict[str, int]]:
    """The data sets written, and what was left out of them."""
    written: list[dataset.DatasetInfo] = []
    dropped: dict[str, int] = {}
    for kind, some in (("demonstrations", found.demonstrations), ("prompts", found.prompts)):
        kept, gone = clean(some)
        dropped |= {f"{kind}: {why}": n for why, n in gone.items()}
        if kept and not dry_run:
            about = {"cold": "approve", "sheet": name}
            source = f"proposals/{name}"
            info = dataset.write_dataset(
                space.data, f"{name}-{kind}", kind, "train", kept, source, about, replace=replace
            )
            written.append(info)
    return written, dropped


def add_to(group: typer.Typer) -> None:
    examples = [
        "steersman cold similar seeds.txt --in logs.jsonl --dry-run",
        "steersman cold similar seeds.txt --in chats --by model --most 500",
    ]
    add(group, similar, panel=DATA, examples=examples)
    add(group, approve, panel=DATA, examples=["steersman cold approve similar --by Anna"])
