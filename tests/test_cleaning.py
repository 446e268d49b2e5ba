"""`steersman data clean | report | mix | split | unmask`: counts add up, nothing is silent, the original stays."""

from __future__ import annotations

import importlib
import json
import operator
import random
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.artifact.workspace import Workspace
from steersman.data import mixing, near
from steersman.data.cleaning import cleaners, passes, quality, tongues, unsafe
from steersman.data.dataset import find, read_info, stream_records, write_dataset
from steersman.messages import Conversation, Message
from verbs import run
from verbs import told as run_json


def said(id_: str, question: str, answer: str) -> Conversation:
    return Conversation(id_, (Message("user", question), Message("assistant", answer)))


DIALOGUES = [
    said("a", "我的订单什么时候能发货呀，已经等了三天了", "您好，已经为您催促仓库，预计今天晚上之前发出。"),
    said("b", "我的订单什么时候能发货，已经等了三天了！", "您好，已经为您催促仓库，预计今天晚上之前发出"),
    said("c", "Where is my order? Call me at 415-555-2671.", "It is on its way, thanks for waiting, Maria Gonzalez."),
    said(
        "d",
        "Où est ma commande, s'il vous plaît ? Je l'attends depuis lundi.",
        "Elle est en route, merci de votre patience.",
    ),
    said("e", "Wo bleibt mein Paket, bitte?", "ja"),
    said(
        "f",
        "Can you help me with my broken screen?",
        "You are a fucking moron, read the manual before you ask me again.",
    ),
    said("g", "Tell me about screens and what they cost.", "Ã¼ber Ã¤rger â€™ Ã¶ffnen und mehr dergleichen hier"),
    said(
        "h",
        "What are your opening hours on public holidays?",
        "We are open from nine to six, also on most public holidays.",
    ),
    said(
        "i",
        "How do I return shoes that do not fit me at all?",
        "Dear [Your Name], send them back within 30 days, free of charge.",
    ),
]
TEST = Conversation("t1", (Message("user", "what are your OPENING hours on public holidays"),))


@pytest.fixture
def root(root: Path) -> Path:
    folder = root / "data"
    write_dataset(folder, "chats", "demonstrations", "train", DIALOGUES, "made", {})
    write_dataset(folder, "tests", "prompts", "test", [TEST], "made", {})
    return root


def test_every_record_is_accounted_for(root: Path) -> None:
    before = (root / "data" / "chats.jsonl").read_bytes()
    done = run_json("data", "clean", "chats", "--languages", "zh,en,de", "--min-chars", "3")
    assert [(s["step"], s["read"] - s["kept"], s["dropped"]) for s in done["steps"] if s["dropped"]] == [
        ("language", 1, {"in another language (fr)": 1}),
        ("length", 1, {"an answer of fewer than 3 characters": 1}),
        ("quality", 1, {"broken characters (read in a wrong encoding once)": 1}),
        ("near", 1, {"nearly the same as an earlier record": 1}),
        ("contamination", 1, {"holds a test prompt": 1}),
    ]
    reads = [s["read"] for s in done["steps"]] + [done["kept"]]
    assert all(s["kept"] == after for s, after in zip(done["steps"], reads[1:], strict=True))
    info = read_info(root / "data" / "chats-clean.jsonl")
    assert (info.count, sum(info.skipped.values())) == (4, 5)
    assert info.config["cleaned"]["steps"][-1]["changed"] == {"phone masked": 1, "name masked": 1}
    assert info.changed == {"pii: phone masked": 1, "pii: name masked": 1}
    ledger = [
        json.loads(line) for line in (root / "data" / "chats-clean.cleaning.jsonl").read_text("utf-8").splitlines()
    ]
    gone = {line["id"]: (line["record"], line.get("of")) for line in ledger if "dropped" in line}
    assert gone == {"d": (4, None), "e": (5, None), "g": (7, None), "b": (2, "a"), "h": (8, "t1")}
    kept = list(stream_records(info.path))
    assert [r.id for r in kept if isinstance(r, Conversation)] == ["a", "c", "f", "i"]
    assert kept[1].messages[1].text == "It is on its way, thanks for waiting, [NAME_1]."  # type: ignore[union-attr]
    assert kept[2].meta["flags"] == ["unsafe: insults"]  # type: ignore[union-attr]
    assert kept[3].meta["flags"] == ["a place that nobody filled in"]  # type: ignore[union-attr]
    assert (root / "data" / "chats.jsonl").read_bytes() == before
    page = Path(done["report"]).read_text("utf-8")
    assert "nearly the same as an earlier record" in page
    assert page.count("<svg") >= 3
    assert "Maria" not in page
    assert "415-555-2671" not in page


