"""The command line. `main` is the console script; app.py is the framework, every other file one group of verbs."""

from __future__ import annotations


def main() -> None:
    """Run `steersman` with the process's arguments."""
    from steersman.cli.framework import run

    run()
