"""Who asks: the person of a request. Without accounts everybody is one admin, and nothing is hidden or refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from steersman.server.errors import ApiError
from steersman.store.accounts import User
from steersman.store.roles import Role

SCOPE = "steersman.person"
PROOF = "steersman.proof"
"""Names under which the guard leaves the request's person and what they showed in the ASGI scope."""


@dataclass(frozen=True, slots=True)
class Person:
    """`id` owns chats, votes and labels; '' without accounts."""

    id: str
    name: str
    role: Role

    @property
    def owners(self) -> tuple[str, ...] | None:
        """Owners of the chats that this person may open: the person, for an admin also '' (chats begun before there
        were accounts); None, all chats, where there are no accounts."""
        if not self.id:
            return None
        return (self.id, "") if self.role is Role.ADMIN else (self.id,)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the person showed: a session's token, or a key with these scopes."""

    session: str = ""
    scopes: frozenset[str] | None = None


def person_json(person: Person | User) -> dict[str, str]:
    return {"id": person.id, "name": person.name, "role": person.role.word}


EVERYBODY = Person("", "", Role.ADMIN)
"""Whoever asks a server without accounts."""


async def person_of(request: Request) -> Person:
    """The person of a request. ApiError 401 where the server has accounts and nobody is signed in."""
    person: Person | None = request.scope.get(SCOPE)
    if person is None:
        raise ApiError(401, "Nobody is signed in; expected a session, or a key", code="not_signed_in")
    return person


Who = Annotated[Person, Depends(person_of)]


def needs(role: Role) -> Callable[[Request], Awaitable[None]]:
    """A dependency for what depends on more than the route, whose own role is in `access.NEEDS`: 403 below `role`."""

    async def check(request: Request) -> None:
        person = await person_of(request)
        if person.role < role:
            raise forbidden(person, role)

    return check


def forbidden(person: Person, role: Role) -> ApiError:
    return ApiError(403, f"This needs the role {role.word}, and you are {person.role.word}", code="role_too_low")
