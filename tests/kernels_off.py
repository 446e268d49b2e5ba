"""Kernels turned off, or others in their place, for tests that run both ways."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from steersman.engine.backends.local import compiled as engine_native
from steersman.kernels import ops
from steersman.kernels.capabilities import Capabilities, decide


def use_kernels(monkeypatch: pytest.MonkeyPatch, found: Capabilities) -> None:
    """In this process, in place of what was decided."""
    for module in (ops, engine_native):
        monkeypatch.setattr(module, "capabilities", lambda: found)


@functools.cache
def restricted_to(instructions: str) -> Capabilities:
    """Kernels that may use no more than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEERSMAN_KERNELS", instructions)
        try:
            return decide()
        except ValueError as error:  # another processor
            return Capabilities("none", off=str(error))


def turn_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in processes that are started."""
    monkeypatch.setenv("STEERSMAN_KERNELS", "off")
    use_kernels(monkeypatch, decide())


def each_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Twice: as this machine computes, then without kernels."""
    yield
    with monkeypatch.context() as patch:
        turn_kernels_off(patch)
        yield
