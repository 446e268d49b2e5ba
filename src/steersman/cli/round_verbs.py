"""`steersman round | compare | lineage | forget`: from what people said to the next model, and back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steersman.cli.framework import (
    MODELS,
    STAGES,
    FreshOption,
    JsonOption,
    Reads,
    SetOption,
    WaitOption,
    WorkspaceOption,
    add,
    emit,
    open_workspace,
)

FromOption = Annotated[
    str, typer.Option("--from", help="Start from the promoted model (promoted), or from the base model again (base).")
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="RECORD",
        help="Leave out this feedback record, or all about this answer or ranking task; may be repeated.",
    ),
]


def round_(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    start: FromOption = "promoted",
    without: WithoutOption = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Promote only what the gate lets through, or whatever comes.")
    ] = True,
    preview: Annotated[bool, typer.Option("--preview", help="Count what a round would learn; make nothing.")] = False,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Make the next model of what people said since the last one, and promote it if it is better.

    Gathers feedback, edits and rankings, trains from the promoted model, evaluates and decides; an unfinished round is
    gone on with. What was decided and why: rounds/NNN/decision.txt.
    """
    from steersman.rounds import loop

    if start not in ("promoted", "base"):
        raise ValueError(f"--from {start}: expected promoted or base")
    space, base = open_workspace(workspace, settings), start == "base"
    if preview:
        found = loop.preview(space, from_base=base, without=without or ())
        emit(as_json, found.to_json(), found.text())
        return
    made = loop.make_round(space, from_base=base, without=without or (), gated=gate)
    if made is None:
        emit(as_json, {"round": None, "promoted": False}, "nothing new to learn; no round was opened")
    else:
        emit(as_json, made.to_json(), made.text())


def lineage(
    call: Reads,
    id_: Annotated[str, typer.Argument(metavar="ID", help="An answer, a feedback record or a ranking, by its id.")],
) -> None:
    """Show what an answer's model learned from, or which rounds learned a record; people by id only."""
    from steersman.rounds import provenance

    found = provenance.about(call.open(), id_)
    call.emit(found, _told(found))


def _told(found: dict[str, Any]) -> str:
    lines = []
    if version := found.get("version"):
        lines.append(
            f"answer {found['answer']} was given by {version}: {found['model'] or 'no model of that name is kept'}"
        )
    for source in found.get("sources", ()):
        lines.append(f"  round {source['round']} learned from {', '.join(source['data']) or 'no data sets'}")
        lines += [f"    {one['id']}  {one['rule']}  by {one['by'] or '(no name)'}" for one in source["records"]]
        lines += [f"    unknown: {text}" for text in source["unknown"]]
    for one in found["learned_by"]:
        word = "learned it" if one["learned"] else "left it out"
        lines.append(f"round {one['round']} {word}{', and was promoted' if one['promoted'] else ''}")
        since = ("", "; deleted since")
        lines += [
            f"    {row['id']}  {row['rule']}  {row.get('why') or 'used'}{since[row.get('deleted', False)]}"
            for row in one["records"]
        ]
    if not found["learned_by"]:
        lines.append("no round has learned it")
    lines += [f"known to {path}" for path in found["models"]]
    return "\n".join(lines if found["stored"] else [*lines, "it is no longer in the store"])


RoundArgument = Annotated[int, typer.Argument(metavar="ROUND", min=1)]


def compare(
    first: RoundArgument,
    second: RoundArgument,
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    stage: Annotated[
        str, typer.Option("--stage", help="Take the models of this stage; default: what each round decided on.")
    ] = "",
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Say whether the second round's model is better than the first's, on the same test prompts."""
    from steersman.rounds.versus import side, versus

    space = open_workspace(workspace, settings)
    verdict, page = versus(space, side(space, first, stage), side(space, second, stage))
    text = "\n".join([*(pair["sentence"] for pair in verdict["pairs"]), f"report: {page}"])
    emit(as_json, {"verdict": verdict, "report": str(page)}, text)


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Feedback records, rankings, answers or ranking tasks."),
    ] = None,
    person: Annotated[
        str | None, typer.Option("--person", help="All that this person said, by the name or id in the store.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
) -> None:
    """Delete what a person said from the store, data sets and training data; say which rounds learned it.

    Models keep what they learned: steersman round --without ID makes the next one without.
    """
    from steersman.rounds import forget as unlearning

    if bool(ids) == (person is not None):
        raise ValueError("forget: expected either ids or --person")
    space = open_workspace(workspace)
    made = unlearning.forget(space, unlearning.find_records(space, ids or (), person))
    emit(as_json, made.to_json(), made.text())


def register(app: typer.Typer) -> None:
    examples = [
        "steersman round",
        "steersman round --preview",
        "steersman round --from base -s round.policy=dpo",
        "steersman round --without 0a1b2c3d-17",
    ]
    add(app, round_, panel=STAGES, examples=examples, name="round", slow=True)
    add(app, compare, panel=STAGES, examples=["steersman compare 1 2", "steersman compare 1 2 --stage sft"], slow=True)
    forgetting = ["steersman forget 0a1b2c3d-17", "steersman forget --person ann"]
    add(app, forget, panel=MODELS, examples=forgetting)
    add(app, lineage, panel=MODELS, examples=["steersman lineage 0a1b2c3d", "steersman lineage 0a1b2c3d-17 --json"])
