"""What computes here is chosen by measurement: kept by machine, not flipped by a busy one, and never in tests."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny as t
from steersman import chosen, config_file, machine, waits
from steersman.artifact.workspace import Workspace
from steersman.chosen import FLOAT32, KERNELS, PLAIN
from steersman.cli import demo, demo_sizes, doctor
from steersman.cli.framework import build
from steersman.config import replaced
from steersman.kernels import capabilities


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What is measured counts, in a folder of its own."""
    path = tmp_path / "cache" / "speed.json"
    monkeypatch.delenv(waits.SETTING, raising=False)
    monkeypatch.setattr(chosen, "place", lambda: path)
    monkeypatch.setattr(waits, "place", lambda: path.with_name("waits.json"))
    return path


def test_the_fastest_is_kept_and_a_busy_machine_flips_nothing(kept: Path) -> None:
    assert chosen.kept() is None
    first = chosen.keep({KERNELS: {"learn": 600, "generate": 400}, FLOAT32: {"learn": 500, "generate": 300}}, {2: 9.0})
    assert (first.way, first.dtype, first.kernels, first.threads) == (KERNELS, "bfloat16", True, 0)
    # the kernels were measured while something else ran
    busy = chosen.keep({KERNELS: {"learn": 60, "generate": 40}, FLOAT32: {"learn": 500, "generate": 300}}, {2: 1.0})
    assert busy == first == chosen.kept()
    near = chosen.keep({FLOAT32: {"learn": 680, "generate": 440}}, {})
    assert near.way == KERNELS, "within the margin"
    beside = chosen.keep({FLOAT32: {"learn": 800, "generate": 520}}, {}, chosen.BUSY_MARGIN)
    assert beside.way == KERNELS, "1.3 times, measured beside other work"
    far = chosen.keep({FLOAT32: {"learn": 900, "generate": 500}}, {1: 4.0, 4: 2.0})
    assert (far.way, far.dtype, far.threads) == (FLOAT32, "float32", 2), "nine products by two threads, seen first"
    assert chosen.keep({KERNELS: {"learn": 950, "generate": 520}}, {}).way == FLOAT32, "and back by the margin alone"


