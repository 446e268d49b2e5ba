"""The report page: complete, self-contained, escaped, deterministic, and silent about what was not measured."""

from __future__ import annotations

import dataclasses
import functools
import html.parser
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.config import EvalConfig
from steersman.eval import report_text, wording
from steersman.eval.curves import best_row
from steersman.eval.report import Shown, write_report
from steersman.eval.verdict import ModelAnswers, Verdict, verdict
from steersman.rounds import registry
from steersman.types import AxisScores, Conversation, Message

INTENTS = ("order_status", "return", "refund", "invoice", "delivery", "complaint", "small_talk", "out_of_scope")
CONFIG = EvalConfig(bootstrap=400)


def make_prompts(n: int) -> list[Conversation]:
    out = []
    for i in range(n):
        turns = [
            Message("system", "You are the assistant of a shop."),
            Message("user", f"Where is my order A{1000 + i}?"),
        ]
        if i % 4 == 0:
            turns += [
                Message("assistant", "May I have your name?"),
                Message("user", "我叫李雷，请用中文回答 <b>quickly</b>"),
            ]
        out.append(Conversation(f"test-{i:04d}", tuple(turns), {"intent": INTENTS[i % len(INTENTS)]}))
    return out


def make_model(name: str, label: str, n: int, level: float, tokens: int, kl: float | None = None) -> ModelAnswers:
    rng = random.Random(name)

    def axis(shift: float) -> float:
        return min(1.0, max(0.0, rng.gauss(level + shift, 0.15)))

    reasons = ("names the right order", "ends without the requested greeting")
    scores = [AxisScores(axis(0.0), axis(-0.05), axis(0.1), reasons) for _ in range(n)]
    lengths = [max(3, round(rng.gauss(tokens, tokens / 4))) for _ in range(n)]
    answers = [
        f"Your order A{1000 + i} left our warehouse. " + "It arrives soon. " * (lengths[i] // 8) for i in range(n)
    ]
    return ModelAnswers(
        name,
        label,
        answers,
        lengths,
        ["length" if rng.random() < (0.5 if name == "base" else 0.03) else "stop" for _ in range(n)],
        scores,
        [rng.gauss(level * 4 - 2, 1) for _ in range(n)],
        None if kl is None else [abs(rng.gauss(kl, kl / 5)) for _ in range(n)],
        maker=registry.maker_of(name),
    )


def make_curves() -> dict[str, list[dict[str, Any]]]:
    rng = random.Random(1)
    sft = [
        {
            "step": s,
            "loss": 2.5 * math.exp(-s / 60) + 0.9 + rng.gauss(0, 0.05),
            "lr": 5e-5 * (1 - s / 400),
            "tokens_per_second": 900,
        }
        | ({"eval_loss": 2.4 * math.exp(-s / 60) + 1.0} if s % 50 == 0 else {})
        for s in range(400)
    ]
    ppo: list[dict[str, Any]] = []
    for i in range(40):
        row: dict[str, Any] = {
            "iteration": i,
            "reward": 1.6 * (1 - math.exp(-i / 15)) + rng.gauss(0, 0.1),
            "kl": 0.2 + 0.2 * i,
            "entropy": 1.8 - 0.02 * i,
            "clip_fraction": 0.1,
            "explained_variance": min(0.7, i / 30),
            "length": 50 + i / 4,
            "no_eos": 0.03,
            "kl_coef": 0.05,
            "samples": [{"prompt": "Where is my order?", "answer": f"Answer at {i}"}],
        }
        if i % 5 == 4:
            row |= {"eval_reward": 1.5 * (1 - math.exp(-i / 15)), "eval_kl": 0.2 + 0.2 * i}
        ppo.append(row)
    reward = [{"step": s, "loss": 0.69 - s / 500 + rng.gauss(0, 0.03), "accuracy": 0.5 + s / 300} for s in range(80)]
    return {"sft": sft, "reward": reward, "ppo": ppo}


REWARD_REPORT = {
    "accuracy": {"value": 0.78, "low": 0.73, "high": 0.82, "n": 540},
    "length_baseline": {"value": 0.55, "low": 0.5, "high": 0.6, "n": 540},
    "calibration": [
        {
            "p": 0.5 + 0.05 * k,
            "accuracy": 0.52 + 0.045 * k,
            "n": 90 - 8 * k,
            "low": 0.44 + 0.045 * k,
            "high": 0.6 + 0.04 * k,
        }
        for k in range(1, 10)
    ],
    "ece": 0.031,
    "n_train_prompts": 600,
    "n_pairs": 540,
    "label_noise": 0.1,
}
FACTS = {
    "base model": "SmolLM2-135M-Instruct",
    "rankings": "simulated, 10 % of judgements flipped",
    "code version": "0.1.0",
    "config": {"ppo.kl_coef": 0.05, "ppo.iterations": 40},
    "data": {"demonstrations": "sha256 0f3a", "ranking prompts": None},
    "notes": ["one", {"two": 2}],
}


def make_all(n: int = 64) -> tuple[list[Conversation], list[ModelAnswers], Verdict]:
    prompts = make_prompts(n)
    models = [
        make_model("base", "base model", n, 0.3, 90),
        make_model("sft", "SFT", n, 0.6, 48),
        make_model("ppo", "PPO", n, 0.72, 56, kl=6.0),
    ]
    result = verdict(models, prompts, CONFIG, judge="shop rules", simulated_rankings=True)
    return prompts, models, result


class Checker(html.parser.HTMLParser):
    """Counts tags, collects ids and references, and complains about tags that do not nest."""

    VOID = ("meta", "br", "img", "line", "use", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.tags: dict[str, int] = {}
        self.text = ""
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for key, value in attrs:
            if key == "id":
                self.ids.append(str(value))
            if key in ("href", "xlink:href", "src"):
                self.references.add(str(value))
            assert not key.startswith("on"), key
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open, tag
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


def checked(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids)), "ids repeat"
    assert "script" not in checker.tags
    for reference in checker.references:
        assert reference.startswith("#"), f"{reference} is outside the file"
        assert reference[1:] in checker.ids, f"{reference} leads nowhere"
    return checker


@pytest.fixture(scope="module")
def everything() -> tuple[list[Conversation], list[ModelAnswers], Verdict]:
    return make_all()


def write(path: Path, parts: tuple[list[Conversation], list[ModelAnswers], Verdict], **more: Any) -> Path:
    prompts, models, result = parts
    options: dict[str, Any] = {
        "title": "Report",
        "facts": FACTS,
        "curves": make_curves(),
        "reward_report": REWARD_REPORT,
    }
    write_report(path, result, prompts, models, Shown(**(options | more)))
    return path


Full = Callable[[str], Path]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, everything: Any) -> Full:
    """The report with all that it may hold, written once a language: pictures take seconds."""

    @functools.cache
    def made(language: str) -> Path:
        return write_full(tmp_path_factory.mktemp("full") / "report.html", everything, language)

    return made


