"""A law fitted to runs finds the law that made them, and `steersman scaling` trains, fits, predicts and compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from steersman.cli.framework import build
from steersman.eval import scaling_page
from steersman.train.scaling_law import Law, fit, predict

TRUE = Law(floor=1.8, scale=1.2, slope=0.25, unit=1e12)
PLACES = [1e12 * 4**k for k in range(4)]


def test_a_law_is_found_again() -> None:
    points = [(c, TRUE.loss(c)) for c in PLACES]
    found = fit(points[::-1])
    assert [found.floor, found.scale, found.slope] == pytest.approx([1.8, 1.2, 0.25], abs=0.01)
    said = predict(points, 1e12 * 4**5)
    assert said.loss == pytest.approx(TRUE.loss(1e12 * 4**5), abs=0.004)
    assert said.low <= said.loss <= said.high


def test_noise_widens_what_is_predicted() -> None:
    random = np.random.default_rng(3)
    wide = [predict([(c, TRUE.loss(c) * (1 + 0.004 * random.normal())) for c in PLACES], 1e15) for _ in range(8)]
    assert np.mean([one.high - one.low for one in wide]) > 0.01
    assert np.mean([abs(one.loss - TRUE.loss(1e15)) for one in wide]) < 0.06


def test_runs_that_follow_no_law_without_one_are_counted() -> None:
    said = predict([(1.0, 3.0), (2.0, 2.0), (3.0, 2.4), (4.0, 2.3)], 8.0)
    assert said.laws == 3  # without the first the largest is not better
    assert said.low <= said.loss <= said.high


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([(1.0, 2.0), (2.0, 1.9)], "at least 3 sizes"),
        ([(1.0, 2.0), (2.0, 1.9), (3.0, 0.0)], "losses above 0"),
        ([(1.0, 2.0), (2.0, 2.1), (3.0, 2.2)], "larger runs are not better"),
        ([(1.0, 2.0), (2.0, float("nan")), (3.0, 1.0)], "losses above 0"),
    ],
)
def test_what_is_no_law_is_refused(points: list[tuple[float, float]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fit(points)


@pytest.mark.slow
def test_the_verb_trains_fits_predicts_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(build(), list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    texts = [f"Parcel {i} left our house in town {i % 7} and comes on day {i % 5}. 包裹{i}已发出。" for i in range(120)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    verb("init", tmp_path / "work", "--set", "project.domain=none")
    monkeypatch.chdir(tmp_path / "work")
    verb("corpus", "build", "shop=../texts.jsonl", "--into", "c", "--steps", "length", "--validation", 0.2)
    verb("tokenizer", "train", "c", "--vocabulary", 300, "--beside", "none")
    quick = ["context=64", "samples=0", "evals=0", "tokens_per_parameter=0.001", "batch_tokens=64"]
    asked = ["scaling", "c", "--tokenizer", "c", "--epochs", 0, *(x for q in quick for x in ("-s", f"pretrain.{q}"))]
    assert "expected at least 4 depths" in verb(*asked, "--depths", "1,2,3", code=2).stderr
    assert "is among --depths too" in verb(*asked, "--predict", "4", code=2).stderr
    assert "tokens follow from size" in verb(*asked, "-s", "pretrain.tokens=1K", code=2).stderr
    assert "depth 4: model: " in verb(*asked, "--plan").stdout
    assert not Path("models").exists()
    # what is only predicted needs neither this machine's memory nor more text
    huge = [*asked, "--epochs", 4, "--predict", 200, "--plan"]
    assert "depth 4: model: " in verb(*huge).stdout
    verb(*huge, "--check", code=2)
    found = json.loads(verb(*asked, "--predict", "5", "--json").stdout)
    points = [(run["operations"], run["bpb"]) for run in found["runs"]]
    assert found["predictions"][0]["loss"] == predict(points, found["predictions"][0]["operations"]).loss
    assert found["predictions"][0]["measured"] is None
    before = {path: path.stat().st_mtime_ns for path in Path("models").rglob("model.safetensors")}
    again = verb(*asked, "--predict", "5", "--check").stdout
    assert "measured" in again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(Path("models").glob("c-d*/model.safetensors"))) == 5
    assert "c-d5" in Path("models/c-scaling.html").read_text(encoding="utf-8")


def test_the_page_is_told_in_chinese(tmp_path: Path) -> None:
    runs = [{"name": f"d{i}", "operations": c, "loss": TRUE.loss(c)} for i, c in enumerate(PLACES)]
    said = {"name": "d9", "operations": 1e15, "loss": 2.0, "low": 1.9, "high": 2.1, "measured": None}
    scaling_page.draw(tmp_path / "x.html", {"measure": "loss", "runs": runs, "predictions": [said]}, TRUE, "zh")
    assert "d9 的预测" in (tmp_path / "x.html").read_text(encoding="utf-8")
