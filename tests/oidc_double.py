"""An OpenID Connect provider for tests, in a thread of its own: discovery, keys, codes with PKCE, tokens.

What it is told to do wrong it does: other claims, other signatures.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import RSAKey

CLIENT, SECRET = "steersman", "s3cr%t:+/ of the client"


@dataclass
class Provider:
    subject: str = "u-1"
    claims: dict[str, Any] = field(default_factory=dict)
    """Beyond or instead of the right ones; None: left out."""
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    discovery: dict[str, Any] = field(default_factory=dict)
    by: Any = None
    """What signs instead of its key."""
    secret: str = SECRET
    """The client's; '': a public client, which shows none."""
    asked: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, auto_kid=False)
        other = RSAKey.generate_key(2048, {"kid": "two", "use": "enc", "alg": "RSA-OAEP"}, auto_kid=False)
        self.keys = [other.as_dict(private=False), self.key.as_dict(private=False)]

    def __enter__(self) -> Provider:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                told = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                provider._token(self, {name: values[0] for name, values in told.items()})

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # by another name than the server's address: for a browser they are two sites
        self.url = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        place = urlsplit(handler.path)
        if place.path == "/.well-known/openid-configuration":
            told = {name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
            methods = ["client_secret_basic"] if self.secret else ["none"]
            more = {"token_endpoint_auth_methods_supported": methods}
            _say(handler, 200, {"issuer": self.url} | told | more | self.discovery)
        elif place.path == "/jwks_uri":
            _say(handler, 200, {"keys": self.keys})
        elif place.path == "/authorization_endpoint":
            asked = {name: values[0] for name, values in parse_qs(place.query).items()}
            self.asked.append(asked)
            assert asked["client_id"] == CLIENT
            assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
            code = secrets.token_urlsafe(16)
            self.codes[code] = asked
            handler.send_response(302)
            back = urlencode({"code": code, "state": asked["state"], "iss": self.url})
            handler.send_header("Location", f"{asked['redirect_uri']}?{back}")
            handler.end_headers()
        else:
            _say(handler, 404, {})

    def _token(self, handler: BaseHTTPRequestHandler, told: dict[str, str]) -> None:
        asked = self.codes.pop(told.get("code", ""), None)  # a code holds once
        proof = base64.urlsafe_b64encode(hashlib.sha256(told.get("code_verifier", "").encode()).digest())
        if asked is None or asked["code_challenge"] != proof.rstrip(b"=").decode():
            _say(handler, 400, {"error": "invalid_grant", "error_description": "quoted: <script> of a person"})
            return
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        shown = handler.headers.get("authorization")
        if (shown != basic) if self.secret else (shown is not None or told.get("client_id") != CLIENT):
            _say(handler, 401, {"error": "invalid_client"})
            return
        assert told["redirect_uri"] == asked["redirect_uri"]
        _say(handler, 200, {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])})

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": self.subject, "iat": now, "exp": now + 300, "nonce": nonce}
        claims |= {"preferred_username": f"Ann 安 {self.subject}"} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.header["alg"] == "none":
            parts = (json.dumps(part).encode() for part in (self.header, claims))
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        signer = self.by or self.key
        return jws.serialize_compact(self.header, json.dumps(claims), signer, algorithms=[self.header["alg"]])


def _say(handler: BaseHTTPRequestHandler, status: int, told: dict[str, Any]) -> None:
    body = json.dumps(told).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
