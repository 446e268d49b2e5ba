"""`steersman desk`: tasks for the labeling desk, who they are for, which come first, and how the team does."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.framework import PEOPLE, Works, add

if TYPE_CHECKING:
    from steersman.rounds.between_people import Measured
    from steersman.rounds.desk_team import Team
    from steersman.store import Store

AssignOption = Annotated[
    str,
    typer.Option("--assign", metavar="NAMES", help="For these people alone, commas between; default: all."),
]
KindOption = Annotated[
    str, typer.Option("--kind", help="demonstration, edit, flag, vote or ranking; default: by what a line holds.")
]


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def desk_import(
    call: Works,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON lines, or CSV: one task a line.")],
    kind: KindOption = "",
    assign: AssignOption = "",
    overlap: Annotated[
        int, typer.Option("--overlap", min=0, help="Labelers of each task; 0: as rank.overlap says.")
    ] = 0,
) -> None:
    """Add tasks to the desk: prompts to write dialogues for, answers to edit, flag, vote on or rank.

    Fields: prompt or messages, answer or answers, brief, kind, assign, overlap, gold (the known label of an item that
    measures labelers and is never trained on). What is there already is not added again.
    """
    from steersman.rounds.desk_import import Defaults, import_rows, read_rows
    from steersman.store import Store

    space = call.open()
    given = Defaults(kind, _names(assign), overlap, space.round)
    rows = [row for path in files for row in read_rows(path)]
    with Store.open(space.store, space.config.rank.objective) as store:
        found = import_rows(store, iter(rows), given)
    said = ", ".join(f"{n} {kind}" for kind, n in found.new.items()) or "none"
    text = f"new tasks: {said}; {found.known} were there already"
    if found.ignored:
        text += f"; fields without a use: {', '.join(f'{name} ({n})' for name, n in found.ignored.items())}"
    call.emit(found.to_json(), text)


def desk_assign(
    call: Works,
    to: Annotated[str, typer.Argument(metavar="NAMES", help="People, with commas between; 'all' for everybody.")],
    kind: KindOption = "",
    tasks: Annotated[list[str] | None, typer.Option("--task", help="This task's id; may be repeated.")] = None,
    of: Annotated[
        str, typer.Option("--of", metavar="NAME", help="What waits for this person, who need not exist any more.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0: all.")] = 0,
) -> None:
    """Give tasks to some people alone, or back to all: those named, a kind's that nobody has labeled, or somebody's."""
    from steersman.rounds.desk_import import people
    from steersman.rounds.export import open_store

    space = call.open()
    if not tasks and not kind and not of:
        raise ValueError("desk assign: expected --task ID, --of NAME, or --kind with what is to be assigned")
    if of and (tasks or kind or limit):
        raise ValueError("desk assign --of: expected no --task, --kind or --limit beside it")
    with open_store(space) as store:
        if of:
            done = store.desk.hand_over(_waited_for(store, of), () if to == "all" else people(store, _names(to)))
            call.emit({"assigned": done, "to": to, "of": of}, f"{done} tasks of {of} are for {to}")
            return
        ids = list(tasks or [])
        if kind:
            found = store.desk.overview(kind, limit=10**6)
            ids += [one.id for one in found if not one.labels and not one.closed and not one.gold]
        done = store.desk.assign(ids[: limit or None], () if to == "all" else people(store, _names(to)))
    call.emit({"assigned": done, "to": to}, f"{done} tasks are for {to}")


def _waited_for(store: Store, name: str) -> str:
    """The person as tasks name them. ValueError where no task waits for anybody of that name."""
    waited, names = store.desk.assigned(), store.accounts.names()
    found = name if name in waited else next((id_ for id_, own in names.items() if own == name and id_ in waited), None)
    if found is None:
        those = ", ".join(names.get(one, one) for one in waited) or "nobody"
        raise ValueError(f"--of {name}: no task waits for them; expected one for whom some do: {those}")
    return found


def desk_score(call: Works) -> None:
    """Let the last reward model say of which answers it is unsure: those come first at the desk.

    Of tasks that nobody has ranked. Run it again after `steersman reward` or `steersman sample`.
    """
    from steersman.rounds.export import open_store
    from steersman.rounds.unsure import score_tasks

    space = call.open()
    with open_store(space) as store:
        found = score_tasks(space, store, space.round)
    text = f"{found['scored']} tasks scored by the {found['by']} ({found['models']} models)"
    if found["models"] > 1 and found["unsure"]:
        most, least = found["unsure"]
        text += f"; the least sure come first: they disagree by {most:.3f} to {least:.3f} nats an order of two answers"
    if found["ranked"]:
        text += f"; {found['ranked']} that somebody has ranked keep their place"
    call.emit(found, text)


def desk_status(call: Works) -> None:
    """Show what is done, who agrees with whom, and each labeler's speed, accuracy and drift."""
    from steersman.rounds.desk_team import team
    from steersman.rounds.export import open_store

    space = call.open()
    with open_store(space) as store:
        found, progress = team(store), store.desk.progress(space.config.rank.overlap)
        names = store.accounts.names()
    data = found.to_json() | {"progress": progress}
    call.emit(data, status_text(found, progress, names))


