"""A trial over seeds: the interval covers, seeds go on where they were, nothing of the workspace's round is touched."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tiny as t
from steersman import stopping
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.cli.trials import read_seeds
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.eval import over_seeds, over_seeds_words
from steersman.eval.over_seeds import SeedOutcome
from steersman.rounds import registry, repeated
from steersman.stats import Interval, crossed_mean, few_mean, student
from steersman.store import Store
from steersman.types import Candidates, Completion

runner = CliRunner()


@pytest.mark.parametrize(
    ("seeds", "prompts", "of_seeds", "of_prompts", "rest"),
    [(5, 60, 0.1, 0.15, 0.35), (10, 200, 0.04, 0.2, 0.35), (10, 60, 0.0, 0.1, 0.35), (4, 200, 0.1, 0.0, 0.3)],
)
def test_the_interval_covers_other_seeds_and_other_prompts(
    seeds: int, prompts: int, of_seeds: float, of_prompts: float, rest: float
) -> None:
    """Drawn from known variances 300 times, the true mean 0.1 lies inside some 95 % (standard error 1.3) of them."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        drawn = 0.1 + rng.normal(0, of_seeds, (seeds, 1)) + of_prompts * (rng.exponential(1, (1, prompts)) - 1)
        found = crossed_mean(drawn + rng.normal(0, rest, (seeds, prompts)), resamples=500)
        inside += found.low <= 0.1 <= found.high
    assert 0.92 <= inside / 300 <= 0.99


def test_the_interval_of_few_says_that_little_is_known() -> None:
    assert crossed_mean(np.ones((1, 50))).low == -math.inf, "one seed says nothing of other seeds"
    assert crossed_mean(np.full((4, 50), 0.25)) == Interval(0.25, 0.25, 0.25, 200)
    assert [student(d) for d in (3, 9, 1000)] == pytest.approx([3.182, 2.262, 1.962], abs=5e-4)
    assert few_mean([0.6, 0.7]).high == pytest.approx(0.65 + 12.706 * 0.05, rel=0.002)
    assert few_mean([0.6]).high == math.inf
    # an independent computation: two seeds apart by 0.2 and no other noise; t(1) = 12.7 times 0.1
    rows = np.repeat([[0.0], [0.2]], 1000, axis=1)
    assert crossed_mean(rows).high > 0.9


def outcome(seed: int, gains: list[float], **changes: Any) -> SeedOutcome:
    values = {
        "a": "PPO",
        "b": "SFT",
        "judge": "rules",
        "word": "better",
        "difference": Interval(float(np.mean(gains)), 0.0, 0.2, len(gains)),
        "prompts": tuple(f"p{i}" for i in range(len(gains))),
        "scores_a": tuple(0.5 + g for g in gains),
        "scores_b": (0.5,) * len(gains),
        "kl": Interval(5.0 + seed, 4.0, 6.0, len(gains)),
        "tokens": (20.0, 18.0),
        "accuracy": 0.70,
        "length_accuracy": 0.55,
        "seconds": 10.0,
    }
    return SeedOutcome(seed=seed, **(values | changes))


def test_seeds_together_and_two_trials_side_by_side() -> None:
    rng = np.random.default_rng(0)
    gains = [list(rng.normal(0.1 + 0.02 * s, 0.2, 40)) for s in range(5)]
    seeds = [outcome(s, g, word="better" if s else "no evidence", kept_sft=not s) for s, g in enumerate(gains)]
    of = over_seeds.together(seeds, "simulated")
    assert of.word == "better"
    assert of.difference.value == pytest.approx(np.mean(gains))
    assert of.spread == pytest.approx(np.std([np.mean(g) for g in gains], ddof=1))
    assert (of.accuracy.value, of.lead.value) == pytest.approx((0.70, 0.15))
    said = of.to_json()
    assert said["seeds_by_word"] == {"better": 4, "no evidence": 1, "worse": 0}
    assert said["kept_sft"] == 1
    json.dumps(said, allow_nan=False)
    assert SeedOutcome.from_json(json.loads(json.dumps(seeds[0].to_json())), "here") == seeds[0]
    with pytest.raises(ValueError, match="here: not the outcome of a seed"):
        SeedOutcome.from_json({"seed": 1}, "here")
    for language, words in (("en", "Over 5 seeds PPO is better than SFT."), ("zh", "在 5 个种子上，PPO 优于 SFT。")):
        text = "\n".join(over_seeds_words.lines(of, language))
        assert words in text
        assert {"en": "no evidence, kept SFT", "zh": "无证据，保留 SFT"}[language] in text
        assert f"{of.difference.value:+.3f}" in text
    lower = [outcome(s, [g - 0.3 for g in mine]) for s, mine in enumerate(gains[:4])]
    versus = over_seeds.against(seeds, lower, "gentle")
    assert versus.seeds == (0, 1, 2, 3)
    assert (versus.word, versus.difference.value) == ("better", pytest.approx(0.3))
    assert over_seeds.together(seeds[:2], "people").word == "no evidence", "two seeds are no spread"
    with pytest.raises(ValueError, match="not evaluated on the same test prompts"):
        over_seeds.together([seeds[0], outcome(1, gains[1][:-1])], "people")
    with pytest.raises(ValueError, match="expected the same comparison"):
        over_seeds.together([seeds[0], outcome(1, gains[1], judge="reward model")], "people")
    with pytest.raises(ValueError, match="own reward model"):
        over_seeds.against(seeds, [outcome(0, gains[0], judge="reward model")], "x")


