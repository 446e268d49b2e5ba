"""Full and read-only disks, and who may read what: on small file systems of their own where those can be mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors import SafetensorError
from starlette.testclient import TestClient
from typer.testing import CliRunner

import test_train as stages
import tiny as t
from server_double import FakeEngine
from steersman import locks
from steersman.artifact.files import atomic_write, is_special, private
from steersman.artifact.manifest import tree_hashes, verify
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build, explain
from steersman.server.app import create_app
from steersman.store import DiskError, Store

runner = CliRunner()
APP = build()
Mount = Callable[[int], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """mount(KiB): an empty file system of that size."""
    places: list[Path] = []

    def make(size: int) -> Path:
        place = tmp_path / f"disk-{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Use up the disk but for so many bytes."""
    path = place / "ballast"
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    if leave:
        os.truncate(path, path.stat().st_size - leave)
    return path


def run(*arguments: str) -> str:
    result = runner.invoke(APP, list(arguments))
    said = result.stderr + result.stdout
    assert result.exit_code in (0, 2), said
    assert "fault of steersman" not in said
    return said


def workspace(root: Path) -> Workspace:
    run("init", str(root), "--set", "project.domain=none")
    demos = [{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}]
    file = t.write_jsonl(root.parent / "chats.jsonl", demos)
    run("data", "import", str(file), "-w", str(root))
    with Store.open(root / "store.db") as store:
        store.ranking_progress(1)
    return Workspace.open(root)


@pytest.mark.sqlite("the disk of the file")
def test_looking_works_on_a_read_only_disk(mount: Mount) -> None:
    place = mount(4096)
    space = workspace(place / "w")
    (space.root / "store.db-wal").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    assert "next: steersman" in run("status", "-w", str(space.root))
    assert "chats" in run("data", "list", "-w", str(space.root))
    with Store.open(space.store) as store:
        assert store.ranking_progress(1)["tasks"] == 0
        with pytest.raises(DiskError) as refused:
            store.create_conversation("a")
    assert refused.value.errno == errno.EROFS
    assert "store.db" in str(explain(refused.value))
    said = run("sft", "-w", str(space.root))
    assert "read-only" in said.lower()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer
def test_a_full_disk_is_named_and_leaves_what_was_there(mount: Mount, tiny: Path) -> None:
    """In the middle of every stage's save: with less and less room, none is half made."""
    place = mount(6000)
    output = place / "sft"
    stages.run_sft(tiny, output)
    before = tree_hashes(output)
    ballast = fill(place)
    failures = 0
    for room in (0, 1 << 12, 1 << 16, 1 << 18, 1 << 19):
        os.truncate(ballast, max(0, ballast.stat().st_size))
        shutil.rmtree(place / "sft.partial", ignore_errors=True)
        fill(place, room)
        with pytest.raises(Exception, match=r"No space|no space") as full:
            stages.run_sft(tiny, output, save_seconds=0.0, lr=2e-3)
        failures += 1
        said = explain(full.value)
        assert said is not None, repr(full.value)
        assert "no space left" in said
        assert str(place) in said
        assert tree_hashes(output) == before
        verify(output)
        os.truncate(ballast, max(0, ballast.stat().st_size - room))
    assert failures == 5
    ballast.unlink()
    shutil.rmtree(place / "sft.partial", ignore_errors=True)
    stages.run_sft(tiny, output, save_seconds=0.0, lr=2e-3)
    assert tree_hashes(output) != before


def test_locks_are_held_on_a_full_disk_and_answers_name_their_file(mount: Mount, tiny: Path) -> None:
    place = mount(2048)
    fill(place)
    for _ in range(2):  # a lock that was left behind half taken would be in its own way
        with locks.using(place / "sft"), locks.making(place / "samples"):
            pass
    shutil.rmtree(place / "samples.partial", ignore_errors=True)
    os.truncate(place / "ballast", (place / "ballast").stat().st_size - (1 << 13))
    with pytest.raises(OSError, match="No space left") as full:
        stages.run_sample(tiny, place / "samples")
    assert full.value.filename is not None
    assert full.value.filename.startswith(str(place / "samples.partial"))


def test_what_libraries_say_of_a_full_disk_is_the_disks() -> None:
    error = AssertionError("should not reach")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device", "/somewhere/study.db")
    assert "/somewhere/study.db: no space left" in str(explain(error))
    large = SafetensorError("Error while serializing: I/O error: File too large (os error 27)")
    assert "too large for this disk" in str(explain(large))
    assert "/mnt/usb/m.bin: too large" in str(explain(OSError(errno.EFBIG, "File too large", "/mnt/usb/m.bin")))


def write_until_full(store: Store) -> None:
    for number in range(2000):
        store.create_conversation("a" * 50, "b" * 1000 + str(number))


