"""Roles by what an OpenID Connect provider says of a person: a claim of groups or roles, and a table of ours.

The claim is asked again at each sign-in, so a role that was given here by hand lasts until the next one. Who has none
of the named groups has `accounts.oidc_role`, and where that is empty is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steersman.config.account_settings import ROLES, AccountsConfig
from steersman.server import logs
from steersman.store import Store, StoreError
from steersman.store.accounts import User
from steersman.store.roles import Role, to_role

_NAME = "accounts.oidc_groups"


def table(settings: AccountsConfig) -> dict[str, Role]:
    """Group -> role, of a text such as 'desk-leads=manager; it=admin'. ValueError for anything else."""
    found = {}
    for entry in filter(str.strip, settings.oidc_groups.split(";")):
        group, sign, role = entry.rpartition("=")
        if not sign or not group.strip() or role.strip() not in ROLES:
            raise ValueError(f"{_NAME}: expected GROUP=ROLE with a role of {', '.join(ROLES)}, got {entry[:200]!r}")
        if group.strip() in found:
            raise ValueError(f"{_NAME}: expected each group once, got {group.strip()[:200]!r} twice")
        found[group.strip()] = to_role(role.strip())
    if bool(found) != bool(settings.oidc_claim):
        raise ValueError(f"{_NAME} and accounts.oidc_claim: expected both or none")
    return found


class NoGroup(StoreError):
    """The provider names no group of the person that has a role; `who`: the user, '' for one who is not known."""

    def __init__(self, who: str) -> None:
        super().__init__("None of the groups that the provider names has a role here")
        self.who = who


def role_for(settings: AccountsConfig, claims: Mapping[str, Any]) -> Role | None:
    """The highest role of the person's groups, else `oidc_role`; None: the person is to be refused."""
    groups = _claim(claims, settings.oidc_claim) if settings.oidc_claim else ()
    groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    by_group = table(settings)
    roles = [by_group[group] for group in groups if isinstance(group, str) and group in by_group]
    return max(roles, default=to_role(settings.oidc_role) if settings.oidc_role else None)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or where 'a.b' names none, b of a."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def tell_missing(settings: AccountsConfig, claims: Mapping[str, Any]) -> None:
    """Log once that the provider's token has no such claim, with the names of those that it has."""
    if _claim(claims, settings.oidc_claim) is None and settings not in _told:
        _told.add(settings)
        named = ", ".join(sorted(ascii(name)[1:-1][:100] for name in claims)[:50])
        logs.log.warning(
            "accounts.oidc_claim: the provider's token has no claim '%s', so %s gives no role, and admins who sign in "
            "may lose theirs; its claims are %s. Some providers leave it out where a person has no group, some name "
            "groups only where accounts.oidc_scope asks for them",
            settings.oidc_claim,
            _NAME,
            named,
        )


_told: set[AccountsConfig] = set()


def role_without_groups(store: Store, subject: str) -> Role:
    """The role of the last admin, who must be able to mend the table; NoGroup for everybody else."""
    known = store.accounts.of_subject(subject)
    if known is None or known.disabled or not store.accounts.is_last_admin(known.id):
        raise NoGroup(known.id if known is not None else "")
    store.audit.add("", "role kept", known.id, role=known.role.word, how="oidc")
    return known.role


def taken_over(store: Store, user: User, role: Role) -> User:
    """The user with the role that the provider's groups give now, which the log says.

    The last admin keeps that role: somebody must be able to mend the table.
    """
    if user.role == role:
        return user
    try:
        changed = store.accounts.set_role(user.id, role)
    except StoreError:
        store.audit.add("", "role kept", user.id, role=user.role.word, how="oidc")
        return user
    store.audit.add("", "role changed", user.id, before=user.role.word, after=role.word, how="oidc")
    return changed
