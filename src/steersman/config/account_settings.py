"""Settings of a team's accounts: `steersman serve --auth`."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.config.declared import opt

ROLES = ("chatter", "labeler", "manager", "admin")


@dataclass(frozen=True)
class AccountsConfig:
    session_hours: int = opt(336, "Hours after which a browser must sign in again.", low=1, high=8760)
    invitation_hours: int = opt(168, "Hours that an invitation can be used.", low=1, high=8760)
    requests_per_minute: str = opt(
        "chatter=120, labeler=300, manager=600, admin=600",
        "Most requests of one person in a minute, by role; a role that is not named has no limit.",
    )
    tokens_per_day: str = opt(
        "", "Most tokens that are written for one person on a day (UTC), by role, such as 'chatter=100000'."
    )
    oidc_issuer: str = opt(
        "", "OpenID Connect: the provider's https address, such as https://id.example.com/realms/team. Empty: none."
    )
    oidc_client_id: str = opt("", "This server's name at the provider.")
    oidc_client_secret: str = opt("", "Its secret there; rather set STEERSMAN_OIDC_SECRET.")
    oidc_scope: str = opt(
        "openid profile email", "What the provider is asked for; some name groups only where 'groups' is among it."
    )
    oidc_role: str = opt("", "Role of who comes from the provider for the first time; empty: refused.", ("", *ROLES))
    oidc_claim: str = opt(
        "", "Claim of the provider's token with a person's groups or roles, such as groups or realm_access.roles."
    )
    oidc_groups: str = opt(
        "",
        "Which of them give which role, such as 'leads=manager; it=admin'; the highest counts, at each sign-in.",
    )
    public_url: str = opt(
        "", "Where people reach this server, such as https://chat.example.com: needed for OpenID Connect."
    )