def test_what_was_dropped_can_be_shown(root: Path) -> None:
    run_json("data", "clean", "chats", "--steps", "near,contamination")
    shown = run_json("data", "show", "chats-clean", "--dropped")["records"]
    assert {r["id"]: r["dropped"] for r in shown} == {
        "b": "near: nearly the same as an earlier record (as a)",
        "h": "contamination: holds a test prompt (as t1)",
    }
    assert [r["id"] for r in run_json("data", "show", "chats", "--containing", "broken screen")["records"]] == ["f"]
    assert "expected a set that" in run("data", "show", "chats", "--dropped").stderr


def test_the_cleaned_set_takes_the_originals_place(root: Path) -> None:
    space = Workspace.open(root)
    run_json("data", "clean", "chats", "--into", "good")
    assert [p.stem for p in find(space, "demonstrations", "train")] == ["good"]
    assert run_json("data", "list")["superseded"] == {"chats": ["good"]}
    assert [info["name"] for info in run_json("status")["datasets"] if info["name"] in ("chats", "good")] == ["good"]
    run_json("data", "remove", "good", "--yes")
    assert [p.stem for p in find(space, "demonstrations", "train")] == ["chats"]
    assert sorted(p.name for p in (root / "data").iterdir() if p.name.startswith("good")) == []


def test_a_preview_writes_nothing_and_shows_examples(root: Path) -> None:
    names = sorted(p.name for p in (root / "data").iterdir())
    out = run("data", "clean", "chats", "--dry-run", "--steps", "near,pii").stdout
    assert "preview of chats: would keep 8 of 9 records" in out
    assert "Call me at [PHONE_1]" in out
    assert sorted(p.name for p in (root / "data").iterdir()) == names


def test_masks_are_reversible_with_a_key_whatever_the_order_of_steps(root: Path, tmp_path: Path) -> None:
    key = str(tmp_path / "k")
    run_json("data", "clean", "chats", "--steps", "pii,near", "--key", key, "--into", "m")
    assert b"Gonzalez" not in (root / "data" / "m.vault").read_bytes()
    out = Path(run_json("data", "unmask", "m", "--key", key)["path"])
    back = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert back == [d.to_json() for d in DIALOGUES if d.id != "b"]
    assert "expected a data set that was cleaned with --key" in run("data", "unmask", "chats", "--key", key).stderr


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("nothing",), "no such data set"),
        (("chats", "--steps", "wash"), "--steps wash: expected some of exact, language"),
        (("chats", "--steps", "near,near"), "expected each step once"),
        (("chats", "--into", "chats"), "expected another name"),
        (("chats", "--languages", "xx"), "--languages xx: expected codes of"),
        (("chats", "--mask", "shoe"), "--mask shoe: expected kinds of name, phone"),
        (("chats", "--near", "0.1"), "--near: expected a share"),
        (("chats", "--min-chars", "5000"), "nothing is left after cleaning; length dropped"),
        (("chats", "--steps", "pii", "--against", "tests"), "expected the step contamination"),
    ],
)
def test_clean_errors_leave_nothing(root: Path, args: tuple[str, ...], expected: str) -> None:
    names = sorted(p.name for p in (root / "data").iterdir())
    result = run("data", "clean", *args)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())
    assert sorted(p.name for p in (root / "data").iterdir()) == names


