"""Tiny models and tokenizers made on the spot: no download, milliseconds per step."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

# tiny tensors: a second thread costs more than it brings, in this process and in those that tests start
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))

from tiny import make_model  # noqa: E402


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer Llama with a byte-level tokenizer and a ChatML template."""
    return make_model(tmp_path_factory.mktemp("tiny") / "llama", "llama")


@pytest.fixture(params=["llama", "mistral", "qwen2", "qwen3", "gemma3_text"], scope="session")
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder of a tiny model of each family that the local engine computes."""
    return make_model(tmp_path_factory.mktemp("tiny") / request.param, request.param)
