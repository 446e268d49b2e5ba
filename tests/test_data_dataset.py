"""Data sets appear whole or not at all, never change under their name, and are found by what they are for."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.artifact import files as artifact_files
from steersman.artifact.workspace import Workspace
from steersman.config import Config, DataConfig
from steersman.data import bundled, dataset
from steersman.data.clean import clean, language_of
from steersman.data.dataset import find, load_conversations, load_rankings, read_info, write_dataset
from steersman.data.split import split_by_hash, split_key, split_records
from steersman.types import Conversation, Message, Ranking


def demo(question: str, answer: str = "A", id: str = "") -> Conversation:
    return Conversation(id or question, (Message("user", question), Message("assistant", answer)))


def prompt(question: str, id: str = "") -> Conversation:
    return Conversation(id or question, (Message("user", question),))


def put(
    folder: Path, records: Any, name: str = "d", kind: str = "demonstrations", **options: Any
) -> dataset.DatasetInfo:
    return write_dataset(folder, name, kind, options.pop("split", "train"), records, "test", {"k": 1}, **options)


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_written_and_read_back(tmp_path: Path) -> None:
    records = [demo("Where?"), demo("在哪里？", "在路上")]
    info = put(tmp_path, records, skipped={"bad": 2}, simulated=True)
    assert files(tmp_path) == ["d.jsonl", "d.manifest.json"]
    assert load_conversations(info.path) == records
    assert load_conversations(info.path, "prompts") == [r.without_answer() for r in records]
    assert read_info(info.path) == info
    assert (info.count, info.languages, info.skipped, info.simulated) == (2, {"en": 1, "zh": 1}, {"bad": 2}, True)


def test_same_content_again_is_left_alone_and_other_content_refused(tmp_path: Path) -> None:
    info = put(tmp_path, [demo("a")])
    before = info.path.stat().st_mtime_ns
    assert put(tmp_path, [demo("a")]) == info
    assert info.path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"exists with other content .*--replace.*another name"):
        put(tmp_path, [demo("b")])
    with pytest.raises(ValueError, match="--replace"):
        put(tmp_path, [demo("a")], split="test")
    assert put(tmp_path, [demo("b")], replace=True).sha256 != info.sha256
    assert load_conversations(info.path) == [demo("b")]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-x"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="--name"):
        put(tmp_path, [demo("a")], name=name)


def test_no_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no demonstrations to write as d"):
        put(tmp_path, [])
    assert files(tmp_path) == []


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("at", [1, 2])
def test_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The disk is full when the manifest (1) or the data (2) is brought to it."""
    calls = 0

    def fsync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= at:
            full_disk()

    monkeypatch.setattr(artifact_files.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path, [demo("a")])
    assert files(tmp_path) == []
    monkeypatch.undo()
    old = put(tmp_path, [demo("a")])
    calls = 0
    monkeypatch.setattr(artifact_files.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path, [demo("b")], replace=True)
    assert files(tmp_path) == ["d.jsonl", "d.manifest.json"]
    assert read_info(old.path) == old
    assert load_conversations(old.path) == [demo("a")]


def test_altered_data_set_is_noticed(tmp_path: Path) -> None:
    info = put(tmp_path, [demo("a"), demo("b")])
    info.path.write_text(info.path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"d\.jsonl: its content differs from its manifest"):
        load_conversations(info.path)


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    info = put(tmp_path, [demo("a")])
    dataset.manifest_path(info.path).write_text("{}")
    with pytest.raises(ValueError, match=r"d\.manifest\.json: expected a data set's manifest"):
        read_info(info.path)


def test_find_by_kind_split_and_purpose(tmp_path: Path) -> None:
    space = Workspace.create(tmp_path, Config())
    put(space.data, [demo("a")], "demos")
    put(space.data, [prompt("a")], "for-rank", "prompts", purpose="rank")
    put(space.data, [prompt("b")], "for-ppo", "prompts", purpose="ppo")
    put(space.data, [prompt("c")], "for-any", "prompts")
    put(space.data, [prompt("d")], "held-out", "prompts", split="test")
    (space.data / "stray.jsonl").write_text("{}\n")

    def names(*args: Any) -> list[str]:
        return [p.stem for p in find(space, *args)]

    assert names("demonstrations", "train") == ["demos"]
    assert names("prompts", "train", "ppo") == ["for-any", "for-ppo"]
    assert names("prompts", "train", "rank") == ["for-any", "for-rank"]
    assert names("prompts", "train") == ["for-any", "for-ppo", "for-rank"]
    assert names("prompts", "test", "ppo") == ["held-out"]
    assert names("rankings", "train") == []


