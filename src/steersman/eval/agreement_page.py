"""How a reward model agrees with a file of rankings: in words, English and Chinese, and as a page with a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval.report import write_page
from steersman.eval.report_text import LANGUAGES as PAGE
from steersman.eval.wording import aligned, number, percent, span
from steersman.stats import Interval

EN = {
    "lang": "en",
    "title": "{model} on {files}",
    "claim": "The reward model puts {accuracy} of the pairs in the order that people gave them.",
    "length": "'The longer answer wins' {length}; the difference is {lead} points ({span}).",
    "n": "{pairs} pairs of {prompts} prompts; intervals of 95 % over prompts.",
    "not better": "Not shown to be better than length alone.",
    "ece": "Calibration: off by {ece} points on average (ECE); predicted / observed, by number of pairs:",
    "by": "By {name}",
    "head": "{name}|accuracy|longer wins|difference|pairs",
    "left": "left out",
    "ungrouped": "not grouped by {name}: {n} different values",
}
ZH = {
    "lang": "zh-CN",
    "title": "{model}，数据 {files}",
    "claim": "奖励模型把{accuracy}的对排成了人给出的顺序。",
    "length": "“较长者胜”为 {length}；相差 {lead} 个百分点（{span}）。",
    "n": "{prompts} 条提示的 {pairs} 对；95% 区间按提示计算。",
    "not better": "没有证据表明它优于只看长度。",
    "ece": "校准：平均偏差 {ece} 个百分点（ECE）；预测 / 实际，按对数：",
    "by": "按 {name}",
    "head": "{name}|准确率|较长者胜|相差|对数",
    "left": "略去",
    "ungrouped": "未按 {name} 分组：有 {n} 个不同的值",
}
LANGUAGES = {"en": EN, "zh": ZH}


def _interval(report: Mapping[str, Any], key: str) -> Interval:
    return Interval.from_json(report[key], key)


def sentences(report: Mapping[str, Any], language: str) -> list[str]:
    t, lead = LANGUAGES[language], _interval(report, "lead_over_length")
    points = number(100 * lead.value, 1, sign=True), span(lead, language, 1, sign=True, scale=100)
    out = [
        t["claim"].format(accuracy=percent(_interval(report, "accuracy"), language)),
        t["length"].format(
            length=percent(_interval(report, "length_baseline"), language), lead=points[0], span=points[1]
        ),
    ]
    out += [] if lead.low > 0 else [t["not better"]]
    return [*out, t["n"].format(pairs=report["n_pairs"], prompts=report["n_prompts"])]


def tables(by: Mapping[str, Any], language: str) -> list[dict[str, Any]]:
    """A table per label."""
    t, out = LANGUAGES[language], []
    for name, values in by.items():
        rows = []
        for value, of in values.items():
            lead = _interval(of, "lead_over_length")
            parts = [percent(_interval(of, key), language) for key in ("accuracy", "length_baseline")]
            rows.append([value or "–", *parts, number(100 * lead.value, 1, sign=True), str(of["n_pairs"])])
        out.append({"title": t["by"].format(name=name), "head": t["head"].format(name=name).split("|"), "rows": rows})
    return out


def remarks(result: Mapping[str, Any], language: str) -> list[str]:
    """What was left out, changed or guessed, each with its number."""
    t = LANGUAGES[language]
    out = [f"{t['left']} {n}: {why}" for why, n in result["left_out"].items()]
    out += [f"{what}: {n}" for what, n in result["notes"].items()]
    return out + [t["ungrouped"].format(name=name, n=n) for name, n in result["ungrouped"].items()]


def text(result: Mapping[str, Any], language: str) -> str:
    """The terminal's text."""
    t = LANGUAGES[language]
    bins = [f"{b['p']:.2f} / {b['accuracy']:.2f} ({b['n']})" for b in result["calibration"]]
    out = [t["title"].format(model=result["model"], files=", ".join(result["files"]))]
    out += [f"  {line}" for line in sentences(result, language)]
    out += [f"  {t['ece'].format(ece=number(100 * result['ece'], 1))}", f"    {'  '.join(bins)}"]
    for table in tables(result["by"], language):
        out += ["", f"  {table['title']}", *(f"    {line}" for line in aligned([table["head"], *table["rows"]]))]
    return "\n".join([*out, *(f"  {line}" for line in remarks(result, language))])


def draw(path: Path, result: Mapping[str, Any], language: str) -> None:
    """Write the page to `path`, atomically."""
    t, page = LANGUAGES[language], PAGE[language]
    first, *others = sentences(result, language)
    picture = figures.calibration(
        result["calibration"], page["predicted"], page["observed"], page["ideal"], page["calibration"]
    )
    context = {
        "t": page,
        "lang": t["lang"],
        "title": t["title"].format(model=result["model"], files=", ".join(result["files"])),
        "claim": first,
        "others": others,
        "pairs": t["head"].split("|")[-1],
        "ece": t["ece"].format(ece=number(100 * result["ece"], 1)),
        "picture": picture,
        "bins": [[f"{b['p']:.2f}", f"{b['accuracy']:.2f}", str(b["n"])] for b in result["calibration"]],
        "tables": tables(result["by"], language),
        "remarks": remarks(result, language),
    }
    write_page(path, "agreement.html", context)
