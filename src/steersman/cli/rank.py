"""`steersman rank`: people rank answers blind in the terminal, or the rule judge stands in for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.framework import PEOPLE, Works, add, emit, say
from steersman.cli.ranking_input import HELP, Said, parse
from steersman.progress import quiet
from steersman.rounds.judging import SIMULATED, fill_store, samples_file, simulate
from steersman.terminal import safe

if TYPE_CHECKING:
    from rich.console import Console

    from steersman.artifact.workspace import Workspace
    from steersman.rounds.labelers import Reliability
    from steersman.store import RankingTask, Store


def show_task(console: Console, task: RankingTask, head: str) -> None:
    """The dialogue and its answers, numbered as the labeler sees them, without a hint of who wrote which."""
    from rich.panel import Panel
    from rich.text import Text

    console.rule(Text(safe(head)))
    for message in task.prompt.messages:
        console.print(Text(f"{message.role}: ", style="bold") + Text(safe(message.spelled)))
    for number, (_, answer) in enumerate(task.presented, 1):
        console.print(Panel(Text(safe(answer) or "(empty)"), title=str(number), title_align="left"))


def _ask(console: Console, k: int) -> Said | str:
    """Ask until the input makes sense. End of input quits."""
    while True:
        console.print(f"order or grades of {k} answers (? for help): ", end="", markup=False)
        console.file.flush()
        line = sys.stdin.readline()
        if not line:
            return "quit"
        try:
            said = parse(line, k)
        except ValueError as error:
            console.print(safe(str(error)), markup=False, highlight=False)
            continue
        if said == "help":
            console.print(HELP, markup=False, highlight=False)
        else:
            return said


def interview(store: Store, round_: int, labeler: str, console: Console, limit: int = 0) -> dict[str, int]:
    """Present tasks to `labeler` until none is left, the limit is reached or they quit: {ranked, skipped}.

    Undo shows the last ranked task again; what is then said replaces the first (the store counts the latest).
    """
    ranked: dict[str, RankingTask] = {}
    counts = {"ranked": 0, "skipped": 0}
    again: RankingTask | None = None
    while again is not None or not limit or len(ranked) < limit:
        task = again or store.next_task(labeler, round_)
        if task is None:
            console.print("nothing left to rank", markup=False)
            break
        again = None
        began = time.monotonic()
        show_task(console, task, f"{len(ranked) + 1}{f', by: {store.objective}' if store.objective else ''}")
        said = _ask(console, len(task.answers))
        if said == "quit":
            break
        if said == "undo":
            again = ranked.pop(next(reversed(ranked))) if ranked else task
            if again is task:
                console.print("nothing to undo in this sitting", markup=False)
        elif said == "skip":
            store.skip_task(task.id, labeler)
            counts["skipped"] += 1
        else:
            assert isinstance(said, Said)
            kept = said.stored(task.order)
            store.add_ranking(
                task.id,
                ranks=kept.ranks,
                grades=kept.grades,
                all_bad=kept.all_bad,
                labeler=labeler,
                seconds=round(time.monotonic() - began, 1),
            )
            ranked[task.id] = task
    return counts | {"ranked": len(ranked)}


def agreement_text(found: Reliability, names: Mapping[str, str]) -> str:
    """The labelers, the most reliable first, and each two of them who judged the same answers; `names` of accounts."""
    from steersman.eval.wording import aligned

    if not found.labelers:
        return "nobody has said anything yet: steersman rank, steersman serve"
    head = ["labeler", "weight", "agrees with the others", "95 %", "labels", "of these overlapping"]
    rows = [
        [
            (names.get(one.name, one.name) or "(no name)") + (" (simulated)" if one.simulated else ""),
            f"{one.weight:.2f}",
            f"{100 * one.accuracy:.0f} %" if one.overlapping else "unknown",
            f"{100 * one.low:.0f} to {100 * one.high:.0f}" if one.overlapping else "",
            str(one.rankings),
            str(one.overlapping),
        ]
        for one in sorted(found.labelers, key=lambda one: (-one.weight, one.name))
    ]
    if not found.overlapping:
        return "\n".join([*aligned([head, *rows]), "nobody judged what another did, so every label counts alike"])
    called = [(names.get(of.a, of.a), names.get(of.b, of.b), of) for of in found.agreements]
    pairs = [[f"{a} and {b}", f"{of.agreed} of {of.pairs} pairs alike"] for a, b, of in called]
    return "\n".join([*aligned([head, *rows]), "", *aligned(pairs)])


def show_agreement(space: Workspace, as_json: bool) -> None:
    from steersman.rounds.export import open_store, reliability_of

    with open_store(space) as store:
        found, names = reliability_of(store), store.accounts.names()
    emit(as_json, found.to_json(), agreement_text(found, names))


def rank(
    call: Works,
    labeler: Annotated[str, typer.Option("--labeler", help="Your name; rankings are kept under it.")] = "",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Let the domain's rule judge rank; it is called simulated.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Stop after this many prompts; 0 goes on.")] = 0,
    round_: Annotated[int, typer.Option("--round", min=0, help="Answers of this round; 0 means the latest.")] = 0,
    agreement: Annotated[
        bool,
        typer.Option("--agreement", help="Show who agrees with whom and how much each labeler counts."),
    ] = False,
) -> None:
    """Rank the sampled answers, blind and in random order.

    Every ranking is stored at once, so quit whenever you like; the same command goes on where you were.
    """
    from rich.console import Console

    from steersman.store import Store

    space = call.open()
    if agreement:
        if labeler or simulated or limit or round_:
            raise ValueError("--agreement: expected no other option of ranking; it is of all that was said")
        show_agreement(space, call.as_json)
        return
    if round_:
        space.check_round(round_)
    number = round_ or space.round
    if labeler == SIMULATED:
        raise ValueError(f"--labeler {SIMULATED}: expected a person's name; for the rule judge say --simulated")
    if not simulated and not labeler:
        import getpass

        labeler = getpass.getuser()
    if not space.has_store:
        samples_file(space, number)  # so that a workspace without answers gets no store either
    # the rule judge judges on the whole
    with Store.open(space.store, None if simulated else space.config.rank.objective) as store:
        fresh = fill_store(space, store, number)
        if fresh:
            say(f"{fresh} prompts are waiting to be ranked")
        result: dict[str, Any]
        if simulated:
            result = {"ranked": simulate(space, store, number, limit), "skipped": 0}
        else:
            quiet()
            result = dict(interview(store, number, labeler, Console(stderr=call.as_json), limit))
        result |= {"round": number, "labeler": SIMULATED if simulated else labeler, "simulated": simulated}
        result["progress"] = store.ranking_progress(number)
    left = result["progress"]
    said = f"ranked {result['ranked']}, skipped {result['skipped']}"
    text = (
        f"of {left['tasks']} prompts, people ranked {left['ranked']} and the rule judge {left['simulated']} (simulated)"
    )
    call.emit(result, f"{said}; {text}")


def register(app: typer.Typer) -> None:
    add(
        app,
        rank,
        panel=PEOPLE,
        slow=True,
        examples=[
            "steersman rank --labeler ann",
            "steersman rank --simulated",
            "steersman rank --labeler ann --limit 20",
            "steersman rank --agreement",
        ],
    )
