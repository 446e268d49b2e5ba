"""Damaged and hostile model folders: each works, or is refused by the name of its file, at once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, ByT5Tokenizer

import tiny as t
from families import FAMILIES, OTHERS, make_folder
from steersman.engine.load import load_engine
from steersman.types import SamplingParams
from steersman.weights.folders import (
    check_folder,
    load_causal,
    load_scalar,
    load_tokenizer,
    read_config,
    read_tokenizer,
)

Bases = Callable[[str], Path]
KINDS = ("Llama 3.x", "Gemma 3", "Qwen 3 mixture of experts", "Granite 4", "Falcon H1", "gpt-oss", "Gemma 4")
VALUES: dict[str, Any] = {"zero": 0, "minus": -1, "huge": 10**8, "beyond": 10**30, "text": "x", "null": None}
VALUES |= {"nested": {"a": {"a": {}}}, "list": [1, "x"], "half": 0.5, "bool": True}
VALUES |= {"nan": float("nan"), "infinite": float("inf")}
SECONDS, WAITED = 4.0, 60.0
"""Most processor time, of which each takes well under two; and by the clock, of a machine that does much else."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    made: dict[str, Path] = {}

    def base(kind: str) -> Path:
        if kind not in made:
            family = next(f for f in FAMILIES if f.name == kind)
            made[kind] = make_folder(family, t.tokenizer(), tmp_path_factory.mktemp("base") / "m")
        return made[kind]

    return base


@pytest.fixture
def folder(bases: Bases, tmp_path: Path) -> Path:
    """A copy of a tiny Llama, to be damaged."""
    return Path(shutil.copytree(bases("Llama 3.x"), tmp_path / "m"))


def tried(folder: Path) -> str:
    """Load it every way and use it; what it was refused with, "" if it works. Any other error is a failure."""
    began, at = time.process_time(), time.monotonic()
    said = ""
    try:
        engine = load_engine(folder, dtype="float32")
        engine.generate([[5, 6, 7]], SamplingParams(max_tokens=3, temperature=0))
    except ValueError as error:
        said = str(error)
    for look in (check_folder, read_config, load_tokenizer, load_scalar):
        try:
            look(folder)  # type: ignore[operator]
        except ValueError as error:
            said = said or str(error)
    assert time.process_time() - began < SECONDS
    assert time.monotonic() - at < WAITED
    return said


def numbers(config: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where numbers stand in a config."""
    found = []
    for key, value in config.items():
        if isinstance(value, dict):
            found += numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((*path, key))
    return found


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k == KINDS[0] else pytest.mark.slow) for k in KINDS])
def test_every_number_of_a_config_may_be_anything(kind: str, bases: Bases, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bases(kind), tmp_path / "m"))
    original = json.loads((folder / "config.json").read_text())
    failed = []
    for path in [*numbers(original), ("model_type",), ("hidden_act",), ("layer_types",), ("rope_parameters",)]:
        for name, value in VALUES.items():
            changed = json.loads(json.dumps(original))
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            (folder / "config.json").write_text(json.dumps(changed))
            try:
                said = tried(folder)
                assert not said or str(folder) in said, said
            except Exception as error:
                failed.append(f"{'.'.join(path)} = {name}: {type(error).__name__}: {str(error)[:200]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    ("field", "value"), [("num_labels", 10**9), ("text_config", {"model_type": "llama"}), ("text_config", 5)]
)
def test_settings_that_the_type_does_not_have(field: str, value: Any, folder: Path) -> None:
    """10^9 labels are 23 GB of names; the others ended in an AttributeError."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    assert "config.json: " in tried(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"])
def test_pipes_and_devices_are_not_read(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{folder}" in tried(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert f"{folder}" in tried(folder)


def test_a_tokenizer_that_fails_on_what_people_write(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = {"a": 0, "1": 1, "A": 2}
    tokenizer["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "nope"}
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    path.write_text(json.dumps(tokenizer))
    assert "no usable tokenizer" in tried(folder)


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "mbart", "deberta-v2"])
def test_a_folder_without_a_tokenizers_files(kind: str, tmp_path: Path) -> None:
    """transformers makes a tokenizer of special tokens alone: every word was the unknown one, and nothing said so."""
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="it has special tokens alone; expected its files"):
        read_tokenizer(tmp_path)
    ByT5Tokenizer().save_pretrained(tmp_path)
    assert len(read_tokenizer(tmp_path)) == 384  # which needs no file of entries


@pytest.mark.parametrize("part", ["normalizer", "decoder"])
def test_a_tokenizer_that_doubles_a_text_again_and_again(part: str, folder: Path) -> None:
    """Its parser would end the process when memory ends."""
    path = folder / "tokenizer.json"
    doubling = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    chain = {"type": "Sequence", f"{part}s": [{"type": "Sequence", f"{part}s": [doubling] * 20}] * 2}
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: chain}))
    assert f"{path}: {part}: its replacements make up to 1.1e+12 characters of one" in tried(folder)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "head_dim"])