def test_load_rankings_of_comparisons(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "chosen": "a", "rejected": "b"}) + "\n")
    assert [r.answers for r in load_rankings(path)] == [("a", "b")]


# Cleaning


def ranked(answers: list[str], ranks: list[int]) -> Ranking:
    return Ranking("r", prompt("Q"), tuple(answers), tuple(ranks))


def test_clean_normalises_and_drops_what_says_nothing() -> None:
    records = [demo("a\r\nb\x00", " A "), demo("a\nb", "A", "other"), demo("x", " \n"), demo(" "), "t\r", ""]
    kept, counts = clean(records)
    assert [r if isinstance(r, str) else [m.content for m in r.messages] for r in kept] == [["a\nb", "A"], "t"]
    assert counts == {"duplicates": 1, "empty answers": 1, "empty prompts": 1, "empty texts": 1}


def test_clean_keeps_the_best_rank_of_equal_answers() -> None:
    changed: Counter[str] = Counter()
    kept, counts = clean([ranked(["b", "a ", "", "a"], [3, 2, 4, 1]), ranked(["a", "a"], [1, 2])], changed)
    assert counts == {"rankings whose answers are all the same": 1}
    assert changed == {"empty answers left out of rankings": 1, "repeated answers left out of rankings": 1}
    (only,) = kept
    assert isinstance(only, Ranking)
    assert (only.answers, only.ranks) == (("b", "a"), (3, 1))


def test_clean_makes_ids_unique() -> None:
    kept, _ = clean([demo("a", id="x"), demo("b", id="x"), dataclasses.replace(demo("c"), id="")])
    ids = [r.id for r in kept if isinstance(r, Conversation)]
    assert ids[:2] == ["x", "x-2"]
    assert len(ids[2]) == 16


def test_language() -> None:
    assert [language_of(t) for t in ("Where is it?", "我的 iPhone 订单在哪里", "123")] == ["en", "zh", "other"]


# Splits

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_split_is_a_function_of_the_key(key: str) -> None:
    assert split_by_hash(key, FRACTIONS) == split_by_hash(key, dict(FRACTIONS))


def test_split_shares_and_stability() -> None:
    counts = Counter(split_by_hash(str(i), FRACTIONS) for i in range(20_000))
    for name, share in FRACTIONS.items():
        assert abs(counts[name] / 20_000 - share) < 0.015
    fewer = {"train": 0.9, "validation": 0.05, "test": 0.05}
    moved = [i for i in range(1000) if split_by_hash(str(i), FRACTIONS) == "train" != split_by_hash(str(i), fewer)]
    assert moved == []


def test_nothing_of_one_question_straddles() -> None:
    records = [demo(f"Q {i}", f"A{j}") for i in range(200) for j in range(3)]
    records += [demo(f" q  {i} ", "again") for i in range(200)]
    parts = split_records(records, FRACTIONS)
    keys = [{split_key(r) for r in part} for part in parts.values()]
    assert all(keys)
    assert sum(map(len, keys)) == 200


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_bad_fractions(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_hash("x", fractions)


# The bundled shop


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A stand-in for the generator; returns the list of its calls."""
    calls: list[tuple[Any, ...]] = []

    def generate(kind: str, split: str, n: int, language: str, seed: int, stream: str = "") -> Iterator[Conversation]:
        calls.append((kind, split, n, language, seed, stream))
        make = demo if kind == "demonstrations" else prompt
        return (make(f"{kind} {split} {stream} {i}") for i in range(n))

    module = types.ModuleType("steersman.data.shop")
    module.generate = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "steersman.data.shop", module)
    monkeypatch.setattr("steersman.data.shop", module, raising=False)
    return calls


def test_shop_sets_and_sizes(tmp_path: Path, shop: list[tuple[Any, ...]]) -> None:
    config = Config(data=DataConfig(demonstrations=150, ranking_prompts=7, ppo_prompts=5, eval_prompts=3))
    done: list[int] = []
    infos = bundled.import_shop(tmp_path, config, done=done.append)
    assert [(i.name, i.kind, i.split, i.purpose, i.count) for i in infos] == bundled.plan(config)
    assert [call[5] for call in shop] == ["", "rank", "ppo", "", "", ""]
    assert all(call[3:5] == ("en", 17) for call in shop)
    assert done == [100, 150, 157, 162, 165, 168, 171]
    bundled.import_shop(tmp_path, config)
    assert len(shop) == 6, "what exists is not generated again"
    larger = dataclasses.replace(config, data=dataclasses.replace(config.data, ppo_prompts=6))
    with pytest.raises(ValueError, match=r"shop-prompts-ppo-train\.jsonl: .*--replace"):
        bundled.import_shop(tmp_path, larger)
    assert bundled.import_shop(tmp_path, larger, replace=True)[2].count == 6
