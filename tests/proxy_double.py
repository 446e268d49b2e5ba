"""What stands in front of a server: a proxy that offers it below a path, which it takes off."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OWN = frozenset({"connection", "transfer-encoding", "keep-alive", "date", "server"})


class Proxy:
    """`url` ends in the path. Hands on everything as it comes, `Host` too, and adds `headers`."""

    def __init__(self, target: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._target, self._path, self._headers = urlsplit(target), path, dict(headers or {})
        self.asked: list[str] = []
        """Paths that were asked for outside."""

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                proxy._hand_on(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{self._path}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _hand_on(self, handler: BaseHTTPRequestHandler) -> None:
        if not handler.path.startswith(self._path):
            self.asked.append(handler.path)
            handler.send_error(404)
            return
        length = int(handler.headers.get("content-length", 0))
        body = handler.rfile.read(length) if length else None
        there = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=30)
        with contextlib.closing(there), contextlib.suppress(BrokenPipeError, ConnectionResetError):
            told = {name: value for name, value in handler.headers.items() if name.lower() not in _OWN}
            path = handler.path[len(self._path) :] or "/"
            there.request(handler.command, path, body, told | self._headers)
            answer = there.getresponse()
            handler.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    handler.send_header(name, value)
            handler.send_header("Connection", "close")
            handler.end_headers()
            while piece := answer.read1(65536):
                handler.wfile.write(piece)
                handler.wfile.flush()
