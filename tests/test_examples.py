"""Labelled examples from files as people and public sets have them."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from steersman.data.examples import Examples, load
from steersman.data.reading import Reading

SHARED = Path("../shared/data")


def read(tmp_path: Path, name: str, text: str, kind: str = "auto", columns: dict[str, str] | None = None) -> Examples:
    path = tmp_path / name
    path.write_bytes(text.encode("gbk" if name.startswith("gbk") else "utf-8"))
    return load([path], Reading("gbk" if name.startswith("gbk") else "auto"), columns, kind)


def lines(*records: Any) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)


def test_a_table_of_texts_and_named_labels(tmp_path: Path) -> None:
    text = 'utterance,intent,channel\n"Where is my order, please?",order_status,web\n'
    text += "我要退款,refund,app\n,refund,app\nhi,,app\n"
    found = read(tmp_path, "intents.csv", text)
    assert found.kind == "single_label"
    assert [(r.text, r.labels) for r in found.records] == [
        ("Where is my order, please?", ("order_status",)),
        ("我要退款", ("refund",)),
    ]
    assert found.left_out == {"without a text": 1, "without a label": 1}
    assert any("columns that are not used: channel" in note for note in found.notes)


def test_a_gbk_table_from_excel(tmp_path: Path) -> None:
    found = read(tmp_path, "gbk.csv", "句子;标签\n" + "我的快递什么时候能到，请问;物流\n这个商品可以退货吗;退货\n" * 3)
    assert [r.labels[0] for r in found.records] == ["物流", "退货"]
    assert found.left_out == {"repeated": 4}


def test_pairs_without_headings_as_lcqmc_has_them(tmp_path: Path) -> None:
    text = '花呗可以"提前还款吗\t花呗怎么提前还款\t1\n手机丢了\t天气怎么样\t0\nbad row\n'
    found = read(tmp_path, "train.tsv", text)
    assert [(r.text, r.second, r.labels[0]) for r in found.records] == [
        ('花呗可以"提前还款吗', "花呗怎么提前还款", "1"),
        ("手机丢了", "天气怎么样", "0"),
    ]
    assert found.left_out == {"of 1 columns where 3 were expected": 1}
    assert any("no headings; columns are read as sentence1, sentence2, label" in note for note in found.notes)
    as_vectors = read(tmp_path, "train.tsv", text + "手机丢了\t手机掉了\t1\n", "embedding")
    assert [(r.text, r.second, r.negatives) for r in as_vectors.records] == [
        ('花呗可以"提前还款吗', "花呗怎么提前还款", ()),
        ("手机丢了", "手机掉了", ("天气怎么样",)),
    ]


@pytest.mark.parametrize("labels", [["toxic", "insult"], "toxic, insult", '["toxic", "insult"]', "['toxic', 'insult']"])
def test_several_labels_in_a_list_or_a_cell(tmp_path: Path, labels: Any) -> None:
    found = read(
        tmp_path, "m.jsonl", lines({"text": "a", "labels": labels}, {"text": "b", "labels": []}), "multi_label"
    )
    assert [r.labels for r in found.records] == [("toxic", "insult"), ()]


def test_columns_of_0_and_1_are_labels(tmp_path: Path) -> None:
    text = "id,comment_text,toxic,obscene,threat\nx1,you idiot,1,1,0\nx2,hello there,0,0,0\n"
    found = read(tmp_path, "toxic.csv", text, columns={"text": "comment_text"})
    assert found.kind == "multi_label"
    assert [(r.id, r.labels) for r in found.records] == [("x1", ("toxic", "obscene")), ("x2", ())]


def test_squads_nested_json(tmp_path: Path) -> None:
    asked = [
        {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 4}]},
        {"id": "q2", "question": "When?", "is_impossible": True, "answers": [], "plausible_answers": []},
        {"id": "q3", "question": "What?", "answers": [{"text": "gone", "answer_start": 0}]},
    ]
    whole = {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": "It, Ann's; Ann", "qas": asked}]}]}
    for text in (json.dumps(whole), json.dumps(whole, indent=1)):
        found = read(tmp_path, "squad.json", text)
        assert found.kind == "span"
        assert [(r.id, r.text, r.answers) for r in found.records] == [
            ("q1", "Who?", ((4, "Ann"),)),
            ("q2", "When?", ()),
        ]
        assert found.left_out == {"whose answer does not stand in the passage": 1}


def test_clues_fields(tmp_path: Path) -> None:
    news = [{"label": "102", "label_desc": "news_story", "sentence": f"标题{i}", "keywords": "故事"} for i in range(2)]
    found = read(tmp_path, "tnews.json", lines(*news, {**news[0], "label": "104", "label_desc": "news_sports"}))
    assert {r.labels[0] for r in found.records} == {"news_story", "news_sports"}
    ocnli = [
        {"sentence1": "身上裹一件工厂发的棉大衣", "sentence2": "身上穿着衣服", "label": "entailment", "label0": "e"},
        {"sentence1": "身上裹一件工厂发的棉大衣", "sentence2": "很冷", "label": "-"},
    ]
    found = read(tmp_path, "ocnli.json", lines(*ocnli))
    assert [(r.second, r.labels) for r in found.records] == [("身上穿着衣服", ("entailment",))]
    assert found.left_out == {"without a label": 1}
    rank = read(tmp_path, "rank.jsonl", lines({"query": "刮胡子", "title": "怎么刮胡子", "neg_title": "怎样不长胡子"}))
    assert (rank.kind, rank.records[0].negatives) == ("embedding", ("怎样不长胡子",))
    sts = read(tmp_path, "sts.jsonl", lines({"sentence1": "a", "sentence2": "b", "score": 3.8}))
    assert (sts.kind, sts.records[0].score) == ("regression", 3.8)


def test_records_may_name_their_split(tmp_path: Path) -> None:
    splits = ["train", "dev", "test_public", "oos_val"]
    found = read(
        tmp_path, "s.jsonl", lines(*({"text": f"t{i}", "label": "x", "split": s} for i, s in enumerate(splits)))
    )
    assert [r.split for r in found.records] == ["train", "validation", "test", "validation"]
    table = "文本,标签,划分\na,x,训练集\nb,x,验证集\nc,y,测试集\nd,y,甲组\n"
    found = read(tmp_path, "zh.csv", table)
    assert [r.split for r in found.records] == ["train", "validation", "test", ""]
    assert "a split that is not known is none: 甲组 (1 records)" in "; ".join(found.notes)


def test_none_is_a_label_where_many_have_it(tmp_path: Path) -> None:
    """Sentiment of -1, 0 and 1 has three classes; of 100 records that SNLI has, one may have no label."""
    moods = [{"text": f"t{i}", "label": str(i % 3 - 1)} for i in range(9)]
    found = read(tmp_path, "mood.jsonl", lines(*moods))
    assert sorted({r.labels[0] for r in found.records}) == ["-1", "0", "1"]
    assert "'-1' is a label of its own (3 of 9 records)" in "; ".join(found.notes)
    snli = [{"text": f"t{i}", "label": -1 if i == 7 else i % 3} for i in range(100)]
    found = read(tmp_path, "snli.jsonl", lines(*snli))
    assert found.left_out == {"without a label": 1}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.csv", "foo,label\nbar,1\nbaz,2\n", "no column of text among foo, label; expected one of text, sentence"),
        ("a.jsonl", lines({"text": "a"}), r"single_label examples need text, label; no column of label among text"),
        ("a.csv", "eins,zwei\nlong text one,other text\nlong text two,another\n", "no headings that are known"),
        ("a.jsonl", lines({"text": "a", "label": "-1"}), "expected at least one single_label example, found none"),
        ("a.json", "{", "expected"),
        ("a.csv", "", "the file is empty"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_expected(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        read(tmp_path, name, text)


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no column 'utterence' \(text\); the file has utterance, label"):
        read(tmp_path, "a.csv", "utterance,label\na,1\nb,2\n", columns={"text": "utterence"})
    with pytest.raises(ValueError, match=r"encoder\.columns: txt: expected roles among text, second"):
        read(tmp_path, "a.csv", "utterance,label\na,1\nb,2\n", columns={"txt": "utterance"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customer/zh_cic_ecommerce_intents", "single_label"),
        ("customer/en_banking77_test", "single_label"),
        ("sft/zh_ocnli_train10k", "single_label"),
        ("rag/qbqtc_dev_20k", "single_label"),
        ("rag/cmrc2018_dev_trial_zh", "span"),
        ("safety/en_diasafety", "single_label"),
    ],
)
def test_real_sets(name: str, kind: str, tmp_path: Path) -> None:
    path = SHARED / f"{name}.jsonl.xz"
    if not path.exists():
        pytest.skip(f"no {path} beside the repository")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        head = [next(file) for _ in range(200)]
    some = tmp_path / "some.jsonl"
    some.write_text("".join(head), encoding="utf-8")
    found = load([some], Reading())
    assert found.kind == kind
    assert len(found.records) + sum(found.left_out.values()) == 200
    assert len(found.records) > 190
