"""`steersman promote | rollback | next`: which model is served, guarded by the verdict, and the next round."""

from __future__ import annotations

import functools
import sys
from typing import Annotated

import typer

from steersman.cli.framework import MODELS, Reads, add
from steersman.rounds import gate, registry


def _sure(as_json: bool, doubt: str) -> bool:
    return not as_json and sys.stdin.isatty() and typer.confirm(f"{doubt}. Promote it anyway?", err=True)


def promote(
    call: Reads,
    round_: Annotated[int, typer.Option("--round", min=0, help="Promote this round's model; 0 means the latest.")] = 0,
    stage: Annotated[str, typer.Option("--stage", help="The stage whose model it is, such as sft, ppo or dpo.")] = "",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Promote without asking where there is no evidence, or few test prompts.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the verdict says.")] = False,
) -> None:
    """Make a round's model the current one, unless its report says that it is worse; asks where it is not better.

    The model before it is kept: steersman rollback brings it back.
    """
    space = call.open()
    name = stage or registry.improved()[0].name
    sure = functools.partial(_sure, call.as_json)
    made = gate.promote(space, name, round_ or space.round, anyway=anyway, force=force, sure=sure)
    if not made.changed:
        call.emit(made.to_json(), f"{made.entry['path']} is the current model already")
        return
    forced = f"; forced against: {made.forced_against}" if made.forced_against else ""
    gone = (
        f"; it has learned {made.deleted} records that people deleted (steersman round --without ID makes one without)"
    )
    told = f"{made.entry['path']} is now the current model{forced}{gone if made.deleted else ''}"
    call.emit(made.to_json(), told)


def rollback(call: Reads) -> None:
    """Make the model that was promoted before the current one current again."""
    entry = call.open().rollback()
    call.emit({"current": entry}, f"{entry['path']} (promoted {entry['time']}) is the current model again")


def next_round(call: Reads) -> None:
    """Open the next round, with what people said since.

    Answers that people edited become demonstrations (data set edits-NNN), those of earlier rounds as they stand now;
    rankings of earlier rounds are learned from
    again. Then: steersman run.
    """
    from steersman.rounds.export import open_next

    number, name, edits = open_next(call.open())
    text = f"round {number} is open" + (f"; {edits} edited answers are demonstrations now ({name})" if edits else "")
    call.emit({"round": number, "edits": edits}, f"{text}\nnext: steersman run")


def register(app: typer.Typer) -> None:
    examples = [
        "steersman promote",
        "steersman promote --round 2 --stage sft",
        "steersman promote --stage dpo",
        "steersman promote --anyway",
        "steersman promote --force",
    ]
    add(app, promote, panel=MODELS, examples=examples)
    add(app, rollback, panel=MODELS, examples=["steersman rollback"])
    add(app, next_round, panel=MODELS, examples=["steersman next", "steersman next --json"], name="next")
