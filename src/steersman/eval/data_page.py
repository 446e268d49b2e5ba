"""A data set as a page: what is in it, and what cleaning dropped, changed and flagged, with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval.report import write_page

EN = {
    "lang": "en",
    "claim": "{n} {kind} for {split}",
    "cleaned": "{kept} of {read} records of {name} are left after cleaning.",
    "steps": "Cleaning, step by step",
    "left": "records left after each step",
    "step": "step",
    "in": "in",
    "dropped": "dropped",
    "changed": "changed",
    "flagged": "flagged",
    "out": "left",
    "why": "What, and why",
    "records": "records",
    "places": "places",
    "examples": "examples",
    "lengths": "How long answers are",
    "characters": "characters",
    "answers": "answers",
    "questions": "questions",
    "percentile": "of 100 answers, this many are shorter",
    "languages": "Languages",
    "personal": "Personal data",
    "looked": "found in {looked} records looked at, evenly through the set",
    "flags": "Flags",
    "sources": "How records were made",
    "turns": "Turns",
    "facts": "How it was made",
    "way_in": "On the way in: left out and changed",
    "left out": "left out",
    "times": "times",
    "none": "none",
}
ZH = {
    "lang": "zh-CN",
    "claim": "{n} 条 {kind}，用于 {split}",
    "cleaned": "清洗后，{name} 的 {read} 条记录中留下 {kept} 条。",
    "steps": "逐步清洗",
    "left": "每一步之后留下的记录",
    "step": "步骤",
    "in": "读入",
    "dropped": "丢弃",
    "changed": "改动",
    "flagged": "标记",
    "out": "留下",
    "why": "内容与原因",
    "records": "记录",
    "places": "处",
    "examples": "例子",
    "lengths": "回答的长度",
    "characters": "字符",
    "answers": "回答",
    "questions": "问题",
    "percentile": "100 个回答中有这么多更短",
    "languages": "语言",
    "personal": "个人信息",
    "looked": "在均匀抽看的 {looked} 条记录中找到",
    "flags": "标记",
    "sources": "记录的来源",
    "turns": "轮数",
    "facts": "如何得来",
    "way_in": "导入时略去与改动的内容",
    "left out": "略去",
    "times": "次数",
    "none": "无",
}
LANGUAGES = {"en": EN, "zh": ZH}


def draw(
    path: Path,
    info: Mapping[str, Any],
    described: Mapping[str, Any],
    cleaning: Mapping[str, Any] | None,
    language: str,
) -> None:
    """Write the page to `path`, atomically. `cleaning`: the content of NAME.cleaning.json."""
    t = LANGUAGES[language]
    context = {
        "t": t,
        "title": info["name"],
        "claim": t["claim"].format(n=info["count"], kind=info["kind"], split=info["split"]),
        "cleaned": t["cleaned"].format(read=cleaning["read"], kept=cleaning["kept"], name=cleaning["from"])
        if cleaning
        else "",
        "steps": step_rows(cleaning["steps"]) if cleaning else [],
        "funnel": _funnel(cleaning, t) if cleaning else None,
        "reasons": reason_rows(cleaning["steps"], t) if cleaning else [],
        "way_in": [] if cleaning else way_in(info, t),
        "lengths": _lengths(described, t),
        "percentiles": _percentiles(described, t),
        "bars": _bars(described, t),
        "looked": t["looked"].format(looked=described["looked"]),
        "facts": {key: info[key] for key in ("source", "created", "sha256", "code_version", "purpose", "simulated")},
    }
    write_page(path, "dataset.html", context)


def step_rows(steps: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            s["step"],
            str(s["read"]),
            str(s["read"] - s["kept"]),
            str(s["changed_records"]),
            str(sum(s["flagged"].values())),
            str(s["kept"]),
        ]
        for s in steps
    ]


def way_in(info: Mapping[str, Any], t: Mapping[str, str]) -> list[list[str]]:
    """(what, times, reason) of all that was left out and changed when the set was made."""
    told = (("left out", info["skipped"]), ("changed", info["changed"]))
    return [[t[what], str(n), why] for what, counts in told for why, n in counts.items()]


def _funnel(cleaning: Mapping[str, Any], t: Mapping[str, str]) -> Any:
    rows = [(cleaning["from"], cleaning["read"]), *((s["step"], s["kept"]) for s in cleaning["steps"])]
    return figures.bars("funnel", t["left"], rows, t["records"])


def reason_rows(steps: Sequence[Mapping[str, Any]], t: Mapping[str, str]) -> list[dict[str, Any]]:
    out = []
    for s in steps:
        for what in ("dropped", "changed", "flagged"):
            for why, n in s[what].items():
                shown = s["examples"].get(why, [])
                out.append({"step": s["step"], "what": t[what], "why": why, "n": n, "examples": shown})
    return out


def _lengths(described: Mapping[str, Any], t: Mapping[str, str]) -> Any:
    bins = described["bins"]
    if not bins:
        return None
    rows = [(f"{low}–{2 * low - 1}", n) for low, n in bins]
    return figures.bars("lengths", t["lengths"], rows, t["answers"])


def _percentiles(described: Mapping[str, Any], t: Mapping[str, str]) -> list[list[str]]:
    head = [t["percentile"], *map(str, described["percentiles"])]
    rows = [[t[key], *map(str, described[key])] for key in ("answers", "questions") if described[key]]
    return [head, *rows] if rows else []


def _bars(described: Mapping[str, Any], t: Mapping[str, str]) -> list[dict[str, Any]]:
    out = []
    for key in ("languages", "personal", "flags", "turns", "sources"):
        rows = [(str(name), n) for name, n in list(described[key].items())[:20]]
        picture = figures.bars(key, t[key], rows, t["places" if key == "personal" else "records"]) if rows else None
        out.append({"title": t[key], "picture": picture, "of": key in ("languages", "personal")})
    return out
