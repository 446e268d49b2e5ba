"""The command line. `main` is the console script; framework.py holds what all verbs share, every other file a group of
verbs."""

from __future__ import annotations


def main() -> None:
    """Run `steersman` with the process's arguments."""
    from steersman.cli.framework import run

    run()
