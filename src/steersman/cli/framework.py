"""The framework of the command line: common options, one error handler, one way to print a result.

A verb is a plain function that a module's `register(app)` hands to `add`:

    def sft(call: Works, steps: Annotated[int, typer.Option("--steps")] = 0) -> None:
        '''Fine-tune the base model on demonstrations.'''
        from steersman.train import sft as stage  # heavy imports inside the verb
        space = call.open()
        call.emit({"loss": 1.9}, "loss 1.9")

    def register(app: typer.Typer) -> None:
        add(app, sft, panel=STAGES, examples=["steersman sft", "steersman sft --set sft.epochs=1"])

A first parameter `call` stands for the options that many verbs share, of which its class says which; they come after
the verb's own. A verb raises ValueError or OSError for what the user can correct; `add` turns that into one line and
exit code 2.

Why so: decision 1 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import inspect
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
import typer.core

from steersman import __version__, chosen, locks, progress, stopping, terminal
from steersman.artifact import unfinished
from steersman.artifact.workspace import Workspace
from steersman.cli.explained import explain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

USER_ERROR, BUG, INTERRUPTED = 2, 1, 130
BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not name
STAGES, DATA, PEOPLE, MODELS, PROJECT = "The loop", "Data", "People", "Models", "Workspace"
"""Headings under which `steersman --help` lists verbs."""
MODULES = (
    *("demo", "project", "trust", "data", "cold", "stages", "plan", "search", "trials", "background", "round_verbs"),
    *("corpus", "tokenizers", "document_index", "base_models", "scaling", "task_models", "rank", "desk_verbs", "talk"),
    *("users", "eval_reward", "bench", "long_context", "compare_answers", "promotion", "canaries", "export_model"),
    *("store", "status", "doctor"),
)
"""Files of this package that register verbs, in the order of `steersman --help`."""
USAGE: Any = typer.BadParameter.__base__
"""What typer raises for options and arguments that do not fit; it does not export the name."""

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
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Throw away what an unfinished run has done, and begin anew.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait for another command that works on the same; default: say which, and end.")
]


def open_workspace(workspace: Path | None, settings: Sequence[str] | None = None) -> Workspace:
    """The workspace of the common options, overrides applied. Raises ValueError where there is none."""
    return Workspace.open(workspace, tuple(settings or ()), tell=say)


class Call:
    """The values of options that many verbs share."""

    OPTIONS: ClassVar[dict[str, tuple[Any, Any]]] = {
        "workspace": (WorkspaceOption, None),
        "settings": (SetOption, None),
        "as_json": (JsonOption, False),
        "fresh": (FreshOption, False),
        "wait": (WaitOption, False),
    }
    """The parameter of each option, as typer reads it, and its default."""
    TAKES: ClassVar[Sequence[str]] = ()
    """Which of them the verbs of a class have."""

    def __init__(self, *, workspace: Path | None = None, settings: list[str] | None = None, **flags: bool) -> None:
        self.workspace, self.settings = workspace, settings
        self.as_json, self.fresh, self.wait = (flags.get(name, False) for name in ("as_json", "fresh", "wait"))

    def open(self) -> Workspace:
        """As `open_workspace`."""
        return open_workspace(self.workspace, self.settings)

    def emit(self, data: Mapping[str, Any], text: RenderableType) -> None:
        """As the function `emit`."""
        emit(self.as_json, data, text)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        keyword = inspect.Parameter.KEYWORD_ONLY
        options = ((name, *cls.OPTIONS[name]) for name in cls.TAKES)
        return [inspect.Parameter(name, keyword, default=value, annotation=kind) for name, kind, value in options]


class Reads(Call):
    """Of a verb that looks at a workspace, or changes what settings do not matter for."""

    TAKES = ("workspace", "as_json")


class Works(Call):
    """Of a verb for which settings matter."""

    TAKES = ("workspace", "settings", "as_json")


class Makes(Call):
    """Of a verb that makes an artifact, which another command may hold or an unfinished run have begun."""

    TAKES = ("workspace", "settings", "as_json", "fresh", "wait")


def emit(as_json: bool, data: Mapping[str, Any], text: RenderableType) -> None:
    """The verb's result on stdout: `data` as one JSON object, or `text` (a string or a rich renderable) for people."""
    if as_json:
        print(terminal.dumps(data))
    elif isinstance(text, str):
        print(terminal.safe(text))
    else:
        from rich.console import Console

        # A pipe has no width of its own; 80 columns would cut names that people look for.
        console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False, highlight=False)
        with console.capture() as shown:
            show(console, text)
        print(shown.get(), end="")


def show(console: Console, text: RenderableType) -> None:
    """Print what may hold data: no markup or control sequence in it is obeyed, and no name in a table is cut."""
    from rich.console import Group
    from rich.segment import Segment, Segments
    from rich.table import Table

    for table in (
        part for part in (text.renderables if isinstance(text, Group) else [text]) if isinstance(part, Table)
    ):
        for column in table.columns:
            column.overflow = "fold"  # a name that ends in … cannot be typed
    lines = console.render_lines(text, pad=False, new_lines=True)
    parts = [s if s.control else Segment(terminal.safe(s.text), s.style) for line in lines for s in line]
    console.print(Segments(parts), end="")


def free_file(path: Path, replace: bool) -> Path:
    """A file that the user named for the verb to write. Raises ValueError where that would overwrite another.

    What is no plain file, such as /dev/null or a pipe, loses nothing.
    """
    if path.is_dir():
        raise ValueError(f"{path}: expected the name of a file, found a folder")
    if path.is_file() and not replace:
        raise ValueError(f"{path} exists already; expected the name of a new file, or --replace to overwrite it")
    return path


