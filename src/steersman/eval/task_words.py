"""A model on tasks in words, English and Chinese: lines of the terminal and of the page."""

from __future__ import annotations

from collections.abc import Sequence

from steersman.eval.suites.bench_text import interval, percent
from steersman.eval.task_verdicts import Beside
from steersman.eval.verdict import MIN_PROMPTS

EN = {
    "lang": "en",
    "title": "Tasks",
    "lead": "{n} comparisons, each beside the best answer that costs nothing",
    "better": "beats its baseline",
    "worse": "is worse than its baseline",
    "no evidence": "is not shown to beat its baseline",
    "few": "is not judged: fewer than {least} questions",
    "no baseline": "has no baseline",
    "common": "the most frequent answer",
    "copy": "a copy of the text",
    "chance": "a random label",
    "lead_answer": "the text's first sentence",
    "claim": "{better} of {n} beat their baseline; {worse} are worse than it; of {none} neither is shown.",
    "together": "Words hold for all comparisons of this call together (Holm, 5 %); intervals: 95 %, over questions.",
    "head": (
        *("task", "kind", "metric", "model", "examples", "n", "score", "baseline", "its score", "difference"),
        "verdict",
    ),
    "curve": "Score by number of examples in the prompt, with 95 % intervals",
    "shots": "examples",
    "score": "points of 100",
    "made": "How this was made",
}
ZH = {
    "lang": "zh-CN",
    "title": "任务",
    "lead": "{n} 项比较，每项都与最好的零成本答案相比",
    "better": "优于基线",
    "worse": "不如基线",
    "no evidence": "未能证明优于基线",
    "few": "不作判断：题目少于 {least} 道",
    "no baseline": "没有基线",
    "common": "最常见的答案",
    "copy": "照抄原文",
    "chance": "随机选一个标签",
    "lead_answer": "原文首句",
    "claim": "{n} 项中 {better} 项优于基线，{worse} 项不如基线，{none} 项两者都未证明。",
    "together": "判断对本次全部比较同时成立（Holm，5%）；区间为 95%，按题目重抽样。",
    "head": ("任务", "种类", "指标", "模型", "示例数", "题数", "得分", "基线", "基线得分", "差", "判断"),
    "curve": "得分随提示中示例数的变化，附 95% 区间",
    "shots": "示例数",
    "score": "百分制得分",
    "made": "如何得出",
}
LANGUAGES = {"en": EN, "zh": ZH}


def baseline_name(of: Beside, language: str) -> str:
    t = LANGUAGES[language]
    return str(t["lead_answer" if of.baseline == "lead" else of.baseline or "no baseline"])


def verdict(of: Beside, word: str, language: str) -> str:
    t = LANGUAGES[language]
    if not of.baseline:
        return str(t["no baseline"])
    if of.score.n < MIN_PROMPTS:
        return str(t["few"]).format(least=MIN_PROMPTS)
    return str(t[word])


def claim(words: Sequence[str], language: str) -> str:
    better, worse = words.count("better"), words.count("worse")
    text = str(LANGUAGES[language]["claim"])
    return text.format(n=len(words), better=better, worse=worse, none=len(words) - better - worse)


def row(of: Beside, word: str, language: str) -> list[str]:
    cells = [of.task, of.kind, of.metric, of.model, str(of.shots), str(of.score.n), interval(of.score.to_json())]
    bar = [baseline_name(of, language), percent(of.bar.value) if of.baseline else "", interval(of.difference.to_json())]
    return [*cells, *bar, verdict(of, word, language)]


def lines(found: Sequence[Beside], words: Sequence[str]) -> list[str]:
    """For the terminal."""
    out = []
    for of, word in zip(found, words, strict=True):
        shots = f", {of.shots} examples" if of.shots else ""
        whole = "".join(f"; {name.replace('_', '-')} {interval(i.to_json())}" for name, i in of.whole.items())
        bar = f"; {baseline_name(of, 'en')} {percent(of.bar.value)}, difference {interval(of.difference.to_json())}"
        out.append(
            f"{of.task} ({of.metric}, {of.score.n} questions{shots}): {of.model} {interval(of.score.to_json())}{whole}"
            f"{bar if of.baseline else ''}: {verdict(of, word, 'en')}"
        )
    return [*out, "", claim(words, "en"), str(EN["together"])]
