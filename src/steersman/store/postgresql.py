"""What is PostgreSQL's alone: one writer at a time, readers that see one state, a server that may be gone.

Writers take one lock, readers one snapshot, as in SQLite, so that code which is right on one database is on the other.
Why so: decision 77 in docs/LOG.md.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from steersman import installed
from steersman.store.refusals import BUSY_SECONDS, StoreError, Unreachable

LOCK = 0x57EE25
"""The advisory lock of who writes; any number will do, as long as every version of this code agrees on it."""
IDLE_SECONDS = 60
"""A transaction whose program says nothing for so long is ended by the server, and with it its lock."""
CONNECT_SECONDS = 10

_WRITE = (
    f"SET LOCAL lock_timeout = '{BUSY_SECONDS:g}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'; "
    f"SELECT pg_advisory_xact_lock({LOCK})"
)
_READ = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
)
_GONE = ("08", "57P")
"""Classes of SQLSTATE: the connection failed; the server is shutting down or starting."""


def options() -> dict[str, Any]:
    """Arguments of `create_engine`. Statements are not prepared, which poolers such as PgBouncer cannot follow."""
    connect = {"connect_timeout": CONNECT_SECONDS, "application_name": "steersman", "prepare_threshold": None}
    connect["client_encoding"] = "utf8"
    return {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 10, "connect_args": connect}


def with_driver(url: URL) -> URL:
    """The URL with the driver that the extra `postgres` installs. ValueError where that is missing."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ValueError(f"store: PostgreSQL needs its driver; expected: {installed.command('postgres')}") from None
    return url.set(drivername="postgresql+psycopg")


def configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        name, encoding = connection.info.dbname, connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()  # nobody else knows of it yet
            expected = "expected UTF8, as createdb --encoding UTF8 --template template0 NAME makes it"
            raise StoreError(f"store: the database {name} keeps texts as {encoding}; {expected}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("steersman_write", False)
        connection.exec_driver_sql(_WRITE if write else _READ)


def unreachable(error: Exception, shown: str) -> Unreachable | None:
    """The driver's error as one that says that the server is gone; None where it is about something else."""
    if isinstance(error, NoConnectionLeft):
        return Unreachable(f"store: {shown}: no connection was free within {BUSY_SECONDS:g} seconds")
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    if state is None or state.startswith(_GONE) or _cut(error):
        reason = " ".join(str(error.orig).split())
        return Unreachable(f"store: {shown} cannot be reached: {reason}")
    if state == "55P03":
        return Unreachable(f"store: {shown}: others were writing for {BUSY_SECONDS:g} seconds")
    return None


def _cut(error: DBAPIError) -> bool:
    return bool(error.connection_invalidated)