def test_prompts_of_one_name_are_one() -> None:
    gains = [[0.0, 0.4, 0.2], [0.2, 0.6, 0.4]]
    of = over_seeds.together([outcome(s, g, prompts=("a", "a", "b")) for s, g in enumerate(gains)], "people")
    assert of.n_prompts == 2
    assert of.difference.value == pytest.approx((0.2 + 0.2 + 0.4 + 0.4) / 4)


@pytest.mark.parametrize(
    ("text", "seeds"), [("1-3", [1, 2, 3]), ("4", [4]), ("1,2,5-7", [1, 2, 5, 6, 7]), (" 3 - 4 , 3", [3, 4])]
)
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,,2", "-1", "1-99999", "1.5"])
def test_bad_seeds_are_told(text: str) -> None:
    with pytest.raises(ValueError, match="--seeds"):
        read_seeds(text)


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    config = from_dict({"model": {"base": str(tiny)}, "project": {"domain": "shop"}}, "test")
    made = Workspace.create(tmp_path / "w", config)
    asked = [t.conversation(f"Where is {i}?", id=f"p{i}") for i in range(3)]
    write_dataset(made.data, "asked", "prompts", "train", asked, "test", {"purpose": "rank"})
    return made


def ranked(space: Workspace, simulated: bool) -> None:
    with Store.open(space.store) as store:
        given = [Completion(text, (1,), (0.0,), "stop", "v") for text in ("a", "b")]
        store.add_candidates(1, [Candidates(t.conversation("Where?", id="c"), tuple(given))])
        (task,) = store.tasks(1)
        store.add_ranking(task.id, ranks=(1, 2), labeler="ann", simulated=simulated)


