"""A model of many kinds of tasks from ../shared/data: data by the verbs, training by `sft` in two stages, figures
beside baselines.

    python bench/task_kinds.py build demo
    python bench/task_kinds.py mix demo                 # data/first.jsonl and data/second.jsonl
    steersman sft --model gemma3-270m --data demo/data/first.jsonl --output first ...
    steersman sft --model first --data demo/data/second.jsonl --output second ...
    python bench/task_kinds.py strip demo               # test questions that neither mixture holds
    python bench/task_kinds.py eval demo --model tasks=second

Some files hold no record of a task as it stands; `PREPARED` makes such records of them, by rules that are below.
docs/benchmarks/tasks.md has the settings and the figures.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from steersman.cold.typos import typing
from steersman.data.contamination import Finder
from steersman.types import Conversation

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
Row = dict[str, Any]


def rows(name: str) -> Iterator[Row]:
    with lzma.open(DATA / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def needs() -> Iterator[Row]:
    """CrossWOZ: what a dialogue's goal says and the user's first words say too."""
    for row in rows("customer/zh_crosswoz_val_test"):
        text = row["turns"][0][1]
        found = [
            f"{slot}：{value}"
            for _, _, slot, value, _ in row["goal"]
            if isinstance(value, str) and value and value in text
        ]
        found += [f"{slot}：{v}" for _, _, slot, vs, _ in row["goal"] if isinstance(vs, list) for v in vs if v in text]
        if found:
            yield {"text": text, "items": list(dict.fromkeys(found))}


def entities() -> Iterator[Row]:
    """KgCLUE: the entity that a question names."""
    for row in rows("rag/kgclue_qa"):
        entity = re.sub(r"（.*?）", "", row["answer"].split(" ||| ")[0]).strip()
        if entity and entity in row["question"]:
            yield {"text": row["question"], "wanted": "实体", "items": [entity]}


def facts() -> Iterator[Row]:
    """KgCLUE: the answer's value."""
    for row in rows("rag/kgclue_qa"):
        yield {"question": row["question"], "answer": row["answer"].split(" ||| ")[-1]}


def lines() -> Iterator[Row]:
    """LibreOffice's help: lines of pages that have as many lines in both languages."""
    pages: dict[str, dict[str, list[str]]] = {}
    for row in rows("pretrain/libreoffice_help_en_zh"):
        pages.setdefault(row["id"], {})[row["lang"][:2]] = row["text"].split("\n")
    for page in pages.values():
        if len(page) == 2 and len(page["en"]) == len(page["zh"]):
            for en, zh in zip(page["en"], page["zh"], strict=True):
                if 15 < len(en) < 120 and re.search(r"[\u4e00-\u9fff]{4}", zh):
                    yield {"english": en, "chinese": zh}


def free() -> Iterator[Row]:
    """CRUD: questions on a news article that it answers."""
    for row in rows("rag/crud_qa_1doc_linked"):
        for question, answer in zip(row["questions"], row["answers"], strict=False):
            if answer != "无法推断" and "doc" in row:
                yield {"context": row["doc"], "question": question, "answer": answer}


def relations() -> Iterator[Row]:
    """KgCLUE: the property that a question asks for."""
    for row in rows("rag/kgclue_qa"):
        yield {"text": row["question"], "label": row["answer"].split(" ||| ")[1]}


def poems() -> Iterator[Row]:
    """Lyrics of Song and songs of Yuan, their first lines."""
    for row in rows("pretrain/zh_poetry_classics"):
        if row["collection"] in ("宋词", "元曲"):
            yield {"text": " ".join(row["text"].split("\n"))[:60], "label": row["collection"]}


def requests() -> Iterator[Row]:
    """CatQA: harmful requests by category."""
    for category, of in json.loads((DATA / "safety/catqa_chinese.json").read_text(encoding="utf-8")).items():
        for text in (text for kind in of.values() for text in kind):
            yield {"text": text, "label": HARMS[category]}


