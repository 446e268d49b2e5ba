"""Passwords: hashed by argon2 with its library's parameters, and what one must be."""

from __future__ import annotations

import functools

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

LEAST, MOST = 10, 200
"""Characters of a password."""
_hasher = argon2.PasswordHasher()


@functools.cache
def _nobody() -> str:
    """The hash that is compared where there is no user, so that both take the same time."""
    return _hasher.hash("nobody's password")


def problem(password: str, name: str) -> str:
    """Why this cannot be the password of that person; '' where it can."""
    if not LEAST <= len(password) <= MOST:
        return f"password: expected {LEAST} to {MOST} characters"
    if len(set(password)) < 4 or password.casefold() == name.casefold():
        return "password: expected more than a few characters repeated, and not the name"
    return ""


def hashed(password: str) -> str:
    return _hasher.hash(password)


def verify(stored: str | None, password: str) -> tuple[bool, str]:
    """(whether it is the password, its new hash where the stored one has outdated parameters or '')."""
    try:
        _hasher.verify(stored or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False, ""
    if stored is None:
        return False, ""
    return True, _hasher.hash(password) if _hasher.check_needs_rehash(stored) else ""
