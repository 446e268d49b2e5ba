"""Tiny models and tokenizers made on the spot: no download, milliseconds per step."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from steersman.kernels import building
from steersman.kernels.capabilities import Capabilities, capabilities, decide
from steersman.store import Store, sqlite
from steersman.store.database import Database

# tiny tensors: a second thread costs more than it brings, in this process and in those that tests start
os.environ["OMP_NUM_THREADS"] = "1"
# what this machine can do decides nothing in tests, and they leave nothing behind for it
os.environ["STEERSMAN_MEASURE"] = "off"
torch.set_num_threads(1)
# a process that holds all tests has much that is never garbage: looking through it was a fourteenth of its time
gc.set_threshold(20_000, 20, 50)
sys.path.insert(0, str(Path(__file__).parent))

import typer.testing  # noqa: E402

import postgres  # noqa: E402
import verbs  # noqa: E402
from emulated_arm import arm  # noqa: E402
from kernels_off import restricted_to, turn_kernels_off, use_kernels  # noqa: E402
from tiny import make_model  # noqa: E402

ON_A_SERVER = os.environ.get("STEERSMAN_TEST_STORE") == "postgresql"
_command_of, _commands = typer.testing._get_command, {}


def _made_once(app: typer.Typer) -> typer.core.TyperCommand | typer.core.TyperGroup:
    """An app's commands, made once for all apps of the same verbs: a tenth of a second each, thousands of times. A
    test's own app has no groups: two with a verb of one name may do different things."""
    if not app.registered_groups:
        return _command_of(app)
    verbs = tuple(map(_verbs, (app, *(group.typer_instance for group in app.registered_groups))))
    if verbs not in _commands:
        _commands[verbs] = _command_of(app)
    return _commands[verbs]


def _verbs(app: typer.Typer) -> tuple[str | None, ...]:
    return (app.info.name, *(command.name for command in app.registered_commands))


typer.testing._get_command = _made_once


_open_database, _schema = Database.__init__, []


def _from_a_copy(self: Database, path_or_url: str | Path, *, migrate: bool = True) -> None:
    """A new file begins as a copy of an empty one with the schema, which seven migrations made once: a fourteenth of a
    second each, a thousand times."""
    path = Path(path_or_url) if "://" not in str(path_or_url) else None
    if migrate and path and path.parent.is_dir() and not os.path.lexists(path):
        if not _schema:
            place = Path(tempfile.mkdtemp()) / "schema.db"
            empty = Database.__new__(Database)
            _open_database(empty, place)
            empty.close()
            _schema.append(place.read_bytes())
            shutil.rmtree(place.parent)
        with contextlib.suppress(OSError):
            sqlite.keep_private(path)
            path.write_bytes(_schema[0])
    _open_database(self, path_or_url, migrate=migrate)


Database.__init__ = _from_a_copy  # type: ignore[method-assign]


LONGEST = ("end_to_end", "rounds_page", "parallel", "server_openapi", "chat_page", "stopping", "lasting")
"""Files that take minutes. They begin first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Five minutes are the limit of a quick test; what is slow may share its processor with much else."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(7200))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed is the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_kernels_off(monkeypatch)


@pytest.fixture(params=["kernels", "plain"])
def with_and_without_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which kernels compute something: once as this machine does it, once by PyTorch alone."""
    if request.param == "plain":
        turn_kernels_off(monkeypatch)


@pytest.fixture(scope="session")
def with_tiles() -> Capabilities:
    """Kernels in matrix tiles; on a processor that has none, but AVX512-BF16, in `emulated_tiles.h`."""
    found = capabilities()
    if found.tiles or not found.vectors:
        return found
    with pytest.MonkeyPatch.context() as patch:
        header = Path(__file__).parent / "emulated_tiles.h"
        patch.setattr(building, "FLAGS", [*building.FLAGS, "-include", str(header)])
        return decide()