def write_full(path: Path, everything: Any, language: str) -> Path:
    facts = {**FACTS, "ppo warnings": {"length": "length drift: 90 tokens"}}
    searches = [SEARCH, SEARCH | {"best": None}]
    return write(path, everything, language=language, samples=8, facts=facts, searches=searches)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_full_report(everything: Any, full: Full, language: str) -> None:
    path = full(language)
    page = checked(path)
    t, result = report_text.LANGUAGES[language], everything[2]
    assert page.text.index(wording.claim(result.headline, language)) < page.text.index(t["outcomes"])
    for key in ("axes", "reward_kl", "sft_curves", "ppo_curves", "lengths", "intents", "samples", "facts", "limits"):
        assert t[key] in page.headings, key
    assert t["calibration"] in page.text
    assert t["simulated_limit"] in page.text
    assert t["monitor.length"] in page.text
    assert "length drift: 90 tokens" in page.text
    assert t["kl_axis"] in page.text, "axis labels are text"
    assert t["best"] in page.text
    for i in range(0, 64, 8):
        assert f"{t['prompt']} test-{i:04d}" in page.text
    assert "SmolLM2-135M-Instruct" in page.text
    assert page.tags["svg"] >= 7
    assert list(path.parent.iterdir()) == [path], "a temporary file was left"
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"#0(10203|40506|70809|a0b0c)", raw), "a marker colour was not replaced"
    assert "http://" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", raw)
    assert "https://" not in raw


