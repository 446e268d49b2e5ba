"""Prompts and answers that a model writes, variants of data, groups, and the sheet in which people decide."""

# ruff: noqa: E501

from __future__ import annotations

import csv
import dataclasses
import io
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from server_double import FakeEngine
from steersman.cli.framework import build
from steersman.cold import proposals, typos
from steersman.cold.augment import augmented, fault
from steersman.cold.overlaps import Pool, rouge_l
from steersman.cold.requests import Asked
from steersman.cold.self_instruct import invented, parsed
from steersman.cold.similar import similar
from steersman.cold.teacher import taught
from steersman.data import made
from steersman.data.clean import language_of
from steersman.data.contamination import overlap
from steersman.data.dataset import load_conversations, write_dataset
from steersman.data.dividing import divided
from steersman.data.split import split_key, split_records
from steersman.engine.protocol import Prompt
from steersman.types import Completion, Conversation, Message, SamplingParams


class Scripted(FakeEngine):
    """Answers as a function of the prompt's last turn says."""

    def __init__(self, answer: Callable[[str], str], reason: str = "stop") -> None:
        super().__init__()
        self.answer, self.reason = answer, reason

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        out = []
        for prompt in prompts:
            assert isinstance(prompt, Conversation)
            self.seen.append((prompt, params))
            texts = [self.answer(prompt.last_user) + (f" {i}" if i else "") for i in range(params.n)]
            out.append([Completion(t, (), (), self.reason, "v1") for t in texts])  # type: ignore[arg-type]
        return out


def asked(answer: Callable[[str], str], reason: str = "stop") -> Asked:
    return Asked(
        Scripted(answer, reason),
        SamplingParams(temperature=0.5, max_tokens=64),
        url="https://key:secret@api.example.com/v1",
    )


def shown(name: str, question: str, answer: str = "") -> Conversation:
    turns = (Message("user", question), *((Message("assistant", answer),) if answer else ()))
    return Conversation(name, turns)


def test_variants_of_rules_say_what_they_are_and_keep_numbers() -> None:
    records = [
        shown("a", "Where is my order A-1234? I paid 20 € on anna@x.example.", "On its way."),
        shown("b", "请问订单SF1234什么时候发货？", "明天。"),
    ]
    found = augmented(records, ["typing", "noise"], 3, seed=1)
    assert found.attempts == 12 == len(found.records) + found.refused.total()
    assert found.records == augmented(records, ["typing", "noise"], 3, seed=1).records
    for variant in found.records:
        about = made.made(variant)
        original = next(r for r in records if r.id == about["from"])
        assert (about["how"], about["of"]) == ("augmented", split_key(original))
        assert variant.messages[1:] == original.messages[1:]
        assert variant.messages[0] != original.messages[0]
        for kept in ("A-1234", "20 €", "anna@x.example") if original.id == "a" else ("SF1234",):
            assert kept in variant.messages[0].text


def test_typing_errors_are_of_neighbours_and_of_one_sound() -> None:
    assert set(typos.LATIN["g"]) >= {"f", "h"}
    assert "z" not in typos.LATIN["t"]
    assert "z" in typos.GERMAN["t"]
    assert "再" in typos.SOUNDS["在"]
    assert "四" in typos.SOUNDS["是"]  # shi for si, as many speakers type
    for text in ("Where is my parcel", "我的订单在哪里", "Wo bleibt die Rechnung über Grüße"):
        for seed in range(20):
            changed = typos.typing(text, random.Random(seed))
            assert changed != text
            assert abs(len(changed) - len(text)) <= 1
    assert typos.typing("12345", random.Random(0)) == "12345"