def test_another_machine_torch_or_kernels_measure_anew(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen.keep({PLAIN: {"learn": 1.0}}, {})
    monkeypatch.setattr(machine, "cores", lambda: 64)
    chosen.key.cache_clear()
    try:
        assert chosen.kept() is None
    finally:
        chosen.key.cache_clear()
    monkeypatch.undo()


def test_what_cannot_be_read_is_measured_anew(kept: Path) -> None:
    kept.parent.mkdir()
    for text in ("", "[]", "{", json.dumps({chosen.key(): {"way": "by hand", "threads": 1, "paces": {}}}), "[" * 9000):
        kept.write_text(text)
        assert chosen.kept() is None, text
    kept.write_text('{"cpu torch.float32 1": 93203723602.5}')  # as earlier versions wrote it
    assert chosen.best_pace("x", {"products": 2.0}) == {"products": 2.0}
    assert chosen.best_pace("x", {"products": 1.0}) == {"products": 2.0}
    assert json.loads(kept.read_text())["cpu torch.float32 1"] == 93203723602.5


def _add(place: Path, number: int) -> None:
    chosen.place = lambda: place  # type: ignore[assignment]
    chosen.best_pace(f"model {number}", {"learn": float(number)})


def test_processes_that_measure_at_once_lose_nothing(kept: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_add, args=(kept, i)) for i in range(6)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    assert len(json.loads(kept.read_text())) == 6


def test_before_a_measurement_the_instructions_decide(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for known, dtype in ((set(), "bfloat16"), ({"avx2", "fma"}, "float32"), ({"avx512_bf16", "avx2"}, "bfloat16")):
        monkeypatch.setattr(machine, "instructions", lambda known=known: frozenset(known))
        assert chosen.dtype() == dtype, known
    chosen.keep({KERNELS: {"learn": 1.0}, FLOAT32: {"learn": 2.0}}, {})
    assert chosen.dtype() == "float32"
    assert config_file.from_dict({"model": {"dtype": "auto"}}, "x").model.dtype == "float32"
    assert config_file.from_dict({"model": {"dtype": "bfloat16"}}, "x").model.dtype == "bfloat16"
    assert config_file.from_dict({}, "x").model.dtype == "bfloat16", "files of before stay as they are"
    monkeypatch.setenv(waits.SETTING, "off")
    assert chosen.dtype() == "bfloat16"


def test_kernels_that_are_slower_stay_off_unless_asked_for(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen.keep({KERNELS: {"learn": 1.0}, PLAIN: {"learn": 2.0}}, {})
    monkeypatch.delenv(capabilities.SETTING, raising=False)
    assert "measured to be faster" in capabilities.decide().off
    monkeypatch.setenv(capabilities.SETTING, "on")
    assert "measured" not in capabilities.decide().off


def test_a_new_workspace_has_this_machines_dtype_in_words(kept: Path, tmp_path: Path) -> None:
    chosen.keep({KERNELS: {"learn": 1.0}, FLOAT32: {"learn": 2.0}}, {})
    runner = CliRunner()
    for folder, options, dtype in (("a", [], "float32"), ("b", ["-s", "model.dtype=bfloat16"], "bfloat16")):
        assert runner.invoke(build(), ["init", str(tmp_path / folder), *options]).exit_code == 0
        assert Workspace.open(tmp_path / folder).config.model.dtype == dtype
        assert f'dtype = "{dtype}"' in (tmp_path / folder / "steersman.toml").read_text()


def test_every_way_is_measured_on_a_model_made_here(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.train import pace

    ways: list[tuple[str, bool]] = []

    def measured(_folder: Path, dtype: str, _layers: int = 0, longest: int = 0) -> dict[str, float]:
        ways.append((dtype, not capabilities.capabilities().off))
        return {"learn": 100.0 * len(ways)}

    with monkeypatch.context() as patch:
        patch.setattr(pace, "measure", measured)
        patch.setattr(machine, "instructions", lambda: frozenset({"avx512_bf16"}))
        choice = pace.compare()
    assert {dtype for dtype, _ in ways} == {"bfloat16", "float32"}
    assert ("bfloat16", False) in ways
    assert choice.way == FLOAT32, "the last, in this double the fastest by more than the margin"
    assert chosen.kept() == choice
    check, warned, *_ = doctor.check_speed(choice, "bfloat16")
    assert (check.level, warned.level) == ("ok", "warn")
    assert "float32 by PyTorch: learn 300" in check.found or "float32 by PyTorch: learn 200" in check.found
    assert {c.level for c in doctor.check_speed(choice, "float32")} == {"ok"}


def test_emulated_products_are_not_measured(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Zen 3 they took 85 of 110 seconds."""
    from steersman.train import pace

    monkeypatch.setattr(pace, "measure", lambda *_args, **_options: {"learn": 1.0})
    monkeypatch.setattr(machine, "instructions", lambda: frozenset({"avx2"}))
    choice = pace.compare()
    assert list(choice.paces)[-1] == FLOAT32
    assert PLAIN not in choice.paces
    check, *_ = doctor.check_speed(choice, choice.dtype)
    assert f"{PLAIN}: not measured, it is emulated" in check.found
    assert doctor.check_speed(chosen.Choice(FLOAT32, 0, {FLOAT32: {"learn": 1.0}}), "bfloat16")[1].level == "warn"


def test_threads_are_compared_on_an_idle_machine_alone(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.train import pace

    monkeypatch.setattr(pace, "measure", lambda *_args, **_options: {"learn": 1.0})
    monkeypatch.setattr(pace, "_threads", lambda: {1: 9.0, 2: 1.0})
    monkeypatch.setattr("os.getloadavg", lambda: (0.9 * machine.cores(), 0.0, 0.0))
    assert pace.compare().threads == 0
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert pace.compare().threads == 1


def test_a_pace_is_of_real_work(kept: Path, tmp_path: Path) -> None:
    from steersman.train import pace

    found = pace.of_model(t.make_model(tmp_path / "tiny"), "tiny", "float32", 1)
    assert set(found) == {"learn", "generate"}
    assert all(of > 50 for of in found.values()), found


# the demo


def test_the_demos_sizes_are_those_that_the_machine_finishes() -> None:
    for language in ("en", "zh"):
        config = demo.demo_config(language)
        for learn, generate in ((4000.0, 2000.0), (900.0, 500.0), (616.0, 381.0), (60.0, 36.0)):
            of = demo_sizes.fitted(config, {"learn": learn, "generate": generate})
            took = demo_sizes.seconds(of, {"learn": learn, "generate": generate})
            smallest = demo_sizes.SMALLEST[language]
            least = of.data.ranking_prompts == round(smallest * config.data.ranking_prompts)
            assert of.data.ranking_prompts >= smallest * config.data.ranking_prompts - 0.5
            slow = learn < 700 if language == "zh" else learn < 100
            assert took <= demo_sizes.SECONDS or slow
            assert least or of.reward == config.reward, "at the smallest sizes alone heads are solved"
            assert of.data.eval_prompts == (120 if learn < 100 else config.data.eval_prompts), "the proof stays longest"
            assert of.ppo.selection.eval_prompts == config.ppo.selection.eval_prompts or not of.reward.epochs
            assert of.ppo.iterations % of.ppo.selection.eval_every == 0, "the last is looked at"
            assert of.ppo.iterations >= 6
        assert demo_sizes.fitted(config, {"learn": 4000.0, "generate": 2000.0}) == config, "a fast one: all"
    pace = {"learn": 700.0, "generate": 400.0}
    lean = demo_sizes.fitted(demo.demo_config("en"), pace)
    assert (lean.reward.head_init, lean.reward.epochs, lean.ppo.selection.eval_prompts) == ("solved", 0, 80)
    assert lean.sample.temperature == lean.ppo.rollouts.temperature == lean.eval.temperature == 0.7
    told = demo_sizes.told(lean, pace)
    assert "176 prompts to rank (reward models: their heads alone; answers drawn at 0.7), 6 iterations" in told
    # two cores of an EPYC without tiles at 0da96d2, whose loop took 16 min 48 s with ten iterations of 16 prompts
    config = demo.demo_config("en")
    then = dataclasses.replace(config, ppo=replaced(config.ppo, prompts_per_iteration=16, advantage="gae"))
    assert 13 * 60 < demo_sizes.seconds(then, {"learn": 616.0, "generate": 381.0}) < 19 * 60


def test_the_demo_says_its_sizes_and_options_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pace = {"learn": 916.0, "generate": 581.0}
    monkeypatch.setattr(demo_sizes, "measured", lambda _config: pace)
    sized: Any = demo._sized(demo.demo_config("en"), ["data.demonstrations=77", "model.dtype=float32"])
    assert (sized.data.demonstrations, sized.model.dtype) == (77, "float32")
    assert sized.data.ranking_prompts < 440
    said = capsys.readouterr().err
    assert f"77 demonstrations, {sized.data.ranking_prompts} prompts to rank, {sized.ppo.iterations} iterations" in said
    assert "581 tokens/s generated, 916 learned (float32)" in said
    monkeypatch.undo()
    assert demo._sized(demo.demo_config("zh"), []) == demo.demo_config("zh"), "nothing is measured in tests"
