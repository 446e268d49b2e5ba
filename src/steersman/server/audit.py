"""Dependencies of the routes for accounts, and `audit`, by which any route writes to the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.people import EVERYBODY, SCOPE, Person
from steersman.server.team import Team


async def _team(ctx: Ctx) -> Team:
    team = ctx.team
    if team is None:
        raise ApiError(404, "This server has no accounts; steersman serve --auth has", code="no_accounts")
    return team


Us = Annotated[Team, Depends(_team)]


async def _visitor(request: Request) -> Person | None:
    person: Person | None = request.scope.get(SCOPE, EVERYBODY)
    return person


Visitor = Annotated[Person | None, Depends(_visitor)]
"""The person who asks on a route that is open to all; None: nobody is signed in."""


def audit(ctx: Context, who: Person, action: str, about: str = "", **details: str | int | bool) -> None:
    """Write a line to the audit log: who did what to what. `details` are numbers and names of models or settings, never
    texts that people wrote. Blocks for a short write to the store; does nothing on a server without accounts."""
    if ctx.team is not None:
        ctx.store.audit.add(who.id, action, about, **details)