def status_text(found: Team, progress: dict[str, dict[str, int]], names: Mapping[str, str]) -> str:
    from steersman.eval.wording import aligned

    if not progress:
        return "the desk is empty: steersman sample, steersman desk import FILE"
    rows = [["queue", "tasks", "done", "labels", "alpha between people"]]
    for kind, of in progress.items():
        agreed = found.agreement.get(kind)
        rows.append([kind, str(of["tasks"]), str(of["done"]), str(of["labels"]), _shown(agreed)])
    lines = aligned(rows)
    if found.labelers:
        people = [["labeler", "labels", "seconds", "known items right", "drift"]]
        for one in found.labelers:
            gold = f"{one.right} of {one.gold}" if one.gold else ""
            seconds = "" if one.seconds is None else f"{one.seconds:.0f}"
            people.append(
                [
                    names.get(one.name, one.name) or "(no name)",
                    str(one.labels),
                    seconds,
                    gold,
                    one.drift.replace("_", " "),
                ]
            )
        lines += ["", *aligned(people)]
    if found.pairs:
        pairs = [
            [
                p["kind"],
                " and ".join(names.get(p[of], p[of]) for of in "ab"),
                _kappa(p, names),
            ]
            for p in found.pairs
        ]
        lines += ["", *aligned(pairs)]
    for given in found.assigned:
        if given["missing"]:
            name = names.get(given["name"], given["name"])
            lines += ["", f"{given['tasks']} tasks wait for {name}, who cannot label here: "]
            lines[-1] += f"steersman desk assign all --of {shlex.quote(name)}"
    if found.undecided:
        lines += ["", f"{found.undecided} tasks wait for a decision: steersman serve, then /desk"]
    return "\n".join(lines)


def _shown(found: Measured | None) -> str:
    return "" if found is None or found.value is None else _value(dataclasses.asdict(found))


def _kappa(pair: dict[str, Any], names: Mapping[str, str]) -> str:
    tasks = f"of {pair['units']} tasks"
    if pair["constant"]:
        same = " and ".join(names.get(pair[of], pair[of]) for of in pair["constant"])
        return f"kappa says nothing {tasks}: {same} always said the same"
    return f"kappa {_value(pair)} {tasks}"


def _value(of: dict[str, Any]) -> str:
    if of["value"] is None:
        return "unknown"
    return f"{of['value']:.2f}" + ("" if of["low"] is None else f" ({of['low']:.2f} to {of['high']:.2f})")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Tasks for the labeling desk, and how the team does.")
    app.add_typer(group, name="desk", rich_help_panel=PEOPLE)
    imports = ["steersman desk import prompts.jsonl --assign ann,bob", "steersman desk import answers.csv --kind flag"]
    add(group, desk_import, name="import", panel=PEOPLE, examples=imports)
    assigns = ["steersman desk assign ann,bob --kind demonstration", "steersman desk assign all --kind edit"]
    assigns.append("steersman desk assign ann --of bob")
    add(group, desk_assign, name="assign", panel=PEOPLE, examples=assigns)
    add(group, desk_score, name="score", panel=PEOPLE, examples=["steersman desk score"], slow=True)
    add(group, desk_status, name="status", panel=PEOPLE, examples=["steersman desk status"])
