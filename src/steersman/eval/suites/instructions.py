"""Verifiable instructions: a prompt whose constraints code checks. 1 where the answer keeps them all, else 0 (IFEval's
strict accuracy by prompt)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.eval.suites import constraints
from steersman.eval.suites.suite import Item, Spec, Suite, last
from steersman.types import Conversation, Message

Json = Mapping[str, Any]


def kept(answer: str, names: Sequence[str], arguments: Sequence[Json]) -> list[bool]:
    """Which of a prompt's constraints an answer keeps."""
    return [constraints.followed(answer, n, a) for n, a in zip(names, arguments, strict=True)]


def of_records(records: list[tuple[int, Json]], spec: Spec, path: Path, folder: Path | None) -> list[Item | str]:
    """IFEval's and IFBench's form: prompt, instruction_id_list, kwargs."""
    out: list[Item | str] = []
    for line, value in records:
        names = [str(n) for n in value["instruction_id_list"]]
        given = [dict(a or {}) for a in value.get("kwargs") or [{}] * len(names)]
        if len(given) != len(names):
            raise ValueError(f"{path}:{line}.kwargs: expected {len(names)}, one for each instruction, got {len(given)}")
        if missing := constraints.unknown(names):
            out.append(f"no code checks {missing[0]}")
            continue
        name = str(value.get("key", f"{path.name.partition('.')[0]}-{line}"))
        try:
            kept("a probe of the arguments", names, given)
        except ValueError as error:
            out.append(f"{error}")
            continue
        out.append(_item(name, str(value["prompt"]), names, given))
    return out


def _item(name: str, prompt: str, names: Sequence[str], given: Sequence[Json]) -> Item:
    scorer = last(lambda answer: float(all(kept(answer, names, given))))
    expected = "; ".join(names)
    return Item(name, Conversation(name, (Message("user", prompt),)), scorer, names[0], expected=expected)


def suite() -> Suite:
    """The built-in prompts of a shop's customers, half in English, half in Chinese."""
    items = []
    for number, (prompt, *wanted) in enumerate(PROMPTS):
        names, given = [n for n, _ in wanted], [a for _, a in wanted]
        items.append(_item(f"instructions-{number}", prompt, names, given))
    return Suite("instructions", tuple(items), max_tokens=320)


def _w(n: int, relation: str = "at most") -> tuple[str, Json]:
    return "length_constraints:number_words", {"num_words": n, "relation": relation}


def _s(n: int, relation: str = "exactly") -> tuple[str, Json]:
    return "length_constraints:number_sentences", {"num_sentences": n, "relation": relation}


def _zi(low: int | None, high: int | None) -> tuple[str, Json]:
    return "length_constraints:number_characters", {"min_characters": low, "max_characters": high}


def _has(*keywords: str) -> tuple[str, Json]:
    return "keywords:existence", {"keywords": list(keywords)}


def _hasnt(*keywords: str) -> tuple[str, Json]:
    return "keywords:forbidden_words", {"forbidden_words": list(keywords)}


def _in(language: str) -> tuple[str, Json]:
    return "language:response_language", {"language": language}


def _ends(phrase: str) -> tuple[str, Json]:
    return "startend:end_checker", {"end_phrase": phrase}


def _points(n: int) -> tuple[str, Json]:
    return "detectable_format:number_bullet_lists", {"num_bullets": n}


_JSON: tuple[str, Json] = ("detectable_format:json_format", {})
_COMMA: tuple[str, Json] = ("punctuation:no_comma", {})
_UPPER: tuple[str, Json] = ("change_case:english_capital", {})
_LOWER: tuple[str, Json] = ("change_case:english_lowercase", {})
_TITLE: tuple[str, Json] = ("detectable_format:title", {})
_QUOTED: tuple[str, Json] = ("startend:quotation", {})
_TWO: tuple[str, Json] = ("combination:two_responses", {})


def _slots(n: int) -> tuple[str, Json]:
    return "detectable_content:number_placeholders", {"num_placeholders": n}