Made = list[tuple[int, bool, list[str]]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """The loop's stages replaced: what was asked for is noted, a model is written; seed 3 is stopped once."""
    asked: Made = []
    stops = iter([True])

    def make_all(space: Any, simulated: bool, only: Any = None) -> None:
        seed = space.config.project.seed
        asked.append((seed, simulated, [s.name for s in (registry.loop() if only is None else only)]))
        folder = space.stage_dir("sft")
        (folder / "adapter").mkdir(parents=True, exist_ok=True)
        for name in ("model.safetensors", "manifest.json", "metrics.jsonl", "adapter/manifest.json"):
            (folder / name).write_text("{}")
        (space.stage_dir("report") / "answers").mkdir(parents=True, exist_ok=True)
        (space.stage_dir("report") / "answers" / "sft.jsonl").write_text("{}")
        if simulated:
            space.store_path.write_text("")
        if seed == 3 and next(stops, False):
            raise stopping.Stop(15)

    def read(_folder: Path, config: Any, _maker: Any) -> Any:
        return None, None, config.project.seed, {"reward_report": None}

    def of(seed: int, _verdict: Any, _prompts: Any, stands: int, _reward: Any, seconds: float) -> SeedOutcome:
        assert seed == stands
        return outcome(seed, [0.1 * seed, 0.2, 0.3, *[0.2] * 9], seconds=seconds)

    monkeypatch.setattr(repeated, "make_all", make_all)
    monkeypatch.setattr(repeated.evaluation, "read", read)
    monkeypatch.setattr(over_seeds, "outcome", of)
    return asked


def command(space: Workspace, *args: str, code: int = 0) -> Any:
    result = runner.invoke(build(), ["trial", *args, "-w", str(space.root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def footprint(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and "trials" not in p.parts)
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_a_trial_goes_on_keeps_little_and_leaves_the_round_alone(space: Workspace, made: Made) -> None:
    ranked(space, simulated=True)
    before = footprint(space.root)
    folder = space.root / "trials" / "001"
    stopped = command(space, "--seeds", "1-4", code=143)
    assert "run the same command again" in stopped["error"]
    assert [seed for seed, *_ in made] == [1, 2, 3]
    assert sorted(p.parent.name for p in folder.glob("*/outcome.json")) == ["001", "002"]
    said = command(space, "--seeds", "1-4")
    assert [seed for seed, *_ in made] == [1, 2, 3, 3, 4], "finished seeds are not run again"
    assert (said["n_seeds"], said["rankings"], said["word"]) == (4, "simulated", "better")
    assert all(simulated for _, simulated, _ in made), "each seed's own answers are ranked"
    kept = {str(p.relative_to(folder / "003")) for p in (folder / "003").rglob("*") if p.is_file()}
    assert kept == {"outcome.json", "sft/manifest.json", "sft/metrics.jsonl", "report/answers/sft.jsonl"}
    assert not (folder / "store.db").exists(), "people's words are not copied where nobody ranked"
    assert footprint(space.root) == before
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Over 4 seeds PPO is better than SFT." in page
    assert "<svg" in page
    assert json.loads((folder / "report.json").read_text()) == said
    assert len(command(space, "--seeds", "5")["seeds"]) == 5, "more seeds join"


def test_a_seed_that_was_measured_is_not_measured_again(
    space: Workspace, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink, stops = repeated.shrink, iter([True])

    def stopped(folder: Path) -> None:
        if next(stops, False):
            raise stopping.Stop(15)
        shrink(folder)

    monkeypatch.setattr(repeated, "shrink", stopped)
    command(space, "--seeds", "1", "--simulated", code=143)
    assert command(space, "--seeds", "1", "--simulated")["n_seeds"] == 1
    assert len(made) == 1
    assert not [*(space.root / "trials").rglob("*.safetensors")]


def test_peoples_rankings_are_used_for_all_seeds(space: Workspace, made: Made) -> None:
    ranked(space, simulated=False)
    before = footprint(space.root)
    assert command(space, "--seeds", "1-2", "--simulated", "--keep-models")["rankings"] == "people"
    assert {(simulated, *names) for _, simulated, names in made} == {(False, "sft", "reward", "ppo", "report")}
    assert footprint(space.root) == before
    copy = space.root / "trials" / "001" / "store.db"
    with sqlite3.connect(copy) as database:
        assert database.execute("select count(*) from rankings").fetchone() == (1,)
    assert (space.root / "trials" / "001" / "002" / "sft" / "model.safetensors").exists()


def test_another_setting_is_another_trial_and_two_compare(
    space: Workspace, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(space, "--seeds", "1,2,4", "--name", "plain", "--simulated")
    told = command(space, "--seeds", "1,2,4", "--name", "plain", "--simulated", "-s", "ppo.kl.coef=0.2", code=2)
    assert "holds a trial with another ppo.kl_coef" in told["error"]
    more = [0.1 + 0.01 * i for i in range(12)]
    values = itertools.count(1)
    monkeypatch.setattr(over_seeds, "outcome", lambda seed, *_: outcome(seed, [g + 0.001 * next(values) for g in more]))
    options = ("--seeds", "1,2,4", "--name", "gentle", "--simulated", "-s", "ppo.kl.coef=0.2")
    said = command(space, *options, "--against", "plain")
    assert said["against"]["seeds"] == [1, 2, 4]
    assert "Against trial plain over 3 seeds" in (space.root / "trials/001-gentle/report.html").read_text()
    for args, what in (
        (("--against", "none"), "--against none"),
        (("--name", "../x"), "--name ../x"),
        (("--seeds", "x"), "--seeds x"),
    ):
        assert what in command(space, *args, "--simulated", code=2)["error"]


def test_without_rankings_it_says_what_to_do(space: Workspace, made: Made) -> None:
    told = command(space, "--seeds", "1", code=2)
    assert "--simulated" in told["error"]
    assert not (space.root / "trials" / "001").exists()
