"""`steersman canary`: a candidate model answers a share of new chats, and votes decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.framework import MODELS, Reads, add

if TYPE_CHECKING:
    from steersman.rounds.canary import Standing


def canary_text(found: Standing) -> str:
    """The canary for a terminal: the two models, the votes on each, the interval and what it says."""
    one, votes = found.canary, found.votes
    lines = [f"{one.version} against {one.served}: {100 * one.share:g} % of the chats begun since {one.started}"]
    for name, likes, cast in zip((one.served, one.version), votes.likes, votes.votes, strict=True):
        share = f" ({100 * likes / cast:.1f} %)" if cast else ""
        lines.append(f"  {name}: {likes} of {cast} chats with a vote like it{share}")
    if any(found.api):
        lines.append(f"  answered {found.api[0]} requests of the API and {found.api[1]}, which nobody votes on")
    interval = f"{100 * votes.difference:+.1f} points, 95 % [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    lines.append(f"  difference: {interval}, valid at every look")
    if one.decided:
        lines.append(f"decided {one.decided['time']}: the candidate is {one.decided['word']}")
    else:
        lines.append("undecided: votes do not show a difference yet")
    if one.ended:
        lines.append(f"ended {one.ended}: {one.outcome}")
    elif one.decided and one.decided["word"] == "better":
        lines.append("promote it with: steersman canary promote")
    return "\n".join(lines)


def canary_start(
    call: Reads,
    choice: Annotated[str, typer.Argument(metavar="ROUND[/STAGE]", help="The candidate; its furthest stage if none.")],
    share: Annotated[float, typer.Option("--share", help="Share of new chats, at most 0.9.")] = 0.1,
    force: Annotated[bool, typer.Option("--force", help="Start it whatever its report says.")] = False,
) -> None:
    """Send a share of new chats to a round's model; a running server loads it within seconds.

    A chat stays with its model, and so do users of the API (by `user` or `safety_identifier`, else by how the dialogue
    begins). Votes decide: one a chat, of the first answer that was judged in it.
    """
    from steersman.rounds.canary import read_choice, start

    begun = start(call.open(), *read_choice(choice), share, force)
    text = f"{begun.version} answers {100 * share:g} % of new chats, {begun.served} the others (steersman serve)"
    call.emit({"version": begun.version, "served": begun.served, "share": share, "started": begun.started}, text)


def canary_status(call: Reads) -> None:
    """Votes on the candidate and the served model, the interval of the difference, and what was decided."""
    from steersman.rounds.canary import canaries, look
    from steersman.store import Store

    space, found = call.open(), None
    if canaries(space):
        with Store.open(space.store) as store:  # where nobody has chatted yet there is none
            found = look(space, store)
    if found is None:
        call.emit({"canary": None, "now": None}, "no canary yet: steersman canary start ROUND")
    else:
        call.emit(found.to_json(), canary_text(found))


def canary_stop(call: Reads) -> None:
    """End the canary: new answers are the served model's in every chat."""
    from steersman.rounds.canary import end

    ended = end(call.open(), "stopped")
    call.emit({"version": ended.version, "ended": ended.ended}, f"{ended.version} is no candidate any more")


def canary_promote(
    call: Reads,
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever votes and report say.")] = False,
) -> None:
    """Promote the candidate that votes call better; a running server serves it within seconds."""
    from steersman.rounds.canary import promote
    from steersman.rounds.export import open_store

    space = call.open()
    with open_store(space) as store:
        made = promote(space, store, force)
    call.emit(made.to_json(), f"{made.entry['path']} is now the current model")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Compare a candidate with the served model by people's votes.")
    app.add_typer(group, name="canary", rich_help_panel=MODELS)
    starts = ["steersman canary start 2", "steersman canary start 2/dpo --share 0.3"]
    add(group, canary_start, name="start", panel=MODELS, examples=starts)
    shown = ["steersman canary status", "steersman canary status --json"]
    add(group, canary_status, name="status", panel=MODELS, examples=shown)
    add(group, canary_stop, name="stop", panel=MODELS, examples=["steersman canary stop"])
    promotes = ["steersman canary promote", "steersman canary promote --force"]
    add(group, canary_promote, name="promote", panel=MODELS, examples=promotes)
