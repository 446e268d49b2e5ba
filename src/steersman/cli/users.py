"""`steersman users`: the people of `serve --auth`, from the command line."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.workspace import Workspace
from steersman.cli.framework import PEOPLE, Reads, add, say

if TYPE_CHECKING:
    from steersman.config import Config
    from steersman.server.buckets import Buckets
    from steersman.server.reach import Reach
    from steersman.server.team import Team
    from steersman.store import Store
    from steersman.store.accounts import User

OIDC_SECRET = "STEERSMAN_OIDC_SECRET"
NameChoice = Annotated[str, typer.Argument(metavar="NAME", help="The person's name; case does not matter.")]
RoleChoice = Annotated[str, typer.Option("--role", help="chatter, labeler, manager or admin.")]


def team_of(config: Config, store: Store, reach: Reach, buckets: Buckets) -> Team | None:
    """The accounts of `serve --auth`, or None. ValueError where nobody could sign in."""
    if not config.serve.auth:
        return None
    from steersman.server.oidc_api import check_settings
    from steersman.server.team import Team
    from steersman.store.roles import Role

    secret = os.environ.get(OIDC_SECRET) or config.accounts.oidc_client_secret
    team = Team(store, dataclasses.replace(config.accounts, oidc_client_secret=secret), buckets)
    check_settings(team)
    if not any(user.role is Role.ADMIN and not user.disabled for user in store.accounts.users()):
        raise ValueError("serve --auth: there is no admin yet; make one: steersman users add NAME --role admin")
    if reach.beyond and reach.scheme == "http" and not reach.trusted_proxies:
        say("passwords and sessions are sent as they are: --certfile and --keyfile, or a proxy with TLS, protect them")
    return team


def _store(space: Workspace) -> Store:
    from steersman.store import Store

    return Store.open(space.store)


def _link(space: Workspace, token: str) -> str:
    """Where the invitation is accepted. The token is behind '#', which no server and no proxy is sent."""
    serve = space.config.serve
    scheme, host = "https" if serve.certfile else "http", f"[{serve.host}]" if ":" in serve.host else serve.host
    base = space.config.accounts.public_url.rstrip("/") or f"{scheme}://{host}:{serve.port}{serve.root_path}"
    return f"{base}/login#invitation={token}"


def _invited(space: Workspace, token: str) -> str:
    hours = space.config.accounts.invitation_hours
    return f"{_link(space, token)}\n(works once, for {hours} hours; behind another address put its beginning in place)"


def _json(user: User) -> dict[str, Any]:
    told = {"id": user.id, "name": user.name, "role": user.role.word}
    return {**told, "disabled": user.disabled, "joined": user.joined, "created": user.created}


def users_add(call: Reads, name: NameChoice, role: RoleChoice = "chatter") -> None:
    """Add a person; prints the link by which they choose a password."""
    from steersman.store.roles import to_role

    space = call.open()
    with _store(space) as store:
        user = store.accounts.add(name, to_role(role))
        store.audit.add("", "user added", user.id, role=role)
        hours = space.config.accounts.invitation_hours
        token = store.accounts.invite(user.role, by="", user_id=user.id, hours=hours)
    call.emit({**_json(user), "link": _link(space, token)}, f"{user.name}, {role}: {_invited(space, token)}")


def users_list(call: Reads) -> None:
    """Everybody, with roles."""
    with _store(call.open()) as store:
        users = store.accounts.users()
    lines = [f"{user.name:24} {user.role.word:8} {_state(user)}".rstrip() for user in users]
    call.emit(
        {"users": [_json(user) for user in users]},
        "\n".join(lines) or "nobody: steersman users add NAME --role admin",
    )


def _state(user: User) -> str:
    return "disabled" if user.disabled else "" if user.joined else "invited"


def users_role(call: Reads, name: NameChoice, role: RoleChoice) -> None:
    """Give somebody another role."""
    from steersman.store.roles import to_role

    with _store(call.open()) as store:
        before = store.accounts.named(name)
        user = store.accounts.set_role(before.id, to_role(role))
        store.audit.add("", "role changed", user.id, before=before.role.word, after=role)
    call.emit(_json(user), f"{user.name}: {before.role.word} -> {role}")


def users_disable(
    call: Reads, name: NameChoice, enable: Annotated[bool, typer.Option("--enable", help="Let them in again.")] = False
) -> None:
    """Let somebody in no more: sessions end, keys are refused. What they did stays."""
    with _store(call.open()) as store:
        user = store.accounts.set_disabled(store.accounts.named(name).id, not enable)
        store.audit.add("", "user enabled" if enable else "user disabled", user.id)
    call.emit(_json(user), f"{user.name}: {'enabled' if enable else 'disabled'}")


def users_reset(
    call: Reads,
    name: NameChoice,
    keys: Annotated[bool, typer.Option("--keys", help="Revoke the API keys too.")] = False,
) -> None:
    """End somebody's password and sessions; prints the link by which they choose another. API keys go on working."""
    space = call.open()
    with _store(space) as store:
        user = store.accounts.named(name)
        revoked = store.credentials.usable(user.id, revoke=True) if keys else 0
        token = store.accounts.reset(user.id, by="", hours=space.config.accounts.invitation_hours)
        store.audit.add("", "password reset", user.id, **({"keys_revoked": revoked} if revoked else {}))
        left = store.credentials.usable(user.id)
    told = f"{user.name}: {_invited(space, token)}" + (f"\n{revoked} API keys were revoked" if revoked else "")
    told += f"\nAPI keys that go on working: {left}; --keys revokes them too" if left else ""
    counts = {"keys_revoked": revoked, "keys_left": left}
    call.emit({**_json(user), "link": _link(space, token), **counts}, told)