def test_variants_are_never_in_a_test_split(tmp_path: Path) -> None:
    records = [shown(f"r{i}", f"question number {i} of many") for i in range(200)]
    variants = augmented(records, ["typing"], 1, seed=2).records
    shares = {"train": 0.5, "validation": 0.2, "test": 0.3}
    parts = split_records([*records, *variants], shares)
    assert not any(made.is_augmented(r) for name in ("validation", "test") for r in parts[name])
    held = {split_key(r) for name in ("validation", "test") for r in parts[name]}
    kept = [r for r in parts["train"] if made.is_augmented(r)]
    assert kept
    assert not held & {made.origin_key(r) for r in kept}  # nor in training, where the original is held out
    assert len(kept) == sum(
        split_key(r) not in held for r in records if any(made.made(v)["from"] == r.id for v in variants)
    )
    apart = augmented([shown("z", "How do I return shoes?")], ["typing"], 1, 5).records
    assert overlap([shown("t", "How do I return shoes?")], apart).exact == 1  # whatever its words are now
    whole = write_dataset(tmp_path, "whole", "prompts", "train", [*records, *variants], "here", {})
    of = divided(whole, shares, 0, 0.99, tmp_path)
    of_records, of_variants = of.splits[: len(records)], of.splits[len(records) :]
    assert set(of_variants) == {"train", ""}
    by_id = {r.id: split for r, split in zip(records, of_records, strict=True)}
    assert all(
        (by_id[made.made(v)["from"]] == "train") == (split == "train")
        for v, split in zip(variants, of_variants, strict=True)
    )
    with pytest.raises(ValueError, match="expected no augmented record outside of the training split"):
        write_dataset(tmp_path, "x", "prompts", "test", variants, "here", {})
    assert not list(tmp_path.glob("x*"))
    assert write_dataset(tmp_path, "x", "prompts", "train", variants, "here", {}).count == len(variants)
    again = load_conversations(tmp_path / "x.jsonl", "prompts")
    assert all(made.is_augmented(r) for r in again)


def test_a_models_variants_are_held_against_the_original() -> None:
    records = [
        shown("a", "Where is my order 1234?", "It left on 5 May."),
        shown("b", "怎么退货，单号12？", "七天内寄回。"),
    ]

    def translate(text: str) -> str:
        source = text.rpartition("\n\n")[2]
        known = {"Where is my order 1234?": "我的订单1234在哪里？", "It left on 5 May.": "它于5月5日发出。"}
        return known.get(
            source, "How do I return it, number 12?" if "退货" in source else "Send it back within seven days."
        )

    found = augmented(records, ["translate"], 1, 0, asked(translate))
    assert [r.messages[0].text for r in found.records] == ["How do I return it, number 12?"]
    assert found.refused == {"translate: numbers differ from the original's": 1}  # 5 May became 5月5日
    about = made.made(found.records[0])
    assert (about["host"], about["model"], about["method"], about["settings"]["temperature"]) == (
        "api.example.com",
        "tiny",
        "translate",
        0.5,
    )
    assert "secret" not in json.dumps(about)
    assert fault("Where is it?", "Where is it now, please?", "paraphrase", "stop") == ""
    assert fault("Where is it?", "它在哪里", "paraphrase", "stop") == "in the wrong language"
    assert fault("Where is it?", "where is it", "paraphrase", "stop") == "the original once more"
    assert fault("Where is it?", "Whe", "paraphrase", "length") == "empty or cut off"
    with pytest.raises(ValueError, match="expected a model that writes it"):
        augmented(records, ["paraphrase"], 1, 0)


def test_rouge_l() -> None:
    assert rouge_l(["the", "cat", "sat"], ["the", "cat", "sat"]) == 1
    assert rouge_l(["the", "cat", "sat"], ["a", "dog"]) == 0
    assert rouge_l(["a", "b", "c", "d"], ["a", "x", "c"]) == pytest.approx(2 * 2 / 7)
    pool = Pool(["怎么退货", "where is my order"])
    assert pool.nearest("怎么退货呢")[1] == "怎么退货"
    assert pool.nearest("怎么退货呢")[0] == pytest.approx(8 / 9)
    assert pool.nearest("nothing alike", 0.5) == (0.0, "")


def test_new_prompts_are_novel_and_good_and_every_line_is_counted() -> None:
    seeds = ["Where is my parcel?", "How do I change my address?", "怎么开发票？", "什么时候发货？"]

    def write(text: str) -> str:
        if language_of(text) == "zh":
            return "5. 可以换一个颜色吗？\n6. 怎么开发票？\n7. 请看这张图片是什么\n8. 好"
        return "5. Can I pay by bank transfer?\n6. Where is my parcel\n7. What does this picture show?\n8. Do you ship to Norway?\n9. held out question here\n10. Can I pay by"

    found = invented(seeds, 4, asked(write), known=["Held-out question here!"], seed=3, most_requests=8)
    texts = [text for text, _, _ in found.kept]
    assert set(texts) <= {"可以换一个颜色吗？", "Can I pay by bank transfer?", "Do you ship to Norway?"}
    assert found.lines == len(found.kept) + found.refused.total()
    assert {
        "too like a seed or a new one",
        "needs a picture or a file",
        "too like a known or a test prompt",
    } <= found.refused.keys()
    assert parsed("1. a b\n2) c d\ne f\n3. cut of", cut=True) == ["a b", "c d", "e f"]
    with pytest.raises(ValueError, match="at least 2 seeds"):
        invented(["one"], 1, asked(write))