def wrong() -> Iterator[Row]:
    """Parts of sentences of news with an error of the kind that people type, each once."""
    seen: set[str] = set()
    for number, row in zip(range(12000), rows("pretrain/zh_crud_news"), strict=False):
        found = [s for s in re.findall(r"[\u4e00-\u9fff]+", row["text"]) if 8 <= len(s) <= 18 and s not in seen]
        if found:
            rng = random.Random(f"typos/{number}")
            right = rng.choice(found)
            seen.add(right)
            if (typed := typing(right, rng)) != right:
                yield {"text": typed, "corrected": right}


def titles() -> Iterator[Row]:
    """CSL: a title and the first sentence of its abstract."""
    for row in rows("sft/zh_csl_scientific"):
        first = re.match(r"[^。.]+[。.]?", row["text"])
        if row["task"] == "ts" and first and len(first[0]) > 8:  # no number of a list, "1."
            yield {"title": row["target"], "text": first[0]}


def slots() -> Iterator[Row]:
    """Bitext: the entity of an utterance."""
    for row in rows("customer/en_bitext_intents"):
        if row["entity_value"] and row["entity_value"] in row["utterance"]:
            yield {
                "text": row["utterance"],
                "wanted": row["entity_type"].replace("_", " "),
                "items": [row["entity_value"]],
            }


def chosen(task: str, text: str) -> Iterator[Row]:
    """Questions with choices of LLM Foundry's collection; `text` names the field that is asked."""
    for row in rows("eval/llm_foundry_icl_tasks"):
        if row["task"] == task:
            asked = row["query"].removeprefix("Question: ").strip()
            yield {text: asked, "candidates": row["choices"], "answer": row["choices"][row["gold"]]}


def copa() -> Iterator[Row]:
    yield from chosen("copa", "text")


def piqa() -> Iterator[Row]:
    yield from chosen("piqa", "question")


def arc() -> Iterator[Row]:
    yield from chosen("arc_easy", "question")


