"""A PostgreSQL server for tests: a cluster in a temporary folder, on a Unix socket alone, that trusts everybody."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.store import Store

TEMPLATE, SHARED = "migrated", "shared"


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, which Debian keeps off the path; of the newest version."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    places.sort(key=lambda place: float(place.parent.name))
    if found := shutil.which("initdb"):
        places.append(Path(found).resolve().parent)
    return next((place for place in reversed(places) if (place / "pg_ctl").exists()), None)


def lacks() -> str | None:
    """What is missing for a server, or None."""
    if os.name != "posix" or programs() is None:
        return "PostgreSQL is not installed; on Debian: .ci/packages, or apt-get install postgresql"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'steersman[postgres]'"
    return None


@dataclass
class Server:
    folder: Path
    options: dict[str, Any]
    """Of `subprocess`: the server refuses to run as root."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, name: str) -> str:
        user = self.options.get("user") or pwd.getpwuid(os.getuid()).pw_name
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def control(self, *args: str) -> None:
        command = [str(programs()) + "/pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", *args]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **self.options)
        assert done.returncode == 0, done.stderr + (self.folder / "log").read_text()

    def start(self) -> None:
        self.control("start", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        self.control("stop", "-m", mode)

    def say(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextlib.contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a fresh database, with the store's tables unless `template` is another."""
        name = f"test{next(self.numbers)}"
        self.say(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.say(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def emptied(self) -> Iterator[str]:
        """The URL of a database with the store's tables, the same each time and emptied: quicker than a fresh one."""
        import psycopg

        yield self.url(SHARED)
        with psycopg.connect(self.url(SHARED), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            names = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables "
                "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            connection.execute(f"TRUNCATE {', '.join(name for (name,) in names)} RESTART IDENTITY CASCADE".encode())


@contextlib.contextmanager
def running() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="steersman-postgres-"))
    options: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:
        known = {entry.pw_name for entry in pwd.getpwall()}
        options |= {"user": "postgres" if "postgres" in known else "nobody", "extra_groups": []}
        options["group"] = pwd.getpwnam(options["user"]).pw_gid
        shutil.chown(folder, options["user"])
    server = Server(folder, options)
    end = _ended_with_us(server)
    try:
        made = [f"{programs()}/initdb", "-D", str(folder / "data"), "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        # a killed program loses nothing by fsync=off, only a power cut does
        told = ["listen_addresses = ''", f"unix_socket_directories = '{folder}'", "fsync = off"]
        with open(folder / "data" / "postgresql.conf", "a") as file:
            file.write("\n".join(["", *told, "max_connections = 200", "shared_buffers = 32MB"]))
        server.start()
        server.say(f"CREATE DATABASE {TEMPLATE}")
        Store.open(server.url(TEMPLATE)).close()
        server.say(f"CREATE DATABASE {SHARED} TEMPLATE {TEMPLATE}")
        yield server
    finally:
        end.communicate()


def _ended_with_us(server: Server) -> subprocess.Popen[bytes]:
    """A process that stops the server and removes its folder once its input ends, also where this process is killed."""
    script = 'cat; "$1" -D "$2/data" -m immediate stop; rm -rf "$2"'
    command = ["sh", "-c", script, "sh", f"{programs()}/pg_ctl", str(server.folder)]
    nowhere: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **nowhere, **server.options)