def test_a_teachers_answers_are_demonstrations_or_candidates_with_their_origin() -> None:
    prompts = [shown("a", "Where?"), shown("b", "When?")]
    found = taught(prompts, asked(lambda q: "" if q == "When?" else "There."), system="Be kind.")
    assert (found.asked, len(found.demonstrations), dict(found.refused)) == (2, 1, {"empty answers": 1})
    (record,) = found.demonstrations
    assert [m.role for m in record.messages] == ["user", "assistant"]
    about = made.made(record)
    assert (about["how"], about["host"], about["system"]) == ("distilled", "api.example.com", "Be kind.")
    assert about["date"].startswith("20")
    ranked = taught(prompts, asked(lambda q: f"Answer to {q}"), n=3)
    assert [len(c.completions) for c in ranked.candidates] == [3, 3]
    assert made.made(ranked.candidates[0].prompt)["method"] == "candidates"
    assert ranked.candidates[0].completions[0].policy_version == "api.example.com/tiny"
    cut = taught(prompts, asked(lambda q: "half", "length"))
    assert dict(cut.refused) == {"answers cut off by max_tokens": 2}


@pytest.mark.parametrize("by", ["chars", "vectors"])
def test_prompts_like_seeds_in_groups(by: str) -> None:
    about = {
        "pin": ["change my pin", "how do I change the pin", "pin change please"],
        "card": ["where is my card", "my card has not arrived", "card still not here"],
    }
    other = ["the weather is nice", "a recipe for soup", "who won the match"]
    prompts = [shown(f"{i}", t) for i, t in enumerate([*about["pin"], *about["card"], *other, "Change my PIN!"])]

    def vectors(texts: Sequence[str]) -> Any:
        rows = np.array([["pin" in t, "card" in t, 0.1] for t in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    found = similar(
        ["how can I change my pin", "my card did not arrive"],
        prompts,
        most=6,
        groups=2,
        least=0.2,
        embed=vectors if by == "vectors" else None,
    )
    assert (found.prompts, found.repeated, found.grouped) == (10, 1, 6)
    assert found.further == 3
    assert {frozenset(p.last_user for p in g.prompts) for g in found.groups} == {
        frozenset(texts) for texts in about.values()
    }
    assert all(g.near[0] == pytest.approx(1, abs=1e-3) for g in found.groups)
    assert similar(["x"], [shown("1", "?")]).groups == []


def test_nothing_counts_before_somebody_approves(tmp_path: Path) -> None:
    made_up = [
        proposals.Proposal(
            f"g{i}",
            shown(f"p{i}", f"question {i}"),
            "",
            (shown(f"o{i}", f"other {i}"),),
            "",
            {"how": "similar", "group": i},
        )
        for i in range(4)
    ]
    records, sheet = proposals.write(tmp_path, "s", made_up)
    with pytest.raises(ValueError, match="people may have written in it"):
        proposals.write(tmp_path, "s", made_up)
    empty = proposals.decided(records, sheet, "Anna")
    assert (empty.lines, empty.open, empty.demonstrations, empty.prompts) == (4, 4, [], [])
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8-sig"))))
    rows[0] |= {"approve": "yes", "answer": "Answer 0", "spread": "yes"}
    rows[1] |= {"approve": "是", "answer": "Antwort 1", "question": "better question 1"}
    rows[2] |= {"approve": "yes"}
    rows[3] |= {"approve": "no", "answer": "never"}
    for delimiter, encoding in ((",", "utf-8"), (";", "utf-8-sig")):
        with sheet.open("w", encoding=encoding, newline="") as file:
            table = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
        found = proposals.decided(records, sheet, "Anna")
        assert (found.lines, found.approved, found.rejected, found.open, found.corrected, found.spread) == (
            4,
            3,
            1,
            0,
            1,
            1,
        )
    said = [[m.text for m in d.messages] for d in found.demonstrations]
    assert said == [["question 0", "Answer 0"], ["other 0", "Answer 0"], ["better question 1", "Antwort 1"]]
    assert [p.last_user for p in found.prompts] == ["question 2"]
    spread = made.made(found.demonstrations[1])
    assert (spread["how"], spread["from"], spread["approved_by"]) == ("spread", "p0", "Anna")
    sheet.write_text("id,approve,question,answer\ng0,maybe,a,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"s.csv:2: approve 'maybe': expected yes, no or nothing"):
        proposals.decided(records, sheet, "Anna")


@pytest.fixture
def api() -> Iterator[str]:
    """An OpenAI-compatible endpoint that answers anything in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked_for = body["messages"][-1]["content"]
            lines = "3. Could you tell me about boots?\n4. Which lamps fit outdoors in winter?\n5. My violin came without strings, what now?"
            text = lines if "numbered" in asked_for else f"Answer: {asked_for}"
            choices = [
                {"index": i, "message": {"role": "assistant", "content": f"{text}{'!' * i}"}, "finish_reason": "stop"}
                for i in range(body.get("n", 1))
            ]
            reply = json.dumps({"choices": choices, "model": body["model"]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_the_verbs_from_seeds_to_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    def run(*args: str) -> Any:
        done = CliRunner().invoke(build(), [*args, "--json"])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    monkeypatch.chdir(tmp_path)
    run("init", "w")
    monkeypatch.chdir(tmp_path / "w")
    Path("seeds.txt").write_text("Where is my parcel?\nHow do I pay?\n", encoding="utf-8")
    Path("test.jsonl").write_text('{"prompt": "How do I pay?"}\n', encoding="utf-8")
    run("data", "import", "test.jsonl", "--split", "test", "--kind", "prompts")
    teacher = ["--url", api, "--model", "big"]

    told = run("cold", "custom", "seeds.txt", "--count", "3", *teacher)
    assert (told["kept"], told["lines"]) == (3, 3 + sum(told["refused"].values()))
    sheet = Path(told["sheet"])
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8-sig"))))
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(row | {"approve": "yes"} for row in rows[:2])
    told = run("cold", "approve", "custom", "--by", "Anna")
    assert [(d["name"], d["count"]) for d in told["datasets"]] == [("custom-prompts", 2)]

    told = run("cold", "distill", "custom-prompts", "seeds.txt", *teacher)
    assert (told["prompts"], told["held_out"], told["demonstrations"]) == (4, 1, 3)
    (record, *_) = load_conversations(Path("data/distilled.jsonl"), "demonstrations")
    about = made.made(record)
    assert (about["how"], about["model"], about["host"]) == ("distilled", "big", "127.0.0.1")
    assert about["before"]["how"] == "self-instruct"
    assert about["before"]["approved_by"] == "Anna"
    told = run("cold", "distill", "custom-prompts", "-n", "3", *teacher)
    assert told["tasks"] == 2

    told = run("cold", "augment", "distilled", "--how", "typing", "--times", "2")
    assert told["dataset"]["count"] == told["made"] - sum(told["dropped"].values())
    bad = CliRunner().invoke(build(), ["cold", "augment", "test"])
    assert bad.exit_code == 2
    assert "variants are for training" in bad.stderr
    moved = CliRunner().invoke(
        build(), ["data", "import", "data/distilled-augmented.jsonl", "--split", "test", "--name", "t"]
    )
    assert moved.exit_code == 2

    told = run("cold", "similar", "seeds.txt", "--in", "distilled", "--least", "0")
    assert all(p["answer"].startswith("Answer: ") for p in told["groups"])  # the log's own, to be corrected
    run("data", "clean", "distilled", "--into", "cleaned")
    told = run("cold", "similar", "seeds.txt", "--dry-run")
    names = ("custom-prompts", "distilled-augmented", "cleaned")
    learned = sum(len(load_conversations(Path(f"data/{name}.jsonl"), None)) for name in names)
    assert (told["sheet"], told["prompts"]) == ("", learned), "not what a cleaned set took the place of"
    assert told["prompts"] == told["repeated"] + told["further"] + told["grouped"]


def test_hidden_states_tell_texts_apart(tiny: Path) -> None:
    from steersman.cold.hidden import embedder

    for dtype in ("float32", "bfloat16"):
        rows = embedder(tiny, dtype, "cpu")(["a b", "a b", "something else entirely", ""])
        assert rows.shape[0] == 4
        assert np.allclose(rows[0], rows[1], atol=1e-3)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-3)
        assert rows[0] @ rows[2] < 0.9


def test_a_records_earlier_origin_is_kept() -> None:
    record = made.marked(shown("a", "q"), made.INVENTED, model="m")
    again = made.marked(record, made.DISTILLED, model="n")
    assert made.made(again)["before"] == {"how": "self-instruct", "model": "m"}
    assert made.made(dataclasses.replace(again, meta={})) == {}