HARMS = {
    "Illegal Activity": "违法活动",
    "Child Abuse": "虐待儿童",
    "Hate/Harass/Violence": "仇恨与暴力",
    "Malware Viruses": "恶意软件",
    "Physical Harm": "身体伤害",
    "Economic Harm": "经济损害",
    "Fraud/Deception": "欺诈",
    "Adult Content": "成人内容",
    "Political Campaigning": "政治宣传",
    "Privacy Violation Activity": "侵犯隐私",
    "Tailored Financial Advice": "理财建议",
}
PREPARED: dict[str, Callable[[], Iterator[Row]]] = {
    f.__name__: f
    for f in (needs, entities, facts, lines, free, wrong, titles, slots, relations, poems, requests, copa, piqa, arc)
}
SETS: dict[str, tuple[str, str, str]] = {
    # set: kind, file, options
    "cic": (
        "intent",
        "customer/zh_cic_ecommerce_intents",
        "--field text=sentence --field label=label_des --most 5000 --balance",
    ),
    "tnews": (
        "news",
        "sft/zh_dataclue_tasks",
        "--where task=tnews --field text=sentence --field label=label_des --most 3000",
    ),
    "eprstmt": (
        "sentiment",
        "sft/zh_fewclue_train_dev",
        "--where task=eprstmt --field text=sentence --split 0.5,0.1,0.4 --prompts 3",
    ),
    "cold": ("moderation", "safety/zh_coldataset", "--balance --most 4000 --most-characters 80"),
    "ocnli": (
        "inference",
        "sft/zh_ocnli_train10k",
        "--field premise=sentence1 --field hypothesis=sentence2 --balance --most 9000",
    ),
    "simclue": (
        "similarity",
        "rag/simclue_pairs",
        "--field first=sentence1 --field second=sentence2 --balance --most 6000",
    ),
    "qbqtc": ("relevance", "rag/qbqtc_dev_20k", "--field text=title --balance --most 6000"),
    "cluewsc": (
        "coreference",
        "sft/zh_fewclue_train_dev",
        "--where task=cluewsc --field noun=target.span1_text --field pronoun=target.span2_text --split 0.6,0,0.4",
    ),
    "chid": ("cloze", "sft/zh_fewclue_train_dev", "--where task=chid --field text=content --split 0.7,0.05,0.25"),
    "csl-check": (
        "keyword_check",
        "sft/zh_fewclue_train_dev",
        "--where task=csl --field text=abst --field keywords=keyword --split 0.6,0,0.4",
    ),
    "csl-topic": ("topic", "sft/zh_csl_scientific", "--where task=cls_ctg --field label=target"),
    "iflytek": (
        "topic",
        "sft/zh_fewclue_train_dev",
        "--where task=iflytek --field text=sentence --field label=label_des",
    ),
    "cmrc": ("reading", "rag/cmrc2018_dev_trial_zh", "--field answer=answers"),
    "crud": ("reading_free", "free", ""),
    "csl-title": ("summary", "sft/zh_csl_scientific", "--where task=ts --field summary=target"),
    "help-zh": ("translate_to_zh", "lines", ""),
    "help-en": ("translate_to_en", "lines", ""),
    "kgclue-entity": ("extraction", "entities", ""),
    "relation": ("relation", "relations", "--most 4000"),
    "genre": ("genre", "poems", "--balance"),
    "harm": ("harm", "requests", "--most 0 --split 0.6,0.1,0.3"),
    "group": ("target_group", "safety/zh_coldataset", "--field label=topic --balance --most 6000 --most-characters 60"),
    "crosswoz": ("needs", "needs", ""),
    "csl-keywords": ("keywords", "sft/zh_csl_scientific", "--where task=kg --field items=target --list items=_"),
    "drcd": ("question_generation", "rag/drcd_dev_test_zhtw", "--field answer=answers --most-characters 100"),
    "csl-article": ("article", "titles", ""),
    "paraphrase": (
        "rewriting",
        "rag/simclue_pairs",
        "--where label=1 --field text=sentence1 --field rewritten=sentence2 --most 4000",
    ),
    "modern": ("to_modern", "sft/zh_classical_modern_20k", "--most 5000 --most-characters 40"),
    "classical": ("to_classical", "sft/zh_classical_modern_20k", "--most 5000 --most-characters 40"),
    "typos": ("correction", "wrong", "--most 6000"),
    "kgclue": ("knowledge", "facts", "--most 5000"),
    "huatuo": (
        "medical_questions",
        "sft/zh_misc",
        "--where source=huatuo_med --field question=instruction --field answer=output --most 0 --most-characters 70",
    ),
    "kefu": ("service", "customer/zh_kefu_qa", ""),
    "banking77": ("intent", "customer/en_banking77_train", "--field label=category"),
    "clinc150": ("intent", "customer/en_clinc150", "--field label=intent"),
    "bitext": ("intent", "customer/en_bitext_intents", "--field text=utterance --field label=intent"),
    "bitext-slots": ("extraction", "slots", ""),
    "p3": ("", "sft/en_p3_t0_50k", ""),
    "copa": ("completion", "copa", "--split 0,0,1"),
    "piqa": ("choice", "piqa", "--split 0,0,1"),
    "arc-easy": ("choice", "arc", "--split 0,0,1"),
    "pclue": ("", "eval/pclue_train9_sample_705", "--split 0,0,1"),
}
FIRST = """
    ocnli 4500 simclue 2200 cold 1800 qbqtc 1500 cic 1800 tnews 1200 csl-topic 1100 iflytek 400 eprstmt 408 cmrc 1200
    crud 402 csl-title 500 help-zh 350 help-en 350 kgclue-entity 250 relation 350 genre 1000 harm 335 crosswoz 600
    csl-keywords 450 drcd 800 typos 2600 paraphrase 300 modern 500 classical 350 kefu 500 cluewsc 34 csl-check 86
    banking77 150 bitext 100 p3 300
"""
SECOND = """
    ocnli 3500 typos 1800 drcd 600 kefu 600 paraphrase 200 modern 200 cic 500 simclue 400 qbqtc 300 crosswoz 150
    cmrc 200 eprstmt 60 cold 40 tnews 60 csl-topic 60 iflytek 60 relation 40 genre 40 harm 60 kgclue-entity 30
    csl-title 40 csl-keywords 40 help-zh 30 help-en 30 crud 60
"""
"""Records of each set in the two mixtures. Nothing is trained on group, chid, pclue, copa, piqa and arc-easy."""
CLOSED = ("cic", "tnews", "eprstmt", "cold", "ocnli", "simclue", "qbqtc", "cluewsc", "csl-topic", "iflytek", "genre")
CLOSED += ("harm", "group", "csl-check")
OPEN = ("kgclue-entity", "relation", "help-zh", "help-en", "crosswoz", "csl-keywords", "csl-title", "cmrc", "crud")
OPEN += ("kefu", "drcd", "typos", "modern", "paraphrase", "kgclue")


