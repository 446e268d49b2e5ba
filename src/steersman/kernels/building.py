"""Compiling the kernels for this machine, once: gcc or clang, kept in the cache folder, failures too."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steersman.kernels.entries import declare, layout_differs
from steersman.progress import activity

SOURCES = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".c", ".h"))
FLAGS = ["-O3", "-fPIC", "-shared", "-fopenmp", "-pthread", "-std=gnu11", "-Wno-psabi"]
# sums may be reordered and vectorised; unlike -ffast-math this leaves the process's rounding mode alone
FLAGS += ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
NATIVE = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
INSTRUCTIONS = {
    "native": (NATIVE,),
    "avx512": (NATIVE, "-mno-amx-tile", "-mno-amx-bf16", "-mno-amx-int8"),
    "avx2": ("-march=haswell",),
}
"""Instruction sets that kernels may use at most -> the flags that say so."""
COMPILERS = ("cc", "gcc", "clang")
"""Tried in this order; the environment variable CC names another."""
SECONDS = 300


PASSING = re.compile(r"\bkilled\b|no space left|out of memory|cannot allocate memory", re.IGNORECASE)
"""What compilers say where the machine was too busy or too full; it may go well the next time."""


class NotBuilt(Exception):
    """The kernels cannot be compiled; the text gives the reason. What is `passing` is tried again at the next start."""

    def __init__(self, text: str, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing or bool(PASSING.search(text))


@dataclass(frozen=True)
class Compiler:
    command: tuple[str, ...]
    name: str
    """Name and version, such as 'gcc 12.2.0'."""
    flags: tuple[str, ...]
    """The instruction sets that it may use."""
    macros: str
    """Macros that it defines for them."""


def commands() -> Iterator[tuple[str, ...]]:
    """Compilers of this machine, each once."""
    seen = set()
    for words in map(shlex.split, [os.environ["CC"]] if os.environ.get("CC") else COMPILERS):
        found = shutil.which(words[0])
        if found is not None and (real := Path(found).resolve()) not in seen:
            seen.add(real)
            yield found, *words[1:]


def compiler_of(command: tuple[str, ...], instructions: str = "native") -> Compiler:
    """The compiler behind a command. NotBuilt where it cannot be identified."""
    flags = INSTRUCTIONS[instructions]
    macros = _run([*command, *flags, "-dM", "-E", "-x", "c", os.devnull])
    kind, name = ("clang", "__clang_version__") if "define __clang__ " in macros else ("gcc", "__VERSION__")
    version = re.search(rf'define {name} "([^" ]+)', macros)
    return Compiler(command, f"{kind} {version[1] if version else 'of an unknown version'}", flags, macros)


def _run(command: list[str]) -> str:
    """The command's output. NotBuilt with its message where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip())
        ended = error.returncode < 0  # by a signal, as where memory runs out
        raise NotBuilt(f"{command[0]}: {said[:300] or f'exit code {error.returncode}'}", ended) from None
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{command[0]}: not ready after {SECONDS} s; tried again at the next start", True) from None
    except OSError as error:
        raise NotBuilt(f"{command[0]}: {error}") from None


def folder() -> Path:
    return Path("~/.cache/steersman/native").expanduser()


def built_by(compiler: Compiler, again: bool = False) -> ctypes.CDLL:
    """The library, compiled if missing. NotBuilt where compiling failed, now or before.

    A failure that is not `passing` is remembered until compiler, flags, sources or processor are others; `again` tries
    all the same.
    """
    words = [
        *(s.name + s.read_text(encoding="utf-8") for s in SOURCES),
        *FLAGS,
        *compiler.command,
        *compiler.flags,
        compiler.macros,
    ]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:20]
    built = folder() / f"kernels-{key}.so"
    failed = built.with_suffix(".failed")
    try:
        if failed.is_file() and not again:
            raise NotBuilt(f"{failed.read_text(encoding='utf-8')} (tried before; steersman doctor tries again)")
        if not built.is_file():
            _compile(compiler, built, failed)
        failed.unlink(missing_ok=True)
        return _load(built)
    except OSError as error:
        raise NotBuilt(str(error)) from None


def _compile(compiler: Compiler, built: Path, failed: Path) -> None:
    """The library appears whole or not at all; the compiler's reason is kept in `failed`."""
    built.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(s) for s in SOURCES if s.suffix == ".c"]
    with tempfile.TemporaryDirectory(dir=built.parent) as temporary:
        fresh = Path(temporary) / built.name
        try:
            with activity("compiling the kernels for this machine, once", about=SECONDS / 10):
                _run([*compiler.command, *compiler.flags, *FLAGS, "-o", str(fresh), *sources, "-lm"])
        except NotBuilt as error:
            if not error.passing:
                note = Path(temporary) / failed.name
                note.write_text(str(error), encoding="utf-8")
                note.replace(failed)
            raise
        fresh.replace(built)


def _load(built: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(built))
    try:
        declare(lib)
    except AttributeError as error:
        raise NotBuilt(f"{built}: {error}") from None
    if differs := layout_differs(lib):
        raise NotBuilt(f"{built}: it and Python do not agree where the fields of '{differs}' are")
    return lib
