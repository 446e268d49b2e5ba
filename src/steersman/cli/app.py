"""The framework of the command line: common options, one error handler, one way to print a result.

A verb is a plain function that a module's `register(app)` hands to `add`:

    def sft(workspace: WorkspaceOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
        '''Fine-tune the base model on demonstrations.'''
        from steersman.train import sft as stage          # heavy imports inside the verb
        space = open_workspace(workspace, settings)
        emit(as_json, {"loss": 1.9}, "loss 1.9")

    def register(app: typer.Typer) -> None:
        add(app, sft, panel=STAGES, examples=["steersman sft", "steersman sft --set sft.epochs=1"])

It raises ValueError or OSError for what the user can put right; `add` turns that into one line and exit code 2.
"""

from __future__ import annotations

import errno
import functools
import importlib
import importlib.util
import json
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import __version__, progress
from steersman.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import RenderableType

USER_ERROR, BUG, INTERRUPTED = 2, 1, 130
STAGES, DATA, PEOPLE, MODELS, PROJECT = "The loop", "Data", "People", "Models", "Workspace"
"""Headings under which `steersman --help` lists verbs."""
MODULES = (
    *("demo", "project", "data", "stages", "policies", "plan", "search"),
    *("rank", "talk", "promotion", "status", "doctor"),
)
"""Files of this package that register verbs, in the order of `steersman --help`."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", metavar="DIR", help="The workspace; default: the nearest at or above this folder."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="SECTION.KEY=VALUE", help="Override the configuration for this run; may be repeated."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON object on stdout; progress goes to stderr.")
]


def open_workspace(workspace: Path | None, settings: Sequence[str] | None = None) -> Workspace:
    """The workspace of the common options, overrides applied. Raises ValueError where there is none."""
    return Workspace.open(workspace, tuple(settings or ()))


def emit(as_json: bool, data: Mapping[str, Any], text: RenderableType) -> None:
    """The verb's result on stdout: `data` as one JSON object, or `text` (a string or a rich renderable) for people."""
    if as_json:
        print(json.dumps(data, ensure_ascii=False, default=str))
    elif isinstance(text, str):
        print(text)
    else:
        from rich.console import Console

        # A pipe has no width of its own; 80 columns would cut names that people look for.
        Console(width=None if sys.stdout.isatty() else 160).print(text, highlight=False)


def say(text: str) -> None:
    """A remark to the person, on stderr, so that stdout holds results only."""
    print(text, file=sys.stderr, flush=True)


def explain(error: BaseException) -> str | None:
    """One line for an error that the user can put right; None for everything else, which is a bug of ours."""
    cause = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's error
    text = " ".join(str(error).split())
    full = isinstance(error, OSError) and error.errno in FULL_DISK
    if full or "No space left on device" in text or "database or disk is full" in text:
        where = getattr(error, "filename", None) or "the disk"
        return f"{where}: no space left; nothing half-written was kept. Free some space and run the same command again"
    if isinstance(cause, sqlite3.Error):
        return f"store.db: {cause}; expected a database that this version can read and write"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{error.filename}: no such file or folder"
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: permission denied; expected a place that you may read and write"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    # FloatingPointError is how a stage says that training diverged
    told = isinstance(error, ValueError | OSError | FloatingPointError)
    return text or type(error).__name__ if told else None


def fail(error: BaseException, as_json: bool) -> int:
    """Say what went wrong (of several processes, the first that fails does); returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; run the same command again to continue", INTERRUPTED
    elif (told := explain(error)) is not None:
        line, code = f"error: {told}", USER_ERROR
    else:
        line, code = (
            f"bug: {type(error).__name__}: {error}; this is a fault of steersman, please report it with the traceback",
            BUG,
        )
    parallel = sys.modules.get("steersman.models.parallel")
    if parallel is not None and not parallel.may_speak(expected=code != BUG):
        return code
    if code == BUG or os.environ.get("STEERSMAN_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    say(line)
    if as_json:
        print(json.dumps({"error": line, "exit_code": code}, ensure_ascii=False))
    return code


def guard(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` with the one error handler around it; --json also makes its progress plain lines."""

    @functools.wraps(verb)
    def guarded(*args: Any, **kwargs: Any) -> None:
        as_json = bool(kwargs.get("as_json", False))
        token = progress.plain.set(as_json)
        try:
            verb(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            # The reader of a pipe left (`| head`); point stdout elsewhere so that the exit does not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BUG) from None
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(fail(error, as_json)) from None
        finally:
            progress.plain.reset(token)

    return guarded


def add(
    app: typer.Typer, verb: Callable[..., None], *, panel: str, examples: Sequence[str], name: str | None = None
) -> None:
    """Register `verb` under its (or the given) name, guarded, with examples at the end of its --help."""
    shown = [example.replace("[", "\\[") for example in examples]
    epilog = "\n\n".join(["[bold]Examples[/bold]", *shown])
    app.command(name or verb.__name__.replace("_", "-"), epilog=epilog, rich_help_panel=panel)(guard(verb))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"steersman {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build your own ChatGPT and keep steering it by what people tell it.

    Start with: steersman init my-assistant
    """


def build() -> typer.Typer:
    """The whole command line. Modules are imported, but nothing heavier than typer with them."""
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    app.callback()(_top)
    for module in MODULES:
        if importlib.util.find_spec(f"steersman.cli.{module}") is not None:
            importlib.import_module(f"steersman.cli.{module}").register(app)
    return app


def run() -> None:
    """Entry point of the process."""
    from steersman.cli import processes

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that cannot show a character is no reason to stop
    try:
        if processes.launched():
            processes.run(build())
        else:
            build()()
    except KeyboardInterrupt as error:
        sys.exit(fail(error, False))
