"""The index of documents: passages, BM25 and vectors against plain formulas, stopping and going on, the verbs."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from encoder_folders import encoder_folder
from steersman.cli.framework import build as app
from steersman.corpus.documents import Document
from steersman.data import contamination, near
from steersman.data.cleaning import unsafe
from steersman.eval.suites import measures
from steersman.retrieval import index as indexes
from steersman.retrieval.index import Index, Vectors, build
from steersman.retrieval.lexical import terms
from steersman.retrieval.measure import Asked, measured
from steersman.retrieval.passages import Passage, pair_of, passages, width
from steersman.train import label_measures
from steersman.types import Conversation, Message

TEXTS = [
    "退款流程：请在订单页面申请退款。款项三天内到账。",
    "Where is my order? Open the orders page and choose the order.",
    "发票可以在订单完成后申请，电子发票会发到邮箱。",
    "The card was lost: block the card in the app, then order a new card.",
    "天气很好",
]
LONG = (
    "北京是中国的首都。" * 30
    + "\n\n"
    + "The order will arrive soon, they said. Nobody knows when! " * 20
    + "无标点" * 200
)


def some() -> list[Passage]:
    return [Passage(str(i), "", 0, text) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("overlap", [0.0, 20.0])
def test_passages_are_whole_sentences_and_nothing_is_lost(overlap: float) -> None:
    made = list(passages(Document("a.txt", LONG), 60, overlap))
    assert all(LONG.startswith(p.text, p.start) for p in made)
    assert max(width(p.text) for p in made) <= 60
    there = {i for p in made for i in range(p.start, p.start + len(p.text))}
    assert all(c.isspace() for i, c in enumerate(LONG) if i not in there)
    assert sum(p.text[-1] in "。.!" for p in made) >= 9
    again = sum(len(p.text) for p in made) > len(LONG)
    assert again == bool(overlap)


def test_passages_of_many_short_lines_and_of_one_long_line_take_no_time() -> None:
    begun = time.process_time()
    assert len(list(passages(Document("a", "a\n" * 20_000), 200, 40))) == 63
    assert "".join(p.text for p in passages(Document("a", "x" * 1_000_000), 200, 0)) == "x" * 1_000_000
    assert time.process_time() - begun < 4  # half a second; it was more than ten


def test_a_document_of_id_0() -> None:
    (passage,) = passages(Document("f:1", "body", {"id": 0}), 60, 0)
    assert passage.document == "0"


def test_documents_of_one_id_are_counted(tmp_path: Path) -> None:
    texts = [("a", 0), ("a", 40), ("a", 0), ("b", 0), ("a", 0), ("c", 0)]
    told = build(tmp_path / "i", (Passage(name, "", start, "words") for name, start in texts), {}, None)
    assert (told["passages"], told["documents"], told["repeated_ids"]) == (6, 3, 2)


def test_an_index_takes_no_other_folders_place(tmp_path: Path) -> None:
    own = tmp_path / "docs" / "a.txt"
    own.parent.mkdir()
    own.write_text("My only copy.")
    with pytest.raises(ValueError, match="holds something else"):
        build(own.parent, some(), {}, None)
    assert own.read_text() == "My only copy."
    for inside in (own.parent, own.parent / "index"):
        told = CliRunner().invoke(app(), ["index", "build", str(own.parent), "-o", str(inside)])
        assert told.exit_code == 2
        assert "is part of" in " ".join(told.output.split())


def test_an_open_index_stays_whole_when_it_is_made_anew(tmp_path: Path) -> None:
    build(tmp_path / "i", some(), {}, None)
    held = Index(tmp_path / "i")
    build(tmp_path / "i", [Passage("new", "", 0, "other " * 99), *some()], {}, None)
    assert [hit.passage.text for hit in held.search("发票", 1)] == [TEXTS[2]]
    assert Index(tmp_path / "i").passage(len(TEXTS)).text == TEXTS[-1]


def test_titles_and_entries_of_an_faq() -> None:
    (passage,) = passages(Document("f:1", "body", {"id": 7, "title": "Head"}), 60, 0)
    assert (passage.document, passage.whole) == ("7", "Head\nbody")
    assert pair_of({"Question": "Why?", "Answer": "So.", "Category": "x"}) == "Why?\nSo."
    assert pair_of({"question": "Why?"}) is None


def test_bm25_is_the_formula(tmp_path: Path) -> None:
    build(tmp_path / "i", some(), {}, None)
    bags = [Counter(terms(text)) for text in TEXTS]
    mean = sum(sum(bag.values()) for bag in bags) / len(bags)
    for question in ("退款 发票", "order a card", "the order order", "nothing of it 没"):
        wanted = []
        for bag in bags:
            total = 0.0
            for term in terms(question):
                holders = sum(term in other for other in bags)
                idf = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
                tf = bag[term]
                total += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * sum(bag.values()) / mean)) if tf else 0.0
            wanted.append(total)
        hits = Index(tmp_path / "i").search(question, 5, "bm25")
        order = sorted((i for i, x in enumerate(wanted) if x > 0), key=lambda i: -wanted[i])
        assert [int(hit.passage.document) for hit in hits] == order
        assert [hit.score for hit in hits] == pytest.approx([wanted[i] for i in order], rel=1e-5)


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Unit vectors that depend on the text alone."""
    out = []
    for text in texts:
        x = np.array([len(text) % 7 + 1, text.count("order") + 1, sum(map(ord, text)) % 11], dtype=np.float64)
        out.append((x / np.linalg.norm(x)).tolist())
    return out