def say(text: str) -> None:
    """A remark to the person, on stderr, so that stdout holds results only."""
    progress.note(text)


def fail(error: BaseException, as_json: bool) -> int:
    """Say what went wrong (of several processes, the first that fails does); returns the exit code."""
    if isinstance(error, stopping.Stop):
        again = shlex.join(["steersman", *sys.argv[1:]])
        line = f"interrupted ({error}): {'; '.join([*error.where, 'to go on, run the same command again'])}: {again}"
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; run the same command again to continue", INTERRUPTED
    elif (told := explain(error)) is not None:
        line, code = f"error: {told}", USER_ERROR
    else:
        line, code = (
            f"bug: {type(error).__name__}: {error}; this is a fault of steersman, please report it with the traceback",
            BUG,
        )
    parallel = sys.modules.get("steersman.distributed.parallel")
    if parallel is not None and not parallel.may_speak(expected=code != BUG):
        return code
    if code == BUG or os.environ.get("STEERSMAN_DEBUG") == "1":
        say("".join(traceback.format_exception(error)).rstrip())
    say(line)
    if as_json:
        print(terminal.dumps({"error": line, "exit_code": code}))
    return code


def guard(verb: Callable[..., None], name: str, slow: bool) -> Callable[..., None]:
    """`verb` with the one error handler around it; sets what its options --json, --fresh and --wait ask for.

    A parameter `call` is replaced by the options that its class names.
    """
    own = list(inspect.signature(verb, eval_str=True).parameters.values())
    kind = own.pop(0).annotation if own and own[0].name == "call" else None

    @functools.wraps(verb)
    def guarded(*args: Any, **kwargs: Any) -> None:
        as_json = bool(kwargs.get("as_json", False))
        try:
            with _options(kwargs), progress.heartbeat(name):
                if slow and "LOCAL_RANK" not in os.environ:
                    say(f"{name}: starting")
                if kind is not None:
                    kwargs["call"] = kind(**{name: kwargs.pop(name) for name in kind.TAKES})
                verb(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            # The reader of a pipe left (`| head`); point stdout elsewhere so that the exit does not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(fail(error, as_json)) from None

    if kind is not None:
        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *kind.parameters()]
        guarded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        guarded.__annotations__ = {p.name: p.annotation for p in parameters}
    return guarded


@contextlib.contextmanager
def _options(given: Mapping[str, Any]) -> Iterator[None]:
    chosen: tuple[tuple[ContextVar[Any], Any], ...] = (
        (progress.plain, bool(given.get("as_json"))),
        (unfinished.fresh, bool(given.get("fresh"))),
        (locks.waits, given.get("wait")),
        (locks.tell, say),
    )
    tokens = [(variable, variable.set(value)) for variable, value in chosen]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def add(
    app: typer.Typer,
    verb: Callable[..., None],
    *,
    panel: str,
    examples: Sequence[str],
    name: str | None = None,
    slow: bool = False,
) -> None:
    """Register `verb` under its (or the given) name, guarded, with examples at the end of its --help.

    A `slow` one says at once that it works, before it imports what takes seconds.
    """
    name = name or verb.__name__.replace("_", "-")
    shown = [example.replace("[", "\\[") for example in examples]
    epilog = "\n\n".join(["[bold]Examples[/bold]", *shown])
    app.command(name, epilog=epilog, rich_help_panel=panel)(guard(verb, name, slow))


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


class Verbs(typer.core.TyperGroup):
    """All verbs. Options that do not fit are told in JSON where --json is among them, as any other error is."""

    as_json = False

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        self.as_json = "--json" in (sys.argv[1:] if args is None else args)
        return super().main(args, *more, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except USAGE as error:
            groups = ((name, getattr(verb, "commands", {})) for name, verb in self.commands.items())
            if inside := [f"{name} {args[0]}" for name, verbs in groups if args[0] in verbs]:
                said = " or ".join(f"'{verb}'" for verb in inside)
                raise type(error)(f"No such command '{args[0]}'. Did you mean {said}?", ctx) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except USAGE as error:
            if not self.as_json:
                raise
            at = getattr(getattr(error, "ctx", None), "command_path", "steersman")
            told = ValueError(
                f"{' '.join(error.format_message().split()).removesuffix('.')} ({at} --help says what it takes)"
            )
            raise typer.Exit(fail(told, True)) from None


def build() -> typer.Typer:
    """The whole command line. Modules are imported, but nothing heavier than typer with them."""
    app = typer.Typer(
        cls=Verbs, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    app.callback()(_top)
    for module in MODULES:
        if importlib.util.find_spec(f"steersman.cli.{module}") is not None:
            importlib.import_module(f"steersman.cli.{module}").register(app)
    return app


def _command_line() -> None:
    """Run the command that the process's arguments name; raises SystemExit with its code."""
    try:
        build()()
    except SystemExit as end:
        # typer's answer to a signal outside of a guarded verb is 130 without a word, whichever it was
        stop = getattr(end.__context__, "__cause__", None)
        if isinstance(stop, KeyboardInterrupt):
            raise stop from None
        raise


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A thread of a library ended, such as the writer of TensorBoard's files on a full disk; the work goes on."""
    if failure.exc_value is not None:
        say(f"warning: {explain(failure.exc_value) or repr(failure.exc_value)}")


def run() -> None:
    """Entry point of the process."""
    from steersman.cli import processes

    stopping.install()
    chosen.use()
    threading.excepthook = _thread_failed
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that cannot show a character is no reason to stop
    try:
        if processes.launched():
            processes.run(_command_line)
        else:
            _command_line()
    except (KeyboardInterrupt, RecursionError, MemoryError) as error:
        sys.exit(fail(error, False))
    finally:
        gc.freeze()  # the interpreter's last collection would look through every module: a second without a word
