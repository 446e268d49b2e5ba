"""How often somebody may ask: for each name a bucket of requests, which fills again evenly.

Web processes of one server share the table, so that asking at another one brings nothing. A table has a fixed size;
where too many names ask at a time, those that asked longest ago begin anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import math
import mmap
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator

from starlette.types import Scope

_SLOTS, _TRIED = 1 << 14, 8
"""Names in the table, and places where a name may stand."""
_SLOT = struct.Struct("<Qdd")
"""Hash of the name, requests left, and when that was so, by a clock that processes of a machine share."""


class Buckets:
    """`file`: what `shared` made, for several processes; None: for this one alone, whose event loop alone may ask."""

    def __init__(self, file: int | None = None) -> None:
        self._file = file
        self._table = mmap.mmap(-1 if file is None else file, _SLOTS * _SLOT.size)

    def take(self, name: str, most: int) -> int:
        """Takes a request of at most `most` a minute; 0, or the seconds to wait where there is none."""
        hashed = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest()) or 1
        with self._alone():
            now = time.monotonic()
            slots = [(hashed + i) % _SLOTS * _SLOT.size for i in range(_TRIED)]
            held = {place: _SLOT.unpack_from(self._table, place) for place in slots}
            place = next((p for p in slots if held[p][0] == hashed), min(slots, key=lambda p: held[p][2]))
            known, left, at = held[place]
            left = min(float(most), left + max(0.0, now - at) * most / 60) if known == hashed else float(most)
            _SLOT.pack_into(self._table, place, hashed, left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else math.ceil((1 - left) * 60 / most)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._file is None or sys.platform == "win32":  # there no descriptors are handed on: one web process
            yield
            return
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def shared() -> int:
    """A descriptor of a new table without a name, to be inherited; the caller's to close."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_SLOTS * _SLOT.size)
        return os.dup(file.fileno())


def address_of(scope: Scope) -> str:
    """The client's address; of IPv6 the network that one household or machine has."""
    host: str = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    address = getattr(address, "ipv4_mapped", None) or address  # a socket for both kinds says IPv4 so
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
