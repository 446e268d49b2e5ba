"""How much a person may ask: requests in a minute, and tokens written on a day.

Requests are counted in a table that the processes of a server share; tokens are in the store, so that a day's sum
outlives it. What another process's answers took counts here within seconds.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from steersman.server import logs
from steersman.server.buckets import Buckets
from steersman.server.errors import ApiError
from steersman.server.people import Person
from steersman.store import NotFound, Store
from steersman.store.credentials import today
from steersman.store.roles import Role, to_role

asking: ContextVar[Person | None] = ContextVar("steersman.asking", default=None)
"""The person whose request runs here."""
visitor: ContextVar[str] = ContextVar("steersman.visitor", default="")
"""Without accounts: tells who asks from others, so that each waits in a line of their own. It proves nothing."""


def by_role(setting: str, name: str) -> dict[Role, int]:
    """A setting such as 'chatter=60, admin=600'. ValueError where it is something else."""
    out = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        word, _, number = part.partition("=")
        if not number.strip().isdecimal() or int(number) < 1:
            raise ValueError(f"{name}: expected ROLE=NUMBER, comma-separated, got {part!r}")
        try:
            out[to_role(word.strip())] = int(number)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return out


class Limits:
    """Used from the event loop only. `requests` a minute and `tokens` a day; a role without a number has no limit."""

    def __init__(
        self, store: Store, requests: Mapping[Role, int], tokens: Mapping[Role, int], buckets: Buckets | None = None
    ) -> None:
        self._store, self._requests, self._tokens = store, requests, tokens
        self._buckets = buckets or Buckets()
        self._spent: dict[str, tuple[str, int]] = {}
        """Person -> day, and tokens of it, as far as this process knows."""
        self._writing = ThreadPoolExecutor(1, "tokens")

    def admit(self, person: Person) -> ApiError | None:
        """Counts a request; the refusal where there were too many."""
        most = self._requests.get(person.role)
        if most is None:
            return None
        wait = self._buckets.take(f"person {person.id}", most)
        if not wait:
            return None
        return ApiError(
            429, f"At most {most} requests a minute for a {person.role.word}; wait {wait} s", retry_after=wait
        )

    def know(self, person_id: str, tokens_today: int) -> None:
        """What the store says was spent today, by every process of the server."""
        day, spent = self._spent.get(person_id, ("", 0))
        self._spent[person_id] = (today(), max(tokens_today, spent if day == today() else 0))

    def check_tokens(self) -> None:
        """ApiError where the person who asks has no tokens left today."""
        person = asking.get()
        most = self._tokens.get(person.role) if person else None
        if person is None or most is None:
            return
        day, spent = self._spent.get(person.id, ("", 0))
        if day == today() and spent >= most:
            now = dt.datetime.now(dt.UTC)
            night = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
            message = f"At most {most} tokens a day are written for a {person.role.word}; the day ends at 00:00 UTC"
            raise ApiError(429, message, code="tokens_used_up", retry_after=math.ceil((night - now).total_seconds()))

    def spend(self, person: Person | None, tokens: int) -> None:
        """Count tokens that were written for a person; the store has them a moment later."""
        if person is None or not person.id or not tokens:
            return
        day, spent = self._spent.get(person.id, ("", 0))
        self._spent[person.id] = (today(), tokens + (spent if day == today() else 0))
        self._writing.submit(self._write, person.id, tokens)

    def _write(self, person_id: str, tokens: int) -> None:
        try:
            self._store.credentials.spent(person_id, tokens)
        except NotFound:  # the person was deleted meanwhile
            pass
        except Exception as error:  # such as a full disk: nobody waits for this
            logs.failed("counting a person's tokens failed", error)

    def close(self) -> None:
        """Wait until the store has everything."""
        self._writing.shutdown()
