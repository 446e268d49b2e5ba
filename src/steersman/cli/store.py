"""`steersman store backup | restore | migrate | check`: the upkeep of the database of people's words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.framework import PEOPLE, Reads, add, say


def _of_rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in rows.items() if n) or "nothing"


def backup(
    call: Reads,
    target: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: backups/store-TIME.db.")] = None,
) -> None:
    """Write everything that people said to one SQLite file, while servers go on writing.

    It is the same file from SQLite and from PostgreSQL, and either can be filled with it. Images lie in media/.
    """
    from steersman.store import upkeep

    space = call.open()
    file = target or upkeep.new_backup(space.root)
    rows = upkeep.backup(space.store, file)
    call.emit({"file": str(file), "rows": rows}, f"{file}: {_of_rows(rows)}")


def restore(
    call: Reads,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `steersman store backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let what the store holds go; it is backed up first.")
    ] = False,
) -> None:
    """Fill the store with what a backup holds: all of it or, on an error, nothing.

    Also the way from SQLite to PostgreSQL: back up, set store.url, restore.
    """
    from steersman.store import upkeep

    space = call.open()
    rows, kept = upkeep.restore(space.store, file, upkeep.new_backup(space.root) if replace else None)
    if kept:
        say(f"what the store held before: {kept}")
    call.emit({"rows": rows, "before": str(kept) if kept else None}, f"{space.store_shown}: {_of_rows(rows)}")


def migrate(
    call: Reads, dry_run: Annotated[bool, typer.Option("--dry-run", help="Try it, and take it back.")] = False
) -> None:
    """Bring the store's schema to this version's, with a backup made before.

    A file is also migrated when it is opened. One by URL is not: other servers may run the version before.
    """
    from steersman.store import upkeep

    space = call.open()
    made = upkeep.migrate(space.store, space.root, keep=not dry_run)
    data: dict[str, Any] = {"from": made.before, "to": made.after, "steps": [step.version for step in made.steps]}
    data |= {"dry_run": dry_run, "backup": str(made.backup) if made.backup else None}
    lines = [f"{step.version}  {step.does}" for step in made.steps]
    if not made.steps:
        lines = [f"{space.store_shown}: schema {made.after}, nothing to do"]
    elif dry_run:
        lines.append(f"{space.store_shown}: schema {made.before or 'none'} would be {made.after}; tried and taken back")
    else:
        lines.append(f"{space.store_shown}: schema {made.before or 'none'} is {made.after} now")
        lines += [f"as it was before: {made.backup}"] if made.backup else []
    call.emit(data, "\n".join(lines))


def check(call: Reads) -> None:
    """Look whether the database is whole and fits together; exit code 1 if not."""
    from steersman.store import upkeep

    space = call.open()
    found = upkeep.check(space.store)
    text = "\n".join([f"{_of_rows(found.rows)}; {found.bytes / 1e6:.1f} MB, schema {found.schema}", *found.problems])
    call.emit(found.to_json(), f"{space.store_shown}: {text}")
    if found.problems:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Back up, restore, migrate and check what people said.")
    app.add_typer(group, name="store", rich_help_panel=PEOPLE)
    add(group, backup, panel=PEOPLE, examples=["steersman store backup", "steersman store backup /safe/desk.db"])
    restores = ["steersman store restore backups/store-20260131-093000.db", "steersman store restore desk.db --replace"]
    add(group, restore, panel=PEOPLE, examples=restores)
    add(group, migrate, panel=PEOPLE, examples=["steersman store migrate --dry-run", "steersman store migrate"])
    add(group, check, panel=PEOPLE, examples=["steersman store check"])
