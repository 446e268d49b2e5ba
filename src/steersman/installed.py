"""Which packages this installation has, and what to type for those it lacks.

Two distributions hold this package. `steersman` requires everything; `steersman-server` leaves out what only computing
and charts need, for a server whose answers an endpoint computes, and has it as the extra `local`.

Why so: decision 82 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import importlib.metadata

WHOLE, SERVER = "steersman", "steersman-server"
LEFT_OUT = (
    *("torch", "transformers", "tokenizers", "safetensors", "sentencepiece", "tiktoken", "gguf", "accelerate"),
    *("matplotlib", "tensorboard", "pyarrow"),
)
"""Packages that `steersman-server` does not require; each is imported by its own name."""
COME_WITH_THEM = ("huggingface_hub",)


@functools.cache
def distribution() -> str:
    """The one that is installed; the whole one where neither is, as when it runs from its sources."""
    return SERVER if version(WHOLE) is None and version(SERVER) is not None else WHOLE


def version(name: str) -> str | None:
    """Of a distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def command(extra: str = "") -> str:
    """What installs an extra here."""
    return f"pip install '{distribution()}[{extra}]'" if extra else f"pip install {distribution()}"


def lacking(error: BaseException) -> str | None:
    """One line for the import of a package that is left out here; None for every other error."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in LEFT_OUT + COME_WITH_THEM:
        return None
    if distribution() == SERVER:
        told = f"{command('local')}, or for answers from elsewhere: steersman serve --endpoint URL"
        return f"this needs {error.name}, which {SERVER} leaves out; expected: {told}"
    return f"this needs {error.name}, which is not installed; expected: {command()}"
