"""Whether who asked may still ask, while an answer to them goes on.

A session that ends, a key that is revoked or expires, an account that is disabled or deleted, here or by another
process: what they are being sent ends within about a second, and so does the computing of it.

Why so: decision 126 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from anyio import to_thread

from steersman.server import logs
from steersman.server.errors import ApiError
from steersman.server.people import Person
from steersman.store import DiskError, Store, Unreachable

LOOK_SECONDS = 1.0
End = Callable[[ApiError], object]
"""Ends what is watched."""
AUDITED = "answer broken off"


@dataclass(frozen=True)
class Admitted:
    """By what the request that runs here was admitted."""

    standing: Standing
    name: str
    """The digest of a session's token or a key, or a person's id."""
    person: Person
    of_key: bool


showing: ContextVar[Admitted | None] = ContextVar("steersman.showing", default=None)


@contextlib.contextmanager
def while_admitted(end: End) -> Iterator[None]:
    """Calls `end` if, while the block runs, what its request was admitted by ceases to hold."""
    by = showing.get()
    with contextlib.nullcontext() if by is None else by.standing.watch(by, end):
        yield


def by_account() -> None:
    """From here on it is enough that the person's account holds: the session may end."""
    by = showing.get()
    if by is not None:
        showing.set(dataclasses.replace(by, name=by.person.id))


class Standing:
    """Used from the event loop only. The store is asked only while something is watched."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: dict[End, Admitted] = {}
        self._looking: asyncio.Task[None] | None = None
        self.count: Callable[[], object] = lambda: None
        """Called for each that was ended."""

    @contextlib.contextmanager
    def watch(self, by: Admitted, end: End) -> Iterator[None]:
        self._watched[end] = by
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._watched.pop(end, None)

    async def _look(self) -> None:
        while self._watched:
            await asyncio.sleep(LOOK_SECONDS)
            asked = {by.name for by in self._watched.values()}
            try:
                held = await to_thread.run_sync(self._store.credentials.holding, asked)
                gone = [(end, by) for end, by in self._watched.items() if by.name in asked - held]
                for end, by in gone:
                    del self._watched[end]  # a reader who reads nothing may take a while to notice
                    end(_refusal(by))
                    self.count()
                for person, number in Counter(by.person.id for _, by in gone).items():
                    await to_thread.run_sync(partial(self._store.audit.add, person, AUDITED, number=number))
            except (DiskError, Unreachable):  # whoever asks anew is told; who is being answered goes on
                continue
            except Exception as error:
                logs.failed("finding out who may still ask failed", error)


def _refusal(by: Admitted) -> ApiError:
    if by.of_key:
        return ApiError(401, "The API key was revoked or has expired, or its account may no longer sign in")
    return ApiError(401, "The session has ended, or its account may no longer sign in", code="not_signed_in")
