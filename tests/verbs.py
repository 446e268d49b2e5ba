"""Verbs of the command line in the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from steersman.cli.framework import build


def run(*args: str | Path, **options: Any) -> Any:
    """The result, whatever the exit code; `options` are of `CliRunner.invoke`."""
    return CliRunner().invoke(build(), [str(arg) for arg in args], **options)


def done(*args: str | Path, code: int = 0, **options: Any) -> Any:
    """The result, of this exit code."""
    result = run(*args, **options)
    assert result.exit_code == code, f"{args}: exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result


def told(*args: str | Path, code: int = 0) -> Any:
    """The one JSON object on stdout."""
    return json.loads(done(*args, "--json", code=code).stdout)


def both(*args: object, code: int = 0) -> tuple[str, str]:
    """stdout and stderr; an exception that is no error of the user's goes through."""
    result = done(*map(str, args), code=code, catch_exceptions=False)
    return result.stdout, result.stderr
