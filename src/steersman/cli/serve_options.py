"""Options of `serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

KEY_VARIABLE = "STEERSMAN_KEY"
EndpointOption = Annotated[
    str,
    typer.Option(
        "--endpoint",
        metavar="URL",
        envvar="STEERSMAN_ENDPOINT",
        help="Take answers from this OpenAI-compatible endpoint; its key is STEERSMAN_ENDPOINT_KEY.",
    ),
]
EndpointModelOption = Annotated[
    str, typer.Option("--endpoint-model", envvar="STEERSMAN_ENDPOINT_MODEL", help="The model's name there.")
]
KeyOption = Annotated[
    str, typer.Option("--key", envvar=KEY_VARIABLE, help="Answer only who sends this key; default: serve.key.")
]
CanaryOption = Annotated[
    str, typer.Option("--canary", metavar="ROUND[/STAGE]", help="Send a share of new chats to this round's model.")
]
ShareOption = Annotated[float, typer.Option("--share", help="With --canary: the share, at most 0.9.")]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option("--also", metavar="MODEL", help="Serve this one beside it: base, ROUND/STAGE, any model. Repeat."),
]
RootPathOption = Annotated[
    str, typer.Option("--root-path", help="The path under which a proxy offers it; default: serve.root_path.")
]
LogJsonOption = Annotated[bool, typer.Option("--log-json", help="Log JSON, a line a request; no words.")]
StoreOption = Annotated[
    str,
    typer.Option("--store", metavar="URL", help="Its database: PostgreSQL's URL, or a file; default: store.url."),
]
WorkersOption = Annotated[int, typer.Option("--workers", help="Web processes; default: serve.workers.")]
AuthOption = Annotated[
    bool, typer.Option("--auth", help="People sign in and have roles: steersman users. Default: serve.auth.")
]
OpenOption = Annotated[
    bool, typer.Option("--without-accounts", help="With another --host than loopback: let everybody do everything.")
]
CertOption = Annotated[str, typer.Option("--certfile", help="TLS: the certificate chain, PEM.")]
KeyfileOption = Annotated[str, typer.Option("--keyfile", help="TLS: the certificate's key, PEM.")]
ProxyOption = Annotated[
    str, typer.Option("--trusted-proxy", help="Addresses of proxies whose X-Forwarded-For and -Proto are believed.")
]


def as_settings(section: str, options: Mapping[str, str | int]) -> list[str]:
    """Those that were given, as `--set` takes them."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items() if value}
    return [f"{section}.{name}={value}" for name, value in shown.items()]