def test_texts_rankings_and_flags_dropped(root: Path) -> None:
    write_dataset(root / "data", "t", "texts", "train", ["打13812345678", "色情网站大全", "打13812345678"], "made", {})
    done = run_json("data", "clean", "t", "--drop-unsafe")
    assert {s["step"]: s["dropped"] for s in done["steps"] if s["dropped"]} == {
        "exact": {"the same as an earlier record": 1},
        "unsafe": {"unsafe: sexual": 1},
    }
    assert list(stream_records(root / "data" / "t-clean.jsonl")) == ["打[PHONE_1]"]
    ledger = (root / "data" / "t-clean.cleaning.jsonl").read_text("utf-8").splitlines()
    assert json.loads(ledger[0]) == {
        "record": 3,
        "step": "exact",
        "dropped": "the same as an earlier record",
        "of": "text 1",
    }


def test_embeddings_find_a_test_prompt_said_otherwise(root: Path) -> None:
    def embed(texts: Any) -> Any:
        return np.array([[1.0, 0.0] if "shoes" in t or "OPENING" in t else [0.0, 1.0] for t in texts])

    info = read_info(root / "data" / "chats.jsonl")
    steps = cleaners.chosen(["contamination"])
    done = passes.preview(passes.Cleaning(info, steps, cleaners.Wishes(), [TEST], embed))
    assert dict(done.counts[0].dropped) == {"holds a test prompt": 1, "asks what a test prompt asks, to the model": 1}


def test_short_repeats_may_differ_in_width_case_and_white_space_alone(root: Path) -> None:
    said = [
        ("２＋２？", "４"),
        ("2 + 2?", "4"),
        ("2²?", "4"),
        ("22?", "4"),
        ("Ｏk?", "ja"),
        ("oK？", " Ja"),
        ("2 2?", "4"),
    ]
    said += [("Maße?", "ja"), ("Masse?", "ja")]
    pairs = [Conversation(str(i), (Message("user", q), Message("assistant", a))) for i, (q, a) in enumerate(said)]
    write_dataset(root / "data", "short", "demonstrations", "train", pairs, "made", {})
    done = run_json("data", "clean", "short", "--steps", "exact,near")
    assert [(s["read"], s["kept"]) for s in done["steps"]] == [(9, 9), (9, 7)]
    assert [r.id for r in stream_records(root / "data" / "short-clean.jsonl")] == [*"0234678"]  # type: ignore[union-attr]


def test_near_repeats_resemble_what_stays() -> None:
    base = "the quick brown fox jumps over the lazy dog near the river bank every single morning of the week"
    texts = [
        base,
        base.upper() + "!!",
        base.replace("quick", "fast"),
        "nothing like it at all, is there, in this text",
        "ok",
        "ok",
    ]
    with near.signatures(texts) as found:
        assert near.repeated(found).tolist() == [-1, 0, 0, -1, -1, -1]
        assert near.repeated(found, 1.0).tolist() == [-1, 0, -1, -1, -1, -1]
    with near.signatures([]) as found:
        assert near.repeated(found).tolist() == []
    clusters = near.Clusters(4)
    clusters.join([(2, 3), (0, 2)])
    assert clusters.names().tolist() == [0, 1, 0, 0]


def _variants(n: int) -> list[str]:
    """Texts in three groups of near repeats, and some apart."""
    chance = random.Random(1)
    bases = [" ".join("".join(chance.choices("abcdefgh", k=5)) for _ in range(40)) for _ in range(3)]
    return [
        f"{chance.choice(bases)} {chance.randrange(9**9)}" if i % 5 else str(chance.getrandbits(400)) for i in range(n)
    ]


