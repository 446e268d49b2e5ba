"""Personal data in texts that nobody made for this: what is found of what the sets themselves say, and false alarms.

    python bench/pii_real.py                               # both tables, of the dialogues that nothing was mended by
    python bench/pii_real.py --side development --show crud_news --kinds name --most 50

Recall: places that a set's own records or form give. MultiWOZ's and SGD's telephone numbers, MultiWOZ's reference
numbers and CrossWOZ's telephone numbers and addresses have one form each behind their word; tau-bench's names, mail
addresses, streets and orders are in its tools' answers; XQuAD, CMRC 2018 and CRUD ask "who" of encyclopedia passages
and of news: of the answers those that have a usual family name (Chinese) or a name's form (English), wherever they stand.
A place is found where masks cover all of it. Alarms: masks per 1,000 sentences in sets of questions of which nearly
none holds personal data, and in dialogues and news, where names and numbers are real: --show prints them to be judged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from steersman.data.pii import KINDS, Span
from steersman.data.pii.masking import find_in_turns

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
Labels = list[tuple[str, int, int, int]]
"""Kind, turn, start and end of a place."""
SENTENCE = re.compile(r"[。！？!?\n]+|\.\s")
PHONE = {
    "sgd": re.compile(r"(?<![\d-])(?P<v>(?:\+1 )?\d{3}-\d{3}-\d{4})(?![\d-])"),
    "multiwoz": re.compile(r"(?i:phone|call|number)[^\d]{1,40}(?P<v>0\d{4} ?\d{6})(?!\d)"),
    "crosswoz": re.compile(r"电话[^\d，。？]{0,12}(?P<v>(?:0\d{2,3}-)?\d{7,11})(?!\d)"),
}
REFERENCE = re.compile(
    r"(?i:reference)[^.?!]{0,30}?[\s:#](?P<v>(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*\d)[A-Z0-9]{8})(?![A-Za-z0-9])"
)
STREET = re.compile(
    r"地址(?:是|为|：|在)\s?(?P<v>[^，。？！,?!；;]{2,60}?[号楼层室座院区街路里口旁内村])(?=[，。？！,?!；;]|\Z)"
)
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付傅方白邹孟熊秦邱江"
"""The hundred or so commonest family names (Ministry of Public Security, 2020), by which foreign names are set apart."""
ZH_OTHERS = re.compile("[国军党队团司府会院人王皇帝公主后宗祖朝]\\Z")
OTHERS = re.compile(
    r"\b(?:Party|Government|Heritage|Guards?|University|Committee|Company|Church|Council|Army|Society|Empire|Army|"
    r"Parliament|Union|Court|States|People|Group|Institute|Knights|Huguenots|Sky|Club|Commission|Board|General|King|Tribe|The)\b"
)
SEEN = 150
WHO = re.compile(r"\A\s*[Ww]ho(?:se|m)?\b|谁|誰|哪位|哪一位")


def rows(name: str) -> Iterator[dict[str, Any]]:
    with lzma.open(SHARED / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def dialogues(name: str, most: int, side: str) -> list[list[str]]:
    """Dialogues of one side; those of the other were looked at when recognisers were mended."""
    found = [[str(turn[1]) for turn in r["turns"]] for r in rows(name)]
    seen = random.Random(0).sample(range(len(found)), SEEN)
    others = sorted(set(range(len(found))) - set(seen))
    return [
        found[i] for i in (seen if side == "development" else random.Random(3).sample(others, min(most, len(others))))
    ]


def by_form(turns: Sequence[str], kind: str, form: re.Pattern[str]) -> Labels:
    return [(kind, i, *m.span("v")) for i, turn in enumerate(turns) for m in form.finditer(turn)]


def tau(most: int) -> Iterator[tuple[list[str], Labels]]:
    """Dialogues, and what tools said of the customer where a turn says it too."""
    for row in itertools.islice(rows("customer/en_taubench_retail_fewshot"), most):
        lines = re.split(r"\n(?=(?:user|assistant|tool): )", str(row["messages_display"]))
        told = " ".join(line for line in lines if line.startswith("tool: "))
        turns = [line.partition(": ")[2] for line in lines if line.startswith(("user: ", "assistant: "))]
        turns = [turn for turn in turns if turn != "None"]
        found = {"email": re.findall(r'"email": "([^"]+)"', told), "order": re.findall(r'"order_id": "(#W\d+)"', told)}
        names = re.findall(r'"first_name": "([^"]+)", "last_name": "([^"]+)"', told)
        found["name"] = [f"{a} {b}" for a, b in names]
        found["address"] = re.findall(r'"address1": "([^"]+)"', told)
        labels: Labels = []
        for kind, values in found.items():
            for value in set(values):
                core = value.removeprefix("#")
                labels += [(kind, i, *m.span()) for i, t in enumerate(turns) for m in re.finditer(re.escape(core), t)]
        yield turns, labels


def passages(name: str, language: str, most: int) -> Iterator[tuple[list[str], Labels]]:
    """Passages with the answers to "who" that look like one name."""
    by: dict[str, set[str]] = {}
    for r in rows(name):
        if r["lang"].startswith(language) and WHO.search(r["question"]):
            for answer in r["answers"][:1]:
                zh = chinese_name(answer)
                en = re.fullmatch(r"[A-Z][a-z]+(?: [A-Z]\.)?(?: [A-Z][\w'-]+){1,2}", answer) and not OTHERS.search(
                    answer
                )
                if (zh or en) and r["context"].count(answer) and not answer.startswith("The "):
                    by.setdefault(r["context"], set()).add(answer)
    for context, answers in list(by.items())[:most]:
        yield [context], [("name", 0, *m.span()) for a in answers for m in re.finditer(re.escape(a), context)]


def news(most: int) -> Iterator[tuple[list[str], Labels]]:
    for name in ("rag/crud_qa_1doc_linked", "rag/crud_qa_2_3docs"):
        for r in itertools.islice((r for r in rows(name) if "doc" in r), most):
            asked = zip(r["questions"], r["answers"], strict=False)
            names = {a for q, a in asked if WHO.search(q) and chinese_name(str(a)) and str(a) in r["doc"]}
            if names:
                yield [r["doc"]], [("name", 0, *m.span()) for a in names for m in re.finditer(re.escape(a), r["doc"])]


def chinese_name(answer: str) -> bool:
    return bool(re.fullmatch(rf"[{SURNAMES}][\u4e00-\u9fff]{{1,2}}", answer)) and not ZH_OTHERS.search(answer)


def labelled(most: int, side: str) -> Iterator[tuple[str, list[str], Labels]]:
    for turns in dialogues("customer/en_sgd_dialogues", most, side):
        yield "SGD", turns, by_form(turns, "phone", PHONE["sgd"])
    for turns in dialogues("customer/en_multiwoz_val_test", most, side):
        forms = by_form(turns, "phone", PHONE["multiwoz"]) + by_form(turns, "order", REFERENCE)
        yield "MultiWOZ", turns, forms
    for turns in dialogues("customer/zh_crosswoz_val_test", most, side):
        forms = by_form(turns, "phone", PHONE["crosswoz"]) + by_form(turns, "address", STREET)
        yield "CrossWOZ", turns, forms
    for turns, labels in tau(most):
        yield "tau-bench retail", turns, labels
    for name, language in (("rag/xquad_en_zh", "en"), ("rag/cmrc2018_dev_trial_zh", "zh")):
        for turns, labels in passages(name, language, most):
            yield f"{name.split('/')[1].split('_')[0].upper()} who, {language}", turns, labels
    for turns, labels in news(most):
        yield "CRUD news who, zh", turns, labels


def alarms(most: int, side: str) -> dict[str, list[list[str]]]:
    """Set -> dialogues (or single sentences) in which to count masks."""

    def some(name: str, field: str) -> list[list[str]]:
        found = [[str(r[field])] for r in rows(name)]
        return random.Random(1).sample(found, min(most * 3, len(found)))

    return {
        "banking77": some("customer/en_banking77_test", "text"),
        "clinc150": some("customer/en_clinc150", "text"),
        "cic_ecommerce": some("customer/zh_cic_ecommerce_intents", "sentence"),
        "kefu_qa": [[r["question"], r["answer"]] for r in rows("customer/zh_kefu_qa")],
        "taskmaster": [
            [t["text"] for t in r["context"] if "text" in t]
            for r in itertools.islice(rows("customer/en_taskmaster_rewards"), most)
        ],
        "multiwoz": dialogues("customer/en_multiwoz_val_test", most, side),
        "sgd": dialogues("customer/en_sgd_dialogues", most, side),
        "crosswoz": dialogues("customer/zh_crosswoz_val_test", most, side),
        "crud_news": [[r["text"]] for r in itertools.islice(rows("pretrain/zh_crud_news"), most)],
    }


def covered(spans: Sequence[Span], start: int, end: int) -> bool:
    """Whether masks, of whatever kind, cover all of text[start:end] (spaces apart)."""
    at = start
    for span in spans:
        if span.start <= at < span.end:
            at = span.end
    return at >= end


def recall(most: int, side: str) -> None:
    found: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    missed: dict[tuple[str, str], list[str]] = {}
    for source, turns, labels in labelled(most, side):
        spans = find_in_turns(turns) if labels else []
        for kind, i, start, end in labels:
            total[source, kind] += 1
            good = covered(spans[i], start, end)
            found[source, kind] += good
            if not good:
                missed.setdefault((source, kind), []).append(
                    f"...{turns[i][max(0, start - 30) : start]}[{turns[i][start:end]}]"
                )
    print("| set | kind | places | recall |\n|---|---|---|---|")
    for (source, kind), n in total.items():
        print(f"| {source} | {kind} | {n} | {found[source, kind] / n:.3f} |")
    for (source, kind), some in missed.items():
        for text in random.Random(0).sample(some, min(8, len(some))):
            print(f"missed: {source} {kind}: {text!r}", file=sys.stderr)


def false_alarms(most: int, side: str, show: str, kinds: Sequence[str], lines: int) -> None:
    print("| set | sentences | masks per 1,000 sentences |\n|---|---|---|")
    for source, every in alarms(most, side).items():
        if show not in ("", source):
            continue
        counts: Counter[str] = Counter()
        shown: list[str] = []
        sentences = sum(sum(bool(s.strip()) for s in SENTENCE.split(t)) for turns in every for t in turns)
        for turns in every:
            for turn, spans in zip(turns, find_in_turns(turns), strict=True):
                counts.update(s.kind for s in spans)
                around = [
                    (turn[max(0, s.start - 25) : s.start], turn[s.start : s.end], turn[s.end : s.end + 15], s.kind)
                    for s in spans
                ]
                shown += [f"{k}: {a!r} [{b}] {c!r}" for a, b, c, k in around if k in kinds]
        per = ", ".join(f"{kind} {1000 * n / sentences:.1f}" for kind, n in counts.most_common())
        print(f"| {source} | {sentences} | {per or 'none'} |", flush=True)
        if show:
            print("\n".join(random.Random(2).sample(shown, min(lines, len(shown)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=400, help="dialogues of a set")
    parser.add_argument("--side", default="held-out", choices=("held-out", "development"))
    parser.add_argument("--show", default="", help="print masks of this set")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--lines", type=int, default=60)
    args = parser.parse_args()
    if not args.show:
        recall(args.most, args.side)
    false_alarms(args.most, args.side, args.show, args.kinds.split(","), args.lines)


if __name__ == "__main__":
    main()
