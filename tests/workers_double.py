"""`python workers_double.py STORE`: a server with accounts and two web processes, without a model. Prints its URL."""

from __future__ import annotations

import sys

from server_double import FakeEngine
from steersman.config import AccountsConfig
from steersman.server import workers
from steersman.server.app import create_app
from steersman.server.buckets import Buckets
from steersman.server.listening import listen, serve, url_of
from steersman.server.team import Team
from steersman.store import Store


def main(place: str) -> None:
    worker = workers.this_worker()
    if worker is None:
        workers._command = lambda: [sys.executable, __file__, place]
        sock = listen("127.0.0.1", 0)
        workers.run(2, sock, {}, 1.0, lambda: print(url_of(sock), flush=True))
        return
    with Store.open(place) as store:
        settings = AccountsConfig(requests_per_minute="labeler=10")
        team = Team(store, settings, Buckets(worker.counts))
        app = create_app(FakeEngine(), store, name="S", language="en", team=team)
        serve(app, "127.0.0.1", 0, sock=worker.sock)


if __name__ == "__main__":
    main(sys.argv[1])
