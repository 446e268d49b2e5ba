"""How far back models read, as a page: needles as fields of depth and length, perplexity by position as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval.context_verdict import difference
from steersman.eval.figures import Panel, Series
from steersman.eval.report import write_page

EN = {
    "lang": "en",
    "title": "How far back it reads",
    "claim": "{name}: {share:.0%} of needles found at {length:,} tokens",
    "said": "Text: {text}. Intervals of 95 %.",
    "needles": "Needles in a haystack",
    "needles_said": "Each text holds ten needles; rows are their depth, columns the text's length. Found: every token "
    "of the answer is the likeliest.",
    "depth": "depth, %",
    "length": "tokens",
    "model": "model",
    "language": "language",
    "loss": "Perplexity by position",
    "loss_said": "The same windows of text for every model; shaded: the interval over windows.",
    "position": "position up to",
    "perplexity": "perplexity",
    "rise": "last stretch against the one within the first context, nats per token",
    "against": "last stretch against the first model's",
    "rises": "rises",
    "falls": "falls",
    "no evidence of a rise": "no evidence of a rise",
    "one window alone shows nothing": "one window alone shows nothing",
    "facts": "Made of",
}
ZH = {
    "lang": "zh",
    "title": "能读多远",
    "claim": "{name}：在 {length:,} 个词元的文本中找到 {share:.0%} 的“针”",
    "said": "文本：{text}。区间为 95 %。",
    "needles": "大海捞针",
    "needles_said": "每篇文本藏有十根“针”；行为深度，列为文本长度。答案的每个词元都是最可能的，才算找到。",
    "depth": "深度（%）",
    "length": "词元",
    "model": "模型",
    "language": "语言",
    "loss": "各位置的困惑度",
    "loss_said": "每个模型读同样的文本窗口；阴影为各窗口间的区间。",
    "position": "位置上限",
    "perplexity": "困惑度",
    "rise": "最后一段与原上下文之内一段之差（每词元奈特）",
    "against": "最后一段与第一个模型之差",
    "rises": "上升",
    "falls": "下降",
    "no evidence of a rise": "未见上升",
    "one window alone shows nothing": "只有一个窗口，看不出什么",
    "facts": "由来",
}
WORDS = {"en": EN, "zh": ZH}


def draw(path: Path, result: Mapping[str, Any], language: str) -> None:
    """Write the page to `path`, atomically; `result`: the content of context.json."""
    t = WORDS[language]
    models = result["models"]
    name, last = next(reversed(models.items()))
    rows = [(m, lang, of) for m, model in models.items() for lang, of in model["needles"].items()]
    lengths = [row["length"] for row in rows[0][2]]
    ends = [of[-1]["found"]["value"] for of in last["needles"].values()]
    context = {
        "t": t,
        "title": t["title"],
        "claim": t["claim"].format(name=name, share=sum(ends) / len(ends), length=lengths[-1]),
        "said": t["said"].format(text=result["text"]),
        "heat": figures.heat(
            "needles",
            t["needles"],
            [(f"{m}, {lang}", [row["by_depth"] for row in of]) for m, lang, of in rows],
            [f"{length // 1024}k" if length >= 1024 else str(length) for length in lengths],
            (t["depth"], t["length"]),
        ),
        "lengths": lengths,
        "shares": [[m, lang, *(_share(row["found"]) for row in of)] for m, lang, of in rows],
        "curves": _curves(result, t),
        "rises": [
            (
                m,
                lang,
                f"{difference(loss['rise'])}: {t[loss['rise']['word']]}",
                difference(loss["against"][-1]) if "against" in loss else "",
            )
            for m, model in models.items()
            for lang, loss in model["loss"].items()
            if "rise" in loss
        ],
        "facts": result["settings"],
    }
    write_page(path, "context.html", context)


def _share(found: Mapping[str, float]) -> str:
    return f"{found['value']:.0%} [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"


def _curves(result: Mapping[str, Any], t: Mapping[str, str]) -> Any:
    languages = list(dict.fromkeys(lang for model in result["models"].values() for lang in model["loss"]))
    panels = []
    for language in languages:
        series = []
        for order, (name, model) in enumerate(result["models"].items()):
            loss = model["loss"].get(language)
            if loss is None:
                continue
            line = [
                (float(x), math.exp(n["value"])) for x, n in zip(result["positions"][1:], loss["nats"], strict=True)
            ]
            band = [(math.exp(n["low"]), math.exp(n["high"])) for n in loss["nats"]] if loss["windows"] > 1 else []
            tint = (figures.COOL, figures.WARM, *figures.SPARE)[order % 7]
            series.append(Series(name, line, tint, dots=True, band=band))
        panels.append(Panel(f"{t['perplexity']}, {language}", t["position"], "", tuple(series), doubling=True))
    return figures.curves("positions", t["loss"], panels, columns=2) if panels else None