@pytest.fixture
def tiles(with_tiles: Capabilities, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_tiles.tiles:
        pytest.skip(f"no matrix tiles, and none can be emulated: {with_tiles.off or with_tiles.no_tiles}")
    use_kernels(monkeypatch, with_tiles)


@pytest.fixture(params=["native", "tiles", "avx512", "avx2", pytest.param("arm", marks=pytest.mark.slow)])
def products(request: pytest.FixtureRequest, with_tiles: Capabilities, monkeypatch: pytest.MonkeyPatch) -> Capabilities:
    """Kernels by each kind of product that this machine has or can emulate, each once."""
    usual = capabilities()
    if request.param == "avx512" and not usual.tiles:
        pytest.skip("without matrix tiles, what this machine computes with anyway, or more than it has")
    found = {"native": usual, "tiles": with_tiles}.get(request.param)
    found = found or (arm(monkeypatch) if request.param == "arm" else restricted_to(request.param))
    if found.library is None:
        pytest.skip(found.off)
    if found.products == usual.products and request.param != "native":
        pytest.skip(f"{found.products}: what this machine computes with anyway, or all that it has")
    use_kernels(monkeypatch, found)
    return found


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A server of its own, gone after the tests; skips where PostgreSQL or its driver is not installed."""
    if (reason := postgres.lacks()) is not None:
        pytest.skip(reason)
    with postgres.running() as server:
        yield server


def _file(folder: Path) -> str:
    if ON_A_SERVER:
        pytest.skip("only with SQLite: the same test's other half is the server's")
    return str(folder / "store.db")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new workspace, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    verbs.done("init", "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for `Store.open`, once a file, once of the server."""
    if request.param == "sqlite":
        yield _file(tmp_path)
        return
    with request.getfixturevalue("postgresql").emptied() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """As `store_url`, without tables."""
    if request.param == "sqlite":
        yield _file(tmp_path)
        return
    with request.getfixturevalue("postgresql").database("template0") as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def stores_on_a_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """With STEERSMAN_TEST_STORE=postgresql (`make test-postgres`) stores in files are databases of a server."""
    if not ON_A_SERVER:
        yield
        return
    import stores_on_a_server as places

    server = request.getfixturevalue("postgresql")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(places.SERVER, server.url("postgres"))
        programs = str(Path(__file__).parent / "on_a_server")
        patch.setenv("PYTHONPATH", programs, prepend=os.pathsep)
        patch.syspath_prepend(programs)
        end = places.install()
        yield
        end()


@pytest.fixture(autouse=True)
def its_databases(request: pytest.FixtureRequest, stores_on_a_server: None) -> Iterator[None]:
    """Those of a test are dropped after it. One that looks into the file itself is marked `sqlite`."""
    if not ON_A_SERVER:
        yield
        return
    import stores_on_a_server as places

    for mark in request.node.iter_markers("sqlite"):
        pytest.skip(f"only with SQLite: {mark.args[0]}")
    said = request.node.user_properties
    places.opened = lambda: said.append(("store", "postgresql"))
    yield
    places.opened = lambda: None
    places.let_go()
    if (folder := request.node.funcargs.get("tmp_path")) is not None:
        places.drop_below(folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ON_A_SERVER:
        reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
        there = {report.nodeid for report in reports if ("store", "postgresql") in report.user_properties}
        terminalreporter.write_line(f"{len(there)} tests kept something in PostgreSQL")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer Llama with a byte-level tokenizer and a ChatML template."""
    return make_model(tmp_path_factory.mktemp("tiny") / "llama", "llama")


@pytest.fixture(params=["llama", "mistral", "qwen2", "qwen3", "gemma3_text"], scope="session")
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder of a tiny model of each family that the local engine computes."""
    return make_model(tmp_path_factory.mktemp("tiny") / request.param, request.param)


@pytest.fixture(scope="session")
def two_rounds(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two rounds, to be copied; see `round_space`."""
    from round_space import allow_judges, make_rounds

    with pytest.MonkeyPatch.context() as patch:
        allow_judges(patch)
        return make_rounds(tmp_path_factory.mktemp("rounds") / "w", tiny)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--apart", action="store_true", help="servers' engines behind the socket of an engine's process")


@pytest.fixture(autouse=True)
def engines_apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With `--apart` every server that a test makes reaches its engine as if that were another process's."""
    with contextlib.ExitStack() as stack:
        if request.config.getoption("--apart"):
            from apart import apart, linked
            from steersman.server.models import Models

            plain = Models.__init__

            def over_a_socket(self: Models, engine: Any) -> None:
                plain(self, apart(stack.enter_context(linked(lambda _: engine))))

            monkeypatch.setattr(Models, "__init__", over_a_socket)
        yield
