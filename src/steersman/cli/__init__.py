"""The command line. `main` is the console script; framework.py holds what all verbs share, every other file a group of
verbs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `steersman` with the process's arguments."""
    try:
        from steersman.cli.framework import run

        run()
    except KeyboardInterrupt:  # in the first second, while what every verb needs is imported
        print("interrupted; nothing was begun", file=sys.stderr)
        sys.exit(130)