def steersman(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "steersman", *words], check=True)


def build(space: Path, most: int, characters: int) -> None:
    if not (space / "steersman.toml").exists():
        steersman("init", str(space))
    made = space / "prepared"
    made.mkdir(exist_ok=True)
    for name, (kind, source, options) in SETS.items():
        path = DATA / f"{source}.jsonl.xz"
        if source in PREPARED:
            path = made / f"{source}.jsonl"
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in PREPARED[source]())
        chosen = ["--kind", kind] if kind else []
        sizes = ["--most", str(most), "--most-characters", str(characters), "--prompts", "1"]
        steersman(
            "tasks",
            "build",
            str(path),
            "--into",
            name,
            *chosen,
            *sizes,
            *options.split(),
            "--replace",
            "-w",
            str(space),
        )


def mix(space: Path) -> None:
    for into, caps, drawn in (("first", FIRST, []), ("second", SECOND, ["--seed", "5"])):
        sizes = dict(zip(caps.split()[::2], map(int, caps.split()[1::2]), strict=True))
        limits = [word for name, most in sizes.items() for word in ("--cap", f"{name}-train={most}")]
        words = ["--smoothing", "0", "--count", str(sum(sizes.values())), *drawn]
        names = [f"{name}-train" for name in sizes]
        steersman("data", "mix", *names, *limits, *words, "--into", into, "--replace", "-w", str(space))


def strip(space: Path) -> None:
    """Copies of the test sets without the questions that a mixture holds, exactly or nearly."""

    def read(name: str) -> tuple[list[str], list[Conversation]]:
        lines = (space / f"data/{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        return lines, [Conversation.from_json(json.loads(line)) for line in lines]

    trained = [*read("first")[1], *read("second")[1]]
    (space / "test").mkdir(exist_ok=True)
    for name in (*CLOSED, *OPEN):
        lines, records = read(f"{name}-test")
        finder = Finder([replace(record, messages=record.messages[:-1]) for record in records])
        held = {i for record in trained for i in finder.exact(record) | finder.near(record)}
        kept = [line + "\n" for i, line in enumerate(lines) if i not in held]
        (space / f"test/{name}.jsonl").write_text("".join(kept), encoding="utf-8")
        print(f"{name}: {len(kept)} of {len(lines)}")


def evaluate(space: Path, models: list[str]) -> None:
    named = [word for model in models for word in ("--model", model)]
    for output, names, ways in (
        ("open", OPEN, ["--by", "constrained", "--max-tokens", "40", "-n", "100"]),
        ("closed", CLOSED, ["--by", "logprob", "--norm", "batch", "-n", "200"]),
    ):
        files = [str(space / f"test/{name}.jsonl") for name in names]
        steersman("tasks", "eval", *files, *named, *ways, "-o", str(space / output), "-w", str(space))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "mix", "strip", "eval"))
    parser.add_argument("space", type=Path)
    parser.add_argument("--most", type=int, default=9000, help="records of each set")
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--model", action="append", default=[])
    given = parser.parse_args()
    if given.what == "build":
        build(given.space, given.most, given.characters)
    elif given.what == "eval":
        evaluate(given.space, given.model)
    else:
        {"mix": mix, "strip": strip}[given.what](given.space)


if __name__ == "__main__":
    main()