def test_vectors_and_both_together(tmp_path: Path) -> None:
    made = Vectors("m", "h", embed, "query: ", "passage: ")
    build(tmp_path / "i", some(), {}, made)
    index = Index(tmp_path / "i", embed)
    question = "where is the order"
    stored = np.array(embed([f"passage: {text}" for text in TEXTS])).astype(np.float16).astype(np.float64)
    likeness = stored @ np.array(embed([f"query: {question}"])[0])
    dense = index.search(question, 3, "dense")
    assert [int(h.passage.document) for h in dense] == np.argsort(-likeness, kind="stable")[:3].tolist()
    assert [h.score for h in dense] == pytest.approx(sorted(likeness, reverse=True)[:3], rel=1e-4)
    places: Counter[str] = Counter()
    for way in ("bm25", "dense"):
        for place, hit in enumerate(index.search(question, 5, way), 1):
            places[hit.passage.document] += 1 / (60 + place)  # type: ignore[assignment]
    hits = index.search(question)
    assert {h.passage.document: pytest.approx(h.score) for h in hits} == dict(places)
    with pytest.raises(ValueError, match="model m, which is not loaded"):
        Index(tmp_path / "i").search(question, how="dense")


def test_an_index_that_is_stopped_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(indexes, "BLOCK", 2)
    build(tmp_path / "whole", some(), {}, Vectors("m", "h", embed))
    seen: list[str] = []

    def failing(texts: Sequence[str]) -> list[list[float]]:
        if len(seen) >= 4:
            raise KeyboardInterrupt
        seen.extend(texts)
        return embed(texts)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "again", some(), {}, Vectors("m", "h", failing))
    assert not (tmp_path / "again").exists()
    later: list[str] = []
    build(tmp_path / "again", some(), {}, Vectors("m", "h", lambda texts: (later.extend(texts), embed(texts))[1]))
    assert later == TEXTS[4:]
    files = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "again").iterdir())
    for name in set(files) - {"manifest.json"}:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_measures_are_counted_by_document(tmp_path: Path) -> None:
    build(tmp_path / "i", [*some(), Passage("1", "", 9, "退款 twice of one document")], {}, None)
    asked = [
        Asked("退款流程", frozenset({"0"})),
        Asked("lost card", frozenset({"2", "3"})),
        Asked("x", frozenset({"4"})),
    ]
    (found,) = measured(Index(tmp_path / "i"), asked, ["bm25"]).values()
    assert found["recall1"]["value"] == pytest.approx(2 / 3)
    assert found["mrr10"]["value"] == pytest.approx(2 / 3)


def test_the_verbs(tmp_path: Path) -> None:
    model = encoder_folder(tmp_path / "bert")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "faq.csv").write_text(
        "Question,Answer\nWhere is my order?,On its way.\n怎么退款？,在订单页面申请。\n,nothing asked\n", "utf-8"
    )
    (docs / "card.md").write_text("# Card\n\nThe card was lost: block it.\n", encoding="utf-8")
    (docs / "more.jsonl").write_text(json.dumps({"id": "b7", "title": "发票", "text": "订单完成后申请发票。"}), "utf-8")
    out = str(tmp_path / "out")

    def said(*given: str) -> Any:
        result = CliRunner().invoke(app(), ["index", *given, "--json"])
        return result.exit_code, json.loads(result.stdout)

    code, made = said("build", str(docs), "-o", out, "--model", str(model), "-s", "model.dtype=float32")
    assert (code, made["passages"], made["documents"], made["dimensions"]) == (0, 4, 4, 32)
    assert sum(made["dropped"].values()) == 1
    for how in ("bm25", "hybrid"):
        code, found = said("search", out, "怎么申请发票", "--how", how, "-n", "2")
        assert found["found"][0]["document"] == "b7"
    (tmp_path / "q.jsonl").write_text('{"question": "怎么申请发票", "document": "b7"}\n', encoding="utf-8")
    code, found = said("eval", out, str(tmp_path / "q.jsonl"))
    assert found["bm25"]["recall1"]["value"] == 1.0
    assert set(found) == {"questions", "bm25", "dense", "hybrid"}
    code, found = said("search", out, "x", "--model", str(encoder_folder(tmp_path / "other", seed=1)))
    assert code == 2
    assert "not the model that" in found["error"]
    (tmp_path / "bad.jsonl").write_text('{"question": 1}\n', encoding="utf-8")
    code, found = said("eval", out, str(tmp_path / "bad.jsonl"))
    assert code == 2
    assert "bad.jsonl:1: expected" in found["error"]


def test_full_width_letters_and_digits_are_the_same_everywhere() -> None:
    """One fold for search, repeats, test prompts in training data, and what scores answers."""
    wide, narrow = "型号ＲＴＸ４０９０的功率是４５０Ｗ吗", "型号RTX4090的功率是450w吗"
    assert terms(wide) == terms(narrow)
    assert near.runs(wide) == near.runs(narrow)
    asked = Conversation("t", (Message("user", wide),))
    told = Conversation("l", (Message("user", narrow), Message("assistant", "是的")))
    assert contamination.overlap([asked], [told]).exact == 1
    assert measures.count_of("ＡＰＩ, then API", "api") == 2
    assert label_measures.words(wide) == label_measures.words(narrow)
    assert unsafe.flags("ｈａｃｋ ｉｎｔｏ the account") == unsafe.flags("hack into the account") != ()