@pytest.mark.sqlite("the disk of the file")
def test_the_page_says_that_the_disk_is_full(mount: Mount) -> None:
    """507 with what is full; today's was 500 "internal"."""
    place = mount(1024)
    with Store.open(place / "store.db") as store:
        store.create_conversation("a")
        fill(place)
        with pytest.raises(DiskError) as full:
            write_until_full(store)
        assert full.value.errno == errno.ENOSPC
        assert full.value.filename == str(place / "store.db")
    said = explain(full.value)
    assert said is not None
    assert "MiB are free there" in said


@pytest.mark.sqlite("the disk of the file")
def test_the_api_answers_507_and_goes_on_when_there_is_room(mount: Mount) -> None:
    """What was acknowledged is there; what was not can be sent again."""
    place = mount(1024)
    with Store.open(place / "store.db") as store:
        app = create_app(FakeEngine(), store, name="x", language="en", system_prompt="", max_tokens=20)
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            chat = client.post("/api/conversations", json={}).json()["id"]
            ballast = fill(place)
            codes = []
            for _ in range(400):
                answer = client.post(f"/api/conversations/{chat}/messages", json={"content": "x" * 4000})
                codes.append(answer.status_code)
                if answer.status_code != 200:
                    break
            assert codes[-1] == 507, codes[-1]
            assert "No space left" in answer.json()["error"]["message"]
            assert client.get(f"/api/conversations/{chat}").status_code == 200
            assert client.post("/api/conversations", json={}).status_code == 507
            ballast.unlink()
            again = client.post(f"/api/conversations/{chat}/messages", json={"content": "now"})
            assert again.status_code == 200
            asked = [m for m in client.get(f"/api/conversations/{chat}").json()["messages"] if m["role"] == "user"]
            assert len(asked) == codes.count(200) + 1


@pytest.mark.sqlite("the disk of the file")
def test_a_store_that_finds_no_room_says_so(mount: Mount) -> None:
    place = mount(256)
    fill(place)
    with pytest.raises(OSError, match="No space left") as full:
        Store.open(place / "store.db")
    assert full.value.filename == str(place / "store.db")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.sqlite("the disk of the file")
def test_words_are_for_their_owner_and_weights_as_the_umask_says(tiny: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        space = workspace(tmp_path / "w")
        stages.run_sft(tiny, space.root / "sft")
        stages.run_sample(tiny, space.root / "samples")
        run("data", "export", "chats", "-w", str(space.root))
        with atomic_write(space.root / "x.json", words=True) as file:
            file.write("{}")
        with Store.open(space.store) as store:
            store.create_conversation("a")
            for end in ("", "-wal", "-shm"):
                assert mode(space.root / f"store.db{end}") == 0o600
    finally:
        os.umask(before)
    words = ["data/chats.jsonl", "samples/candidates.jsonl", "sft/metrics.jsonl", "exports/chats.jsonl", "x.json"]
    assert {name: mode(space.root / name) for name in words} == dict.fromkeys(words, 0o600)
    shared = ["sft/model.safetensors", "sft/config.json", "sft/manifest.json", "steersman.toml"]
    assert {name: mode(space.root / name) for name in shared} == dict.fromkeys(shared, 0o640)


@pytest.mark.sqlite("the disk of the file")
def test_who_wants_to_share_words_can(tmp_path: Path) -> None:
    token = private.set(False)
    before = os.umask(0o002)
    try:
        with atomic_write(tmp_path / "x.jsonl") as file:
            file.write("{}\n")
        Store.open(tmp_path / "store.db").close()
    finally:
        os.umask(before)
        private.reset(token)
    assert (mode(tmp_path / "x.jsonl"), mode(tmp_path / "store.db")) == (0o664, 0o664)
    # asked again, privately: what others could read so far is closed, and that is said
    Store.open(tmp_path / "store.db").close()
    assert mode(tmp_path / "store.db") == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX's")
def test_a_pipe_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    """`data export -o /dev/null` by root put a file in its place, which only root could open."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    try:
        for mode, said in (("w", "一\n"), ("wb", "一\n".encode())):
            with atomic_write(pipe, mode) as file:
                file.write(said)
            assert os.read(reader, 100) == "一\n".encode()
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]
    assert is_special(Path("/dev/stdout"))
    assert is_special(Path("/dev/null"))
    assert not is_special(tmp_path / "new")


def test_logs_hold_no_words_of_a_request() -> None:
    import logging

    from steersman.cli.serve_logs import Wordless

    try:
        raise ValueError("the customer's secret")
    except ValueError as error:
        record = logging.LogRecord("x", 40, __file__, 1, "failed", (), (type(error), error, error.__traceback__))
    said = Wordless("%(message)s").format(record)
    assert "secret" not in said
    assert "ValueError" in said
    assert "test_disks.py" in said