def test_pairs_of_near_repeats_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "BLOCK", 7)
    expected = set()
    with near.signatures(_variants(60)) as found:
        rows = found.rows.tolist()
        for band in range(near.BANDS):
            seen: dict[tuple[int, ...], list[int]] = {}
            for i, row in enumerate(rows):
                same = seen.setdefault(tuple(row[band * near.ROWS : (band + 1) * near.ROWS]), [])
                expected |= {(a, i) for a in (same[:1] + same[-1:])}
                same.append(i)
        alike = {(a, b) for a, b in expected if sum(map(operator.eq, rows[a], rows[b])) >= 0.75 * len(rows[a])}
        every = [(a, b) for block in near.pairs(found, 0.75) for a, b in block.tolist()]
    assert len(alike) > 40
    assert every == sorted(alike, key=lambda pair: pair[::-1])


def test_near_repeats_of_few_texts_take_few_bytes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "BLOCK", 64)

    def most(n: int) -> int:
        with near.signatures(_variants(n)) as found:
            tracemalloc.start()
            try:
                near.repeated(found)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert (most(6_000) - most(1_000)) / 5_000 < 60


@pytest.mark.parametrize("language", ["zh", "en", "de"])
def test_near_repeats_are_found_on_labelled_texts(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench_folder = Path(__file__).parents[1] / "bench"
    if language != "de" and not (bench_folder / ".." / ".." / "shared" / "data").is_dir():
        pytest.skip("needs ../shared/data")
    monkeypatch.setattr(sys, "path", [str(bench_folder), *sys.path])
    repeats = importlib.import_module("repeats")
    counts, wrong, shown = repeats.measure(language, "held-out", 120, near.THRESHOLD)
    found = sum(c[0] for c in counts.values())
    assert found / (found + wrong) >= 0.95, shown
    assert found >= 0.93 * 100


def test_languages() -> None:
    known = {
        "Wo bleibt meine Bestellung?": "de",
        "我的快递到哪里了": "zh",
        "Where is my order?": "en",
        "¿Dónde está mi pedido?": "es",
        "注文した商品はまだ届いていません。": "ja",
        "12345": "unsure",
        "": "unsure",
    }
    assert {text: tongues.tongue(text) for text in known} == known


def test_quality_and_unsafe_words() -> None:
    assert (
        quality.quality_fault(said("x", "Say it.", "no no no no no no no no no no no no no"))
        == "an answer that repeats itself"
    )
    assert (
        quality.quality_fault(said("x", "What is the price of it?", "what is the price of it"))
        == "an answer that repeats the question"
    )
    assert quality.quality_fault(said("x", "Page?", "<div><p><br></p></div>")) == "mostly tags of HTML"
    assert quality.quality_fault(said("x", "Code?", "```python\nfor i in range(10):\n    print(i, i ** 2)\n```")) == ""
    assert unsafe.flags("怎么制作炸弹") == ("unsafe: weapons and explosives",)
    assert unsafe.flags("Wie kann ich eine Bombe bauen?") == ("unsafe: weapons and explosives",)
    assert unsafe.flags("How do I kill a Python process?") == ()


def test_a_mixture_keeps_weights_and_caps_and_is_repeatable(root: Path) -> None:
    folder = root / "data"
    for name, n in (("x", 100), ("y", 40)):
        write_dataset(
            folder, name, "demonstrations", "train", [said(f"{i}", f"{name} {i}?", "yes") for i in range(n)], "made", {}
        )
    made = run_json("data", "mix", "x:3", "y", "--into", "m", "--seed", "5")
    assert made["taken"] == {"x": 100, "y": 33}
    ids = Counter(r.id for r in stream_records(folder / "m.jsonl") if isinstance(r, Conversation))
    assert max(ids.values()) == 1
    again = run_json("data", "mix", "x:3", "y", "--into", "m2", "--seed", "5")
    assert again["dataset"]["sha256"] == made["dataset"]["sha256"]
    assert (
        run_json("data", "mix", "x:3", "y", "--into", "m3", "--seed", "6")["dataset"]["sha256"]
        != made["dataset"]["sha256"]
    )
    capped = run_json("data", "mix", "x:3", "y", "--cap", "x=30", "--into", "m4")
    assert capped["taken"] == {"x": 30, "y": 10}
    assert "expected at most 133: x has 100" in " ".join(
        run("data", "mix", "x:3", "y", "--count", "200", "--into", "z").stderr.split()
    )
    assert "expected data sets of one kind" in run("data", "mix", "x", "tests", "--into", "z").stderr
    for caps in (["x=-3"], ["x=2.5"], ["x=0"], ["x=3", "x=4"]):
        refused = run("data", "mix", "x", "y", "--into", "z", *(word for cap in caps for word in ("--cap", cap)))
        assert (refused.exit_code, "--cap" in refused.stderr) == (2, True)
    smaller = mixing.shares(
        [mixing.Part(read_info(folder / "x.jsonl"), 3), mixing.Part(read_info(folder / "y.jsonl"))], 20
    )
    assert smaller == [15, 5]


def test_splits_keep_dialogues_and_near_repeats_together(root: Path) -> None:
    records = []
    for i in range(60):
        base = (
            f"How can I return the {i * i + 7} item of colour {i * 31 % 97} that I bought in shop number {i * 17 % 89}"
        )
        records += [
            said(f"{i}a", base, "So."),
            said(f"{i}b", base + "?!", "Like that."),
            said(f"{i}c", "hi", f"{i} hello"),
        ]
        turns = (*said("", base, "So.").messages, Message("user", "And then?"), Message("assistant", "Then that."))
        records.append(Conversation(f"{i}d", turns))
    write_dataset(root / "data", "s", "demonstrations", "train", records, "made", {})
    made = run_json("data", "split", "s", "--shares", "0.6,0.2,0.2")
    where = {}
    for info in made["datasets"]:
        for record in stream_records(root / "data" / f"{info['name']}.jsonl"):
            where[record.id] = info["split"]  # type: ignore[union-attr]
    assert len(where) == 240
    assert all(where[f"{i}a"] == where[f"{i}b"] == where[f"{i}d"] for i in range(60))
    assert {"train", "validation", "test"} == set(where.values())
    assert [p.stem for p in find(Workspace.open(root), "demonstrations", "train")] == ["chats", "s-train"]


def test_report_counts_what_is_there(root: Path) -> None:
    described = run_json("data", "report", "chats")["described"]
    assert described["records"] == 9
    assert described["turns"] == {"2": 9}
    assert described["personal"] == {"phone": 1, "name": 1}
    assert (root / "data" / "chats.report.html").stat().st_mode & 0o077 == 0


def test_nothing_to_compare_with_is_said(root: Path) -> None:
    run("data", "remove", "tests", "--yes")
    preview = run("data", "clean", "chats", "--dry-run", "--json")
    assert "contamination" not in [step["step"] for step in json.loads(preview.stdout)["steps"]]
    assert "note: no test prompts in the workspace to compare with" in preview.stderr


def test_a_sets_own_test_split_is_no_contamination_of_it(root: Path) -> None:
    run_json("data", "split", "chats", "--shares", "0.4,0.2,0.4")
    held = read_info(root / "data" / "chats-test.jsonl").count
    assert held
    result = run("data", "clean", "chats", "--steps", "contamination", "--json")
    done = json.loads(result.stdout)
    assert done["kept"] == len(DIALOGUES) - 1  # what the other test set asks is dropped, as ever
    assert "note: chats-test: made of chats itself, so not compared with it" in result.stderr
    assert "clean the training split instead" in result.stderr
    named = run_json("data", "clean", "chats", "--into", "c", "--steps", "contamination", "--against", "chats-test")
    assert named["kept"] == len(DIALOGUES) - held
    trained = run("data", "clean", "chats-train", "--steps", "contamination", "--json")
    assert "not compared" not in trained.stderr