@pytest.mark.parametrize("value", [0, -1, 10**8, "x", 0.5])
def test_sizes_are_refused_by_their_name(field: str, value: Any, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(ValueError, match=rf"config\.json.*{field}"):
        load_causal(folder)


NOTHING = ["", "[]", "{", "3", "[" * 100_000]
FILES: dict[str, Any] = {
    "config.json": [
        "null",
        '{"model_type": 3}',
        "{}",
        '{"model_type": "' + "x" * 200 + '"}',
        '{"a":' * 500 + "1" + "}" * 500,
    ],
    "tokenizer.json": ["{}", '{"version": "1.0", "model": {"type": "BPE"}}', '"x"'],
    "tokenizer_config.json": [
        '{"tokenizer_class": 5}',
        '{"tokenizer_class": "NoSuchTokenizer"}',
        '{"eos_token": 5}',
        '{"eos_token": {}}',
        '{"chat_template": 5}',
        '{"chat_template": "{% for %}"}',
        '{"chat_template": "{{ "}',
        '{"model_max_length": "x"}',
        '{"added_tokens_decoder": {"x": {"content": "y"}}}',
        '{"added_tokens_decoder": {"-5": {"content": "y"}}}',
        '{"added_tokens_decoder": {"900000000": {"content": "y", "special": true}}}',
        '{"extra_special_tokens": 5}',
        '{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}',
    ],
    "generation_config.json": ['{"eos_token_id": "x"}', '{"num_beams": {}}', '{"temperature": -1}'],
}


@pytest.mark.parametrize(("name", "text"), [(name, x) for name, texts in FILES.items() for x in (*NOTHING, *texts)])
def test_files_may_hold_anything(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text)
    said = tried(folder)
    assert not said or str(folder) in said or "chat template" in said, said
    if text in NOTHING or name == "config.json":
        assert said


@pytest.mark.parametrize("name", [*FILES, "model.safetensors", "model.safetensors.index.json", "chat_template.jinja"])
def test_files_may_be_no_text(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"\xff\xfe\x00\x80")
    said = tried(folder)
    assert not said or str(folder) in said or "chat template" in said, said
    (folder / name).unlink()
    (folder / name).mkdir()
    said = tried(folder)
    assert not said or str(folder) in said or "chat template" in said, said


def shards(folder: Path) -> dict[str, Any]:
    """Split the weights into two files with an index, which is returned."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    places: dict[str, Any] = {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{i}-of-2.safetensors"
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    return {"metadata": {}, "weight_map": places}


def test_shards_load(folder: Path, bases: Bases) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards(folder)))
    one, two = load_causal(folder, "float32"), load_causal(bases("Llama 3.x"), "float32")
    for name, weight in two.state_dict().items():
        assert torch.equal(one.state_dict()[name], weight), name


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m | {"model.norm.weight": "../outside.safetensors"},
        lambda m: m | {"model.norm.weight": "/etc/passwd"},
        lambda m: m | {"model.norm.weight": "sub/model.safetensors"},
        lambda m: m | {"model.norm.weight": "model-3-of-2.safetensors"},
        lambda m: m | {"model.norm.weight": "model.bin"},
        lambda m: m | {"model.norm.weight": 3},
        lambda m: dict.fromkeys(m, "model-1-of-2.safetensors"),
        lambda m: {},
        lambda m: [],
        lambda m: None,
    ],
)
def test_an_index_names_files_of_its_folder(change: Any, folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = shards(folder)
    index["weight_map"] = change(index["weight_map"])
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert str(folder) in tried(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_finite(bad: float, dtype: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 3] = bad
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{name}: 1 of 1536 weights are no finite numbers"):
        load_causal(folder, dtype)
    tensors[name].fill_(3e37)  # finite, though their sum is not
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "weights are no finite" not in tried(folder)


def _with(tensors: dict[str, torch.Tensor], name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**tensors, name: tensor}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: _with(x, "model.norm.weight", torch.ones(7)), r"model\.norm\.weight: shape \[7\].*makes it \[32\]"),
        (lambda x: _with(x, "model.norm.weight", torch.ones(32, 1)), r"shape \[32, 1\]"),
        (lambda x: {n: y for n, y in x.items() if "layers.1" not in n}, "missing|hold"),
        (lambda x: _with(x, "model.layers.0.self_attn.q_proj.bias", torch.ones(32)), "computed without"),
        (lambda x: {"a": torch.ones(3)}, "expected a whole number|hold|missing"),
        (lambda x: {}, "expected a whole number|hold|missing"),
    ],
)
def test_weights_are_those_of_the_config(change: Any, expected: str, folder: Path) -> None:
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=expected):
        load_causal(folder)


def test_layers_within_a_decoder_lose_nothing_either(tmp_path: Path) -> None:
    folder = make_folder(next(f for f in OTHERS if f.name == "OPT"), t.tokenizer(), tmp_path / "opt")
    tensors = load_file(folder / "model.safetensors")
    save_file(_with(tensors, "model.decoder.layers.0.gate.weight", torch.ones(32)), folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"computed without: model\.decoder\.layers\.0\.gate"):
        load_causal(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.999])
def test_truncated_weights_are_named(keep: float, folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    (folder / "model.safetensors").write_bytes(whole[:size])
    assert "model.safetensors: damaged or truncated" in tried(folder)
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    assert "model.safetensors: damaged or truncated" in tried(folder)


def test_an_adapter_does_not_lead_to_another_model(folder: Path) -> None:
    config = {"base_model_name_or_path": "/elsewhere", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert "holds an adapter" in tried(folder)


def test_what_is_left_out_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors |= {"vision.tower.weight": torch.ones(3), "vision.tower.bias": torch.ones(3)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    load_causal(folder)
    assert "2 tensors are not of the decoder and are left out (vision.tower)" in capsys.readouterr().err
