"""When this server began: a page that sees another time knows that the server was restarted meanwhile."""

from __future__ import annotations

import os

from steersman.artifact.files import now

VARIABLE = "STEERSMAN_STARTED"
"""Set by a parent process for all workers of one server, so that they say the same."""
_own = now()


def started() -> str:
    return os.environ.get(VARIABLE) or _own
