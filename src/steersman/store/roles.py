"""Roles of people, each of which may do what the ones before it may."""

from __future__ import annotations

import enum


class Role(enum.IntEnum):
    """Ordered: `person.role >= Role.MANAGER`."""

    CHATTER = 1
    """Own chats and the API."""
    LABELER = 2
    """Tasks of the labeling desk, and own labels."""
    MANAGER = 3
    """Rounds, promotion, agreement between labelers."""
    ADMIN = 4
    """People, their roles, the audit log."""

    @property
    def word(self) -> str:
        """As it is written in the database and in JSON: 'chatter'."""
        return self.name.lower()


ROLES = tuple(role.word for role in Role)


def to_role(word: str) -> Role:
    """The role of that name. ValueError where there is none."""
    if word not in ROLES:
        raise ValueError(f"role: expected one of {', '.join(ROLES)}, got {word[:100]!r}")
    return Role[word.upper()]
