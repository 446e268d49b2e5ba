"""Shards, rows and mixtures against plain loops over the same documents."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steersman.corpus.mixture import BLOCK, Mixture, Rows
from steersman.corpus.rows import Line
from steersman.corpus.shards import Documents, Writer, damaged, dtype_of

SIZES = (3, 1, 7, 5, 2, 11, 4, 1, 6)


def documents(folder: Path, sizes: tuple[int, ...] = SIZES, size: int = 9, first: int = 0) -> Documents:
    """Document i holds 100 * i, 100 * i + 1, ... plus `first`."""
    writer = Writer(folder, "train", "<u4", size)
    for i, n in enumerate(sizes):
        writer.add(first + 100 * i + j for j in range(n))
    return Documents(folder, "train", "<u4", writer.close())


@pytest.mark.parametrize(("of", "hashed"), [("tokens", True), ("starts", True), ("starts", False)])
def test_a_shard_whose_bytes_have_changed_is_known(tmp_path: Path, of: str, hashed: bool) -> None:
    """The hashes were written and never compared: random tokens were trained on without a word. Lists of before have
    none of the places."""
    writer = Writer(tmp_path, "train", "<u4", 9)
    for ids in ([1, 2, 3], [4, 5], [6]):
        writer.add(ids)
    (shard,) = (replace(s, starts=s.starts if hashed else "") for s in writer.close())
    assert damaged(tmp_path, shard) is None
    path = tmp_path / f"{shard.name}.{of}"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert damaged(tmp_path, shard) == path


def test_shards_are_cut_at_documents_and_read_back(tmp_path: Path) -> None:
    found = documents(tmp_path)
    assert len(found) == len(SIZES)
    assert found.lengths.tolist() == list(SIZES)
    assert [d.tolist() for d in found] == [[100 * i + j for j in range(n)] for i, n in enumerate(SIZES)]
    assert len(list(tmp_path.glob("*.tokens"))) > 2
    (tmp_path / "train-00001.tokens").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"train-00001\.tokens: expected .* bytes, found 3"):
        Documents(tmp_path, "train", "<u4", list(_shards(tmp_path)))


def _shards(folder: Path) -> list:
    writer = Writer(folder / "again", "train", "<u4", 9)
    (folder / "again").mkdir()
    for i, n in enumerate(SIZES):
        writer.add(100 * i + j for j in range(n))
    return writer.close()


@pytest.mark.parametrize("length", [1, 4, 13, 40])
def test_a_row_is_what_a_plain_loop_over_shuffled_documents_gives(tmp_path: Path, length: int) -> None:
    found = documents(tmp_path)
    line = Line(found, length, seed=5)
    assert line.rows == sum(SIZES) // length
    for epoch in range(3):
        order = np.random.default_rng((5, epoch)).permutation(len(found))
        tokens = [int(t) for i in order for t in found[i]]
        owner = [int(i) for i in order for _ in found[i]]
        for row in range(line.rows):
            place = slice(row * length, (row + 1) * length)
            got = line[epoch * line.rows + row]
            assert got.tokens.tolist() == tokens[place]
            counted = [len(list(g)) for _, g in itertools.groupby(owner[place])]
            assert got.document.tolist() == [k for k, n in enumerate(counted) for _ in range(n)]


def test_rows_follow_from_their_number_alone(tmp_path: Path) -> None:
    line = Line(documents(tmp_path), 4, seed=1)
    ahead = [line[k].tokens.tolist() for k in range(30)]
    fresh = Line(documents(tmp_path / "b") if (tmp_path / "b").mkdir() is None else None, 4, seed=1)  # type: ignore[arg-type]
    assert [fresh[k].tokens.tolist() for k in reversed(range(30))] == ahead[::-1]
    assert Line(documents(tmp_path), 4, seed=2)[0].tokens.tolist() != ahead[0]


def test_too_little_text_for_a_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 64 tokens for one row, found 40"):
        Line(documents(tmp_path), 64, seed=0)


def test_shares_are_in_proportion_smoothed_and_capped() -> None:
    tokens = {"a": 900, "b": 90, "c": 10}
    assert Mixture({}).shares(tokens, 1000) == pytest.approx({"a": 0.9, "b": 0.09, "c": 0.01})
    half = Mixture({}, smoothing=0.5).shares(tokens, 1000)
    roots = {s: math.sqrt(n) for s, n in tokens.items()}
    assert half == pytest.approx({s: r / sum(roots.values()) for s, r in roots.items()})
    capped = Mixture({"c": 100.0}, most_epochs=2).shares(tokens, 1000)  # c would be half of it: 50 epochs
    assert capped == pytest.approx({"a": 0.98 * 900 / 990, "b": 0.98 * 90 / 990, "c": 0.02})
    assert sum(capped.values()) == pytest.approx(1)
    assert "b" not in Mixture({"b": 0.0}).shares(tokens, 10)


def test_a_budget_that_the_caps_cannot_fill_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 5000 tokens within 4 epochs, the sources have 1000"):
        Mixture({}, most_epochs=4).shares({"a": 1000}, 5000)
    with pytest.raises(ValueError, match="no source x; expected some of a"):
        Mixture({"x": 1.0}).shares({"a": 1000}, 10)
    with pytest.raises(ValueError, match="smoothing: expected a number from 0 to 1, got 2"):
        Mixture({}, smoothing=2)


def test_every_block_of_rows_has_the_shares_and_each_source_goes_on_where_it_was(tmp_path: Path) -> None:
    lines = []
    for i in range(3):
        (tmp_path / str(i)).mkdir()
        lines.append(Line(documents(tmp_path / str(i), first=100_000 * i), 4, seed=i))
    shares = (0.5, 0.3, 0.2)
    rows = Rows(lines, shares, seed=7)
    seen: Counter[int] = Counter()
    for number in range(2 * BLOCK):
        source = rows.source(number)
        got = rows[number]
        assert got.tokens.tolist() == lines[source][seen[source]].tokens.tolist()
        seen[source] += 1
        if number == BLOCK - 1:
            assert [abs(seen[s] - share * BLOCK) <= 1 for s, share in enumerate(shares)] == [True] * 3
    again = Rows(lines, shares, seed=7)
    assert [again.source(k) for k in (BLOCK + 5, 3, BLOCK)] == [rows.source(k) for k in (BLOCK + 5, 3, BLOCK)]


def test_ids_take_two_bytes_where_they_fit() -> None:
    assert [dtype_of(n) for n in (50_000, 65_536, 65_537)] == ["<u2", "<u2", "<u4"]


def test_long_documents_are_laid_whole_and_nothing_is_left_out(tmp_path: Path) -> None:
    """Rows of 32: what has 4 to 32 tokens is in one row, unless nothing short is left to fill up with."""
    draw = np.random.default_rng(1)
    sizes = tuple(draw.choice([1, 2, 3, 10, 20, 25, 32, 75], 300, p=[0.2] * 3 + [0.08] * 5).tolist())
    found = documents(tmp_path, sizes, size=5000)
    rows_of: dict[bool, dict[int, set[int]]] = {}
    for whole in (True, False):
        line = Line(found, 32, 3, whole)
        rows = [line[k] for k in range(line.rows)]
        tokens = np.concatenate([row.tokens for row in rows])
        assert len(np.unique(tokens)) == len(tokens) > sum(sizes) - 32
        assert Line(found, 32, 3, whole)[line.rows // 2].tokens.tolist() == rows[line.rows // 2].tokens.tolist()
        for k, row in enumerate(rows):
            assert ((np.diff(row.tokens) != 1) == (np.diff(row.document) != 0)).all()
            for token in row.tokens.tolist():
                rows_of.setdefault(whole, {}).setdefault(token // 100, set()).add(k)
    cut = {how: [i for i, at in of.items() if 4 <= sizes[i] <= 32 and len(at) > 1] for how, of in rows_of.items()}
    assert len(cut[True]) <= 1
    assert len(cut[False]) > 20
