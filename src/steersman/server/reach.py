"""How the server is reached: by this machine or by others, by TLS, through a proxy."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from typing import Any

from steersman.config import ServeConfig

_ORIGIN = re.compile(r"https?://(?:[a-z0-9_](?:[a-z0-9_.-]{0,250}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?")
_USUAL = {"http": ":80", "https": ":443"}
"""Ports that browsers leave out of an origin."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address (no port) means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Reach:
    """`beyond`: other machines may ask. Of the proxies `X-Forwarded-For` and `X-Forwarded-Proto` are believed, of
    others never; the proxy must hand on `Host`."""

    beyond: bool = False
    certfile: str = ""
    keyfile: str = ""
    trusted_proxies: tuple[str, ...] = ()
    rate: int = 0
    """Most requests a minute of an address where nobody is signed in, this machine's own not counted; 0: any."""
    origins: frozenset[str] = frozenset()
    """Pages that may call `/v1` besides those of this machine."""

    @property
    def scheme(self) -> str:
        return "https" if self.certfile else "http"

    def options(self) -> dict[str, Any]:
        """uvicorn's."""
        proxies = {"proxy_headers": bool(self.trusted_proxies), "forwarded_allow_ips": list(self.trusted_proxies)}
        return proxies | {"ssl_certfile": self.certfile or None, "ssl_keyfile": self.keyfile or None}


def origins_of(setting: str) -> frozenset[str]:
    """The pages of `serve.allowed_origins` as browsers name them. ValueError where one is none."""
    origins = frozenset(name.strip().rstrip("/").lower() for name in setting.split(",") if name.strip())
    for name in sorted(origins):
        if not _ORIGIN.fullmatch(name) or name.endswith(_USUAL[name.partition(":")[0]]):
            raise ValueError(f"serve.allowed_origins: expected such as https://chat.example.com, got {name[:200]!r}")
    return origins


HERE = Reach()
"""This machine alone."""


def reach_of(config: ServeConfig, host: str) -> Reach:
    """ValueError where other machines could reach a server without accounts, or a file or address is wrong."""
    beyond = not is_loopback(host)
    if beyond and not (config.auth or config.without_accounts):
        raise ValueError(
            f"serve.host: {host!r} can be reached from other machines, and whoever asks may do everything; expected "
            "--auth (steersman users add NAME --role admin makes the first account), a loopback address such as "
            "127.0.0.1, or --without-accounts if that is meant"
        )
    _check_tls(config.certfile, config.keyfile)
    proxies = tuple(part.strip() for part in config.trusted_proxy.split(",") if part.strip())
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ValueError(
                f"serve.trusted_proxy: expected addresses or networks such as 10.0.0.5 or 10.0.0.0/8, got {proxy!r}"
            ) from None
    origins = origins_of(config.allowed_origins)
    return Reach(beyond, config.certfile, config.keyfile, proxies, config.requests_per_minute, origins)


def _check_tls(certfile: str, keyfile: str) -> None:
    if not certfile and not keyfile:
        return
    if not certfile:
        raise ValueError("serve.certfile: expected the certificate of serve.keyfile")
    try:
        # with a password given, OpenSSL does not ask the terminal for one
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certfile, keyfile or None, lambda: "")
    except OSError as error:  # an SSLError is one
        reason = error.strerror or str(error)
        raise ValueError(
            f"serve.certfile, serve.keyfile: {certfile} and {keyfile or certfile} cannot be used: {reason}; expected "
            "a certificate and its key in PEM, without a password"
        ) from None
