"""Steersman: build your own ChatGPT and keep steering it by what people tell it.

    engine = steersman.load_engine("smollm2-135m")
    answers = engine.generate(["Once upon a time"], steersman.SamplingParams(max_tokens=20, seed=1))

What is named here is stable; it is imported when it is first used, so that `import steersman` loads no torch.

Why so: decision 49 in docs/LOG.md; of the environment, decision 62.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steersman.engine.load import load_engine
    from steersman.types import Completion, Conversation, Message, SamplingParams

if "OMP_WAIT_POLICY" not in os.environ:
    # read when torch loads OpenMP: its threads look for each other for a fraction of a millisecond, then sleep
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"

__all__ = ["Completion", "Conversation", "Message", "SamplingParams", "__version__", "load_engine"]


def __getattr__(name: str) -> Any:
    if name == "load_engine":
        from steersman.engine.load import load_engine

        return load_engine
    if name in __all__:
        from steersman import types

        return getattr(types, name)
    raise AttributeError(f"module 'steersman' has no attribute '{name}'")