PROMPTS: tuple[tuple[Any, ...], ...] = (
    ("Explain in at most 40 words how a customer returns a pair of shoes that is too small.", _w(40)),
    ("Write exactly three sentences that apologise for a parcel that is two days late.", _s(3)),
    ("List four things to check before ordering a sofa. Use exactly four bullet points that begin with *.", _points(4)),
    (
        "Tell a customer that the blue kettle is sold out. Do not use the words 'sorry' and 'unfortunately'.",
        _hasnt("sorry", "unfortunately"),
    ),
    ("Describe our warranty for lamps. The words 'receipt' and 'months' must occur.", _has("receipt", "months")),
    ("Answer in German: can I collect my order in the shop?", _in("de")),
    ("Give name, price and colour of an invented backpack as JSON. Write nothing but the JSON.", _JSON),
    ("Write a short note to the courier without a single comma.", _COMMA),
    ("WRITE A WARNING FOR A HOT STOVE IN CAPITAL LETTERS ONLY.", _UPPER),
    ("write a friendly greeting for a chat window, in lower case only.", _LOWER),
    ("Write an advertisement for a rain jacket with a title in double angle brackets, such as <<Title>>.", _TITLE),
    (
        "Write a template of a letter that confirms an order, with three or more places to fill in, in brackets [].",
        _slots(3),
    ),
    (
        "Tell how to clean a coffee machine. End with exactly this phrase: Enjoy your coffee!",
        _ends("Enjoy your coffee!"),
    ),
    ("Give two different slogans for a bicycle shop, separated by six asterisks: ******", _TWO),
    ("Put your whole answer in double quotation marks: what would a happy customer say about fast delivery?", _QUOTED),
    ("Recommend a present for a child of six, in at least 30 and at most 60 words.", _w(30, "at least"), _w(60)),
    (
        "Answer the complaint 'the cup came broken' in exactly two sentences and mention a refund.",
        _s(2),
        _has("refund"),
    ),
    ("Antworte auf Englisch: When does the shop open on Sundays? Use at most 20 words.", _in("en"), _w(20)),
    ("请用不超过50个字说明顾客如何退货。", _zi(None, 50)),
    ("请写恰好三句话，为包裹晚到两天道歉。", _s(3)),
    ("购买沙发前要确认哪些事项？请用恰好四个以*开头的要点列出。", _points(4)),
    ("请告诉顾客蓝色水壶已经卖完，不要使用“抱歉”和“遗憾”。", _hasnt("抱歉", "遗憾")),
    ("请介绍台灯的保修政策，必须出现“发票”和“个月”。", _has("发票", "个月")),
    ("请用英文回答：我可以到店自取吗？", _in("en")),
    ("请用JSON给出一个虚构背包的名称、价格和颜色，除JSON外不要写任何内容。", _JSON),
    ("请给快递员写一张便条，全文不要使用逗号和顿号。", _COMMA),
    ("请为一款雨衣写一则广告，并用书名号《》写出标题。", _TITLE),
    ("请写一份订单确认函的模板，至少有三处用方括号[ ]表示的待填内容。", _slots(3)),
    ("请说明如何清洗咖啡机，最后以“祝您使用愉快！”结尾。", _ends("祝您使用愉快！")),
    ("请为自行车店写两条不同的广告语，中间用六个星号******隔开。", _TWO),
    ("请把整个回答放在双引号里：一位满意的顾客会怎样评价送货速度？", _QUOTED),
    ("请推荐一份送给六岁孩子的礼物，字数在60到120字之间。", _zi(60, 120)),
    ("顾客投诉“杯子送来就碎了”，请用恰好两句话回复，并提到退款。", _s(2), _has("退款")),
    ("请用中文回答，不超过30个字：Do you ship to Shanghai?", _in("zh"), _zi(None, 30)),
    ("请写一段至少100字的店铺介绍，并且出现“七天无理由退货”。", _zi(100, None), _has("七天无理由退货")),
    (
        "请只回答“是”、“否”或“不确定”：商品拆封后还能退吗？",
        ("detectable_format:constrained_response", {"options": ["是", "否", "不确定"]}),
    ),
)