SEARCH = {
    "stage": "sft",
    "objective": "eval_loss",
    "direction": "minimize",
    "space": [
        {"key": "lr", "values": [], "low": 1e-5, "high": 1e-3, "log": True},
        {"key": "long_dialogues", "values": ["skip", "keep_end"], "low": 0, "high": 0, "log": False},
    ],
    "trials": [
        {
            **{"number": n, "state": state, "value": value, "metrics": {"eval_kl": 0.5 * n}},
            "params": {"lr": 1e-5 * 2**n, "long_dialogues": kind},
        }
        for n, (state, value, kind) in enumerate(
            [
                ("complete", 2.5, "skip"),
                ("pruned", 4.0, "keep_end"),
                ("complete", 1.25, "keep_end"),
                ("pruned", None, "skip"),
                ("fail", None, "skip"),
                ("complete", 1.5, "skip"),
            ]
        )
    ],
    "best": {"number": 2, "value": 1.25},
    "configured": {"number": 0, "value": 2.5},
    "importances": {"lr": 0.75, "long_dialogues": 0.25},
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_searches_are_shown_best_first(full: Full, language: str) -> None:
    t, path = report_text.LANGUAGES[language], full(language)
    page = checked(path)
    assert t["searches"] in page.headings
    assert page.headings.count(t["search_of"].format(stage="sft", objective="eval_loss")) == 1, "none without a result"
    table = path.read_text().split('id="searches"')[1].split("</section>")[0].split("<tr><td>")[1:]
    assert [row.split("</td>")[:5] for row in table] == [
        ["2", "<td>1.25", "<td>1", "<td>4e-05", "<td>keep_end"],
        ["5", "<td>1.5", "<td>2.5", "<td>0.00032", "<td>skip"],
        ["0", "<td>2.5", "<td>0", "<td>1e-05", "<td>skip"],
    ]
    assert "lr 75 %" in page.text
    assert t["search_configured"].format(number=0, value="2.5") in page.text
    assert t["search_text"].format(n=5, pruned=2, way=t["minimize"]) in page.text, "one was interrupted"
    assert t["best_so_far"] in page.text, "the picture's words are text"


def test_same_input_same_bytes(tmp_path: Path, everything: Any, full: Full) -> None:
    assert write_full(tmp_path / "b.html", everything, "en").read_bytes() == full("en").read_bytes()


def test_markup_in_texts_stays_text(tmp_path: Path) -> None:
    label = "<script>alert(1)</script><img src=x onerror=alert(2)> & $x^{2}$"
    evil = label + "\ud800"
    prompts = [Conversation(f"{evil}{i}", (Message("user", evil),), {"intent": evil}) for i in range(12)]
    models = [
        ModelAnswers(
            name,
            label,
            [evil] * 12,
            [5] * 12,
            ["stop"] * 12,
            [AxisScores(x, x, x, (evil,))] * 12,
            maker=registry.maker_of(name),
        )
        for name, x in (("base", 0.2), ("sft", 0.8))
    ]
    result = verdict(models, prompts, CONFIG, judge=evil)
    curves = {
        "ppo": [{"iteration": i, "reward": i, "kl": i, "samples": [{"prompt": evil, "answer": evil}]} for i in (1, 2)]
    }
    path = tmp_path / "report.html"
    write_report(path, result, prompts, models, Shown(title=evil, facts={evil: {evil: [evil]}}, curves=curves))
    page = checked(path)
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "<script" not in path.read_text(encoding="utf-8")


def test_what_is_missing_is_left_out(tmp_path: Path, everything: Any) -> None:
    prompts, models, _ = everything
    t = report_text.EN
    bare = [dataclasses.replace(m, scores=None, kl=None, objectives=None) for m in models[:2]]
    result = verdict(bare, prompts, CONFIG)
    path = tmp_path / "report.html"
    write_report(path, result, prompts, bare, Shown(title="Report"))
    page = checked(path)
    for key in ("reward_kl", "curves", "ppo_curves", "reward_model", "facts", "axes"):
        assert t[key] not in page.headings, key
    assert {t[key] for key in ("models", "lengths", "samples", "limits")} <= set(page.headings)
    assert t["constraint"] not in page.text
    assert "no model here was trained against it" in page.text
    assert t["reward_limit"].format(by="PPO") not in page.text, "nothing was optimised"

    write_report(path, verdict(bare[:1], prompts, CONFIG), prompts, bare[:1], Shown(title="Report"))
    assert t["none"] in checked(path).text


def test_each_objective_has_a_column_and_an_accuracy(tmp_path: Path, everything: Any) -> None:
    prompts, models, _ = everything
    parts = [{"有用": i / 64, "<b>": 2.0} for i in range(64)]
    named = [dataclasses.replace(m, objectives=parts) for m in models]
    report = {"objectives": {"有用": {"accuracy": {"value": 0.625, "low": 0.5, "high": 0.7, "n": 80}}}}
    path = tmp_path / "r.html"
    write_report(path, verdict(named, prompts, CONFIG), prompts, named, Shown(title="Report", reward_report=report))
    text = checked(path).text
    t = report_text.EN
    assert f"{t['reward']}: 有用" in text
    assert f"{t['reward']}: <b>" in text
    assert "0.49" in text
    assert f"有用: {t['rm_accuracy']}" in text
    assert "62.5" in text


def test_empty_and_odd_curves(tmp_path: Path, everything: Any) -> None:
    curves = {
        "sft": [],
        "reward": [{"step": 0, "loss": None}],
        "ppo": [{"iteration": 0, "reward": 0.5, "kl": 0.0, "entropy": math.nan, "samples": []}],
    }
    text = checked(write(tmp_path / "r.html", everything, curves=curves, reward_report=None)).text
    assert report_text.EN["ppo_curves"] in text
    assert report_text.EN["entropy"] not in text
    assert report_text.EN["sft_curves"] not in text


def test_best_checkpoint() -> None:
    rows = [
        {"iteration": 1, "eval_reward": 1.0, "eval_kl": 3.0},
        {"iteration": 2, "eval_reward": 2.0, "eval_kl": 8.0},
        {"iteration": 3, "eval_reward": 9.0, "eval_kl": 30.0},
        {"iteration": 4, "reward": 11.0, "kl": 4.0},
    ]
    assert best_row(rows, 20.0) is rows[1]
    assert best_row([*rows, {"iteration": 5, "best": True}], 20.0) == {"iteration": 5, "best": True}
    assert best_row(rows[3:], 20.0) is None


def test_refuses(tmp_path: Path, everything: Any) -> None:
    prompts, models, result = everything
    with pytest.raises(ValueError, match="language: expected one of en, zh"):
        write_report(tmp_path / "r.html", result, prompts, models, Shown(title="", language="fr"))
    with pytest.raises(ValueError, match="answers of base: expected 3, got 64"):
        write_report(tmp_path / "r.html", result, prompts[:3], models, Shown(title=""))
    with pytest.raises(ValueError, match="reward report: accuracy"):
        write(tmp_path / "r.html", everything, curves={}, reward_report={"accuracy": 0.8})
    assert list(tmp_path.iterdir()) == []


def test_languages_have_the_same_words() -> None:
    for en, zh in ((report_text.EN, report_text.ZH), (wording.EN, wording.ZH)):
        assert set(en) == set(zh)
        for key in en:
            assert set(re.findall(r"{(\w+)", en[key])) == set(re.findall(r"{(\w+)", zh[key])), key
