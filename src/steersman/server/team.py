"""A team's accounts as the server has them: the door, its limits, and signing in with a password."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread

from steersman.config.account_settings import AccountsConfig
from steersman.server import passwords
from steersman.server.buckets import Buckets
from steersman.server.door import Door
from steersman.server.errors import ApiError
from steersman.server.quotas import Limits, by_role
from steersman.store import Store
from steersman.store.accounts import User
from steersman.store.schema import utc_now

WINDOW = dt.timedelta(minutes=15)
"""How long a refused sign-in slows down the next."""
MOST_BOTH, MOST_NAME, MOST_ADDRESS = 5, 50, 20
"""Refused sign-ins in that time: of a name from an address, of a name, from an address. Of a name from everywhere many
are let through, so that nobody can lock somebody else out."""
_HASHING, _WAITING = 2, 20
"""Passwords compared at a time, of 64 MiB each, and sign-ins that may wait for that."""
WRONG = "The name or the password is wrong"


@dataclass(frozen=True)
class Team:
    store: Store
    settings: AccountsConfig
    buckets: Buckets = field(default_factory=Buckets)
    """Where requests are counted."""
    limits: Limits = field(init=False)
    door: Door = field(init=False)
    hashing: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_HASHING))

    def __post_init__(self) -> None:
        requests = by_role(self.settings.requests_per_minute, "accounts.requests_per_minute")
        tokens = by_role(self.settings.tokens_per_day, "accounts.tokens_per_day")
        object.__setattr__(self, "limits", Limits(self.store, requests, tokens, self.buckets))
        object.__setattr__(self, "door", Door(self.store, self.limits))

    async def sign_in(self, name: str, password: str, address: str) -> User:
        """ApiError 401 in the same words and after the same time whatever is wrong, 429 after too many of them."""
        if self.hashing.statistics().tasks_waiting > _WAITING:
            raise ApiError(429, "Many people are signing in; try again in a moment", retry_after=2)
        return await to_thread.run_sync(self._sign_in, name, password, address, limiter=self.hashing)

    def _sign_in(self, name: str, password: str, address: str) -> User:
        since, credentials = utc_now() - WINDOW, self.store.credentials
        both, of_name, of_address = credentials.failures(name, address, since)
        if both >= MOST_BOTH or of_name >= MOST_NAME or of_address >= MOST_ADDRESS:
            wait = math.ceil(WINDOW.total_seconds())
            raise ApiError(
                429, "Too many sign-ins failed; wait a quarter of an hour", code="too_many_sign_ins", retry_after=wait
            )
        found = self.store.accounts.password(name)
        right, anew = passwords.verify(found[1] if found else None, password)
        if found is None or not right:
            credentials.failed(name, address, since)
            self.store.audit.refused(found[0] if found else "", address=address)
            raise ApiError(401, WRONG, code="sign_in_refused")
        credentials.forgive(name, address)
        if anew:
            self.store.accounts.rehash(*found, anew)
        return self.store.accounts.user(found[0])