def users_invite(call: Reads, role: RoleChoice = "chatter") -> None:
    """Print a link for whoever has it, who chooses a name too."""
    from steersman.store.roles import to_role

    space = call.open()
    with _store(space) as store:
        token = store.accounts.invite(to_role(role), by="", hours=space.config.accounts.invitation_hours)
        store.audit.add("", "invited", role=role)
    call.emit({"role": role, "link": _link(space, token)}, f"{role}: {_invited(space, token)}")


def users_keys(
    call: Reads,
    name: NameChoice,
    revoke: Annotated[str, typer.Option("--revoke", metavar="PREFIX", help="Revoke the key that begins so.")] = "",
) -> None:
    """Somebody's API keys, and --revoke; people make keys themselves, on the page."""
    with _store(call.open()) as store:
        user = store.accounts.named(name)
        if revoke:
            found = [key for key in store.credentials.keys(user.id) if key.prefix == revoke]
            if not found:
                raise ValueError(f"--revoke: {user.name} has no key that begins with {revoke!r}")
            store.credentials.revoke(found[0].id, user.id)
            store.audit.add("", "key revoked", revoke, of=user.id)
        keys = store.credentials.keys(user.id)
    lines = [f"{key.prefix}...  {' '.join(key.scopes):24} used {key.used or 'never'}  {key.name}" for key in keys]
    call.emit({"keys": [dataclasses.asdict(key) for key in keys]}, "\n".join(lines) or f"{user.name} has no keys")


def users_export(
    call: Reads,
    name: NameChoice,
    target: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: exports/NAME.zip.")] = None,
) -> None:
    """Write everything that somebody owns to a ZIP: chats, feedback, labels, keys' names, log entries, images."""
    space = call.open()
    with _store(space) as store:
        user = store.accounts.named(name)
        plain = re.sub(r"[^\w-]+", "_", user.name)
        file = target or space.root / "exports" / f"{plain}.zip"
        if file.exists():
            raise ValueError(f"{file} exists already; expected the name of a new file")
        file.parent.mkdir(parents=True, exist_ok=True)
        held = store.owned.export(user.id, file, space.root)
        store.audit.add("", "exported", user.id)
    told = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in held.items())
    call.emit({"file": str(file), "held": held}, f"{file}: {told or 'nothing'}")


def users_delete(
    call: Reads,
    name: NameChoice,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete it for good, and with it feedback that no round has learned.")
    ] = False,
) -> None:
    """Delete somebody with all that they own; without --yes say what that is.

    Models keep what they learned: steersman round --without ID makes the next one without.
    """
    from steersman.rounds import leaving

    space = call.open()
    with _store(space) as store:
        user = store.accounts.named(name)
        found = leaving.look(space, store, user.id)
        if not yes:
            has = "; ".join(found.text().split("\n"))
            raise ValueError(f"{user.name} has {has}; expected --yes, if that is to go for good")
        found = leaving.leave(space, store, user.id, anyway=True)
        store.audit.add("", "user deleted", "", **found.noted())
    call.emit({"name": user.name, **found.to_json()}, f"{user.name} is deleted: {found.text()}")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="People of `serve --auth`: roles, invitations, keys.")
    app.add_typer(group, name="users", rich_help_panel=PEOPLE)
    added = ["steersman users add ann --role admin", "steersman users add ben --role labeler"]
    add(group, users_add, name="add", panel=PEOPLE, examples=added)
    add(group, users_list, name="list", panel=PEOPLE, examples=["steersman users list"])
    add(group, users_role, name="role", panel=PEOPLE, examples=["steersman users role ben --role manager"])
    disabled = ["steersman users disable ben", "steersman users disable ben --enable"]
    add(group, users_disable, name="disable", panel=PEOPLE, examples=disabled)
    add(
        group,
        users_reset,
        name="reset",
        panel=PEOPLE,
        examples=["steersman users reset ben", "steersman users reset ben --keys"],
    )
    add(group, users_invite, name="invite", panel=PEOPLE, examples=["steersman users invite --role chatter"])
    revoked = ["steersman users keys ben", "steersman users keys ben --revoke sk-1a2b3c4d"]
    add(group, users_export, name="export", panel=PEOPLE, examples=["steersman users export ben"])
    deleted = ["steersman users delete ben", "steersman users delete ben --yes"]
    add(group, users_delete, name="delete", panel=PEOPLE, examples=deleted)
    add(group, users_keys, name="keys", panel=PEOPLE, examples=revoked)
