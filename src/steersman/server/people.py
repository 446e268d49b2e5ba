"""Who asks: the person of a request. Without accounts everybody is one admin, and nothing is hidden or refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from steersman.server.errors import ApiError
from steersman.store.roles import Role

SCOPE = "steersman.person"
"""Name under which the guard leaves the request's person in the ASGI scope."""


@dataclass(frozen=True, slots=True)
class Person:
    """`id` owns chats, votes and labels; '' without accounts."""

    id: str
    name: str
    role: Role


EVERYBODY = Person("", "", Role.ADMIN)
"""Whoever asks a server without accounts."""


async def person_of(request: Request) -> Person:
    """The person of a request. ApiError 401 where the server has accounts and nobody is signed in."""
    person: Person | None = request.scope.get(SCOPE)
    if person is None:
        raise ApiError(401, "Nobody is signed in; expected a session's cookie, or 'Authorization: Bearer KEY'")
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
